# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What an app and a release are."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving import Serving

# The commands of a migration, in the order in which they are explained.
MIGRATIONS = ("command", "rollback", "after", "version")
MIGRATE, MIGRATE_BACK, CONTRACT, SCHEMA = (f"migrate.{key}" for key in MIGRATIONS)
# In `migrate.rollback`: the schema's version before the migration.
SCHEMA_PLACE = "{version}"

# What the gateway takes the bytes for that callers send to the port of a service.
HTTP, TCP = PROTOCOLS = ("http", "tcp")

# In place of a path of `health`: a service that takes connections is ready.
OPEN_PORT = "port"

LABEL = "daffathan"
ID_TIME = "r%Y%m%dt%H%M%S"
GATEWAY = "daffathan-gateway"


class RolloutError(Exception):
    """What is wrong and what to do, for a person to read."""


class InputError(RolloutError):
    """An option or the compose file asks for something that cannot be; nothing was changed."""


@dataclass(frozen=True)
class Service:
    """A service that is swapped, as its app asks for it. One without a port is a worker: nobody sends it requests."""

    name: str
    port: int | None = None
    routes: tuple[str, ...] = ()
    health: str | None = None
    replicas: int = 1
    start_timeout: int = 60
    drain_timeout: int = 30
    stop_timeout: int = 30
    min_uptime: int = 0
    strategy: str = "blue_green"
    # How many containers a rolling replacement has more, and fewer, than there are replicas.
    surge: int = 1
    unavailable: int = 0
    protocol: str = HTTP
    # Seconds without a byte after which a connection is given up; for TCP alone.
    idle_timeout: int = 86400
    # For HTTP alone.
    serving: Serving = Serving()


@dataclass(frozen=True)
class OneShot:
    """Work that is done once for a release, by a container of a service. Its name is the option that asks for it."""

    name: str
    service: str
    timeout: int = 600
    # In the place of the service's own; None leaves that as it is.
    command: tuple[str, ...] | None = None
    # Whether a recovery point is made before it; None where backups of the app are set up.
    recovery_point: bool | None = False


@dataclass(frozen=True)
class App:
    """One app as the user asks for it. The values of secrets are kept out of every text this makes."""

    name: str
    domains: tuple[str, ...]
    services: tuple[Service, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    jobs: tuple[OneShot, ...] = ()

    @property
    def network(self) -> str:
        return f"{self.name}_private"

    @property
    def served(self) -> tuple[str, ...]:
        """The services that the gateway sends requests to."""
        return tuple(service.name for service in self.services if service.port is not None)

    def speaking(self, protocol: str) -> tuple[Service, ...]:
        """The services that the gateway serves by this protocol."""
        return tuple(service for service in self.services if service.port is not None and service.protocol == protocol)

    def service(self, name: str) -> Service:
        return next(service for service in self.services if service.name == name)


@dataclass(frozen=True)
class ReleasedService:
    """A service of a release: what runs, and where the gateway finds it. A worker has no port."""

    image: str
    digest: str
    port: int | None
    addresses: tuple[str, ...]
    health: str | None = None
    start_timeout: int = 60
    drain_timeout: int = 30
    stop_timeout: int = 30
    min_uptime: int = 0
    strategy: str = "blue_green"
    # How many containers a rolling replacement has more, and fewer, than there are replicas.
    surge: int = 1
    unavailable: int = 0
    protocol: str = HTTP


# What is no part of a container: a release learns it from its route, without a new container.
LIMITS = tuple(item.name for item in fields(ReleasedService) if item.default is not MISSING)


@dataclass(frozen=True)
class Job:
    """A one-shot of a release, with the image that does it."""

    service: str
    image: str
    digest: str
    timeout: int
    command: tuple[str, ...] | None = None
    # A recovery point is made before it.
    recovery_point: bool = False


@dataclass(frozen=True)
class Release:
    """One version of an app's swapped services; or, as `only` makes it, a part of one."""

    id: str
    hash: str
    colour: str
    created: str
    services: Mapping[str, ReleasedService]
    jobs: Mapping[str, Job] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Release:
        services = {
            name: ReleasedService(**dict(value, addresses=tuple(value["addresses"])))
            for name, value in data["services"].items()
        }
        jobs = {
            name: Job(**dict(value, command=None if value["command"] is None else tuple(value["command"])))
            for name, value in data.get("jobs", {}).items()
        }
        return cls(data["id"], data["hash"], data["colour"], data["created"], services, jobs)

    @property
    def images(self) -> dict[str, tuple[str, str]]:
        """Reference and digest of the image of every service that has a container."""
        return {
            **{job.service: (job.image, job.digest) for job in self.jobs.values()},
            **{name: (service.image, service.digest) for name, service in self.services.items()},
        }

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(address for service in self.services.values() for address in service.addresses)

    def only(self, names: Collection[str]) -> Release:
        """The part of the release that these services are."""
        return replace(self, services={name: service for name, service in self.services.items() if name in names})

    def at(self, name: str, addresses: Sequence[str]) -> Release:
        """The containers of one service that have these addresses."""
        return replace(self, services={name: replace(self.services[name], addresses=tuple(addresses))})


def project_name(app: str, release: str) -> str:
    """The Compose project of a release."""
    return f"{app}--{release}"


def release_id(now: datetime, digest: str, known: Collection[str] = ()) -> str:
    """Ids are in the order of their releases: where the clock was set back, their time goes on from the latest one."""
    latest = max((each.split("-", 1)[0] for each in known), default="")
    begin = f"{now:{ID_TIME}}"
    if begin <= latest:
        begin = f"{datetime.strptime(latest, ID_TIME) + timedelta(seconds=1):{ID_TIME}}"
    return f"{begin}-{digest[:8]}"


def other_colour(colour: str | None) -> str:
    return "green" if colour == "blue" else "blue"


def secret_fingerprint(key: bytes, name: str, value: str) -> str:
    """Tells a changed secret without giving a guesser anything to try values on: the key never leaves the host."""
    return hmac.new(key, f"{name}\0{value}".encode(), hashlib.sha256).hexdigest()


def canonical_hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def choose_addresses(subnet: str, count: int, taken: Sequence[str] | frozenset[str]) -> list[str]:
    """Free addresses of the upper half of a network, which the engine never gives out by itself.

    The last usable address is the gateway's.
    """
    network = ipaddress.IPv4Network(subnet)
    first = int(network.network_address) + network.num_addresses // 2
    last = int(network.broadcast_address) - 2
    used = set(taken)
    chosen: list[str] = []
    for number in range(first, last + 1):
        address = str(ipaddress.IPv4Address(number))
        if address not in used:
            chosen.append(address)
            if len(chosen) == count:
                return chosen
    raise RolloutError(
        f"network {subnet}: no {count} free addresses between {ipaddress.IPv4Address(first)} and "
        f"{ipaddress.IPv4Address(last)}. Lower `replicas`, or give the engine larger default-address-pools."
    )


def gateway_address(subnet: str) -> str:
    return str(ipaddress.IPv4Address(int(ipaddress.IPv4Network(subnet).broadcast_address) - 1))
