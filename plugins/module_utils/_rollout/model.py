# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What an app and a release are, and the options of the module as such values."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

APP_NAME = re.compile(r"[a-z](?:-?[a-z0-9]){0,30}")
RELEASE_ID = re.compile(r"r\d{8}t\d{6}-[0-9a-f]{8}")
ROUTE = re.compile(r"/[A-Za-z0-9._~/-]*")
DOMAIN = re.compile(r"(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A secret becomes a file of this name.
SECRET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
STRATEGIES = ("blue_green", "canary", "rolling", "stop_first")
# Seconds that a worker has to stay up before it counts as ready; nothing can be asked of it.
WORKER_UPTIME = 5
JOB_TIMES = ("before_start",)
# The commands of a migration, in the order in which they are explained.
MIGRATIONS = ("command", "rollback", "after", "version")
MIGRATE, MIGRATE_BACK, CONTRACT, SCHEMA = (f"migrate.{key}" for key in MIGRATIONS)
# In `migrate.rollback`: the schema's version before the migration.
SCHEMA_PLACE = "{version}"

LABEL = "daffathan"
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


@dataclass(frozen=True)
class OneShot:
    """Work that is done once for a release, by a container of a service. Its name is the option that asks for it."""

    name: str
    service: str
    timeout: int = 600
    # In the place of the service's own; None leaves that as it is.
    command: tuple[str, ...] | None = None


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


@dataclass(frozen=True)
class Job:
    """A one-shot of a release, with the image that does it."""

    service: str
    image: str
    digest: str
    timeout: int
    command: tuple[str, ...] | None = None


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


def release_id(now: datetime, digest: str) -> str:
    return f"r{now:%Y%m%dt%H%M%S}-{digest[:8]}"


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


def parse_number(where: str, value: object, low: int, high: int) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise InputError(f"{where}: {value!r} is not a number from {low} to {high}.")
    return number


def parse_app_name(name: str) -> str:
    if not APP_NAME.fullmatch(name) or len(name) > 31:
        raise InputError(
            f"app: {name!r} is not a name. Use a lower-case letter followed by at most 30 letters, digits and single "
            "hyphens, for example my-app."
        )
    return name


def parse_release_id(value: str) -> str:
    if not RELEASE_ID.fullmatch(value):
        raise InputError(f"release: {value!r} is not a release id like r20260102t030405-0123abcd.")
    return value


def parse_service(name: str, options: object) -> Service:
    where = f"services.{name}"
    if not isinstance(options, Mapping):
        raise InputError(f"{where}: {options!r} is not a mapping. Write for example {{port: 3000, routes: [/]}}.")
    known = (
        *("port", "routes", "health", "replicas", "start_timeout", "drain_timeout", "stop_timeout", "min_uptime"),
        *("strategy", "surge", "unavailable"),
    )
    given = {key: value for key, value in options.items() if value is not None}
    unknown = sorted(set(map(str, given)) - set(known))
    if unknown:
        raise InputError(f"{where}.{unknown[0]}: there is no such option. Known are {', '.join(known)}.")
    worker = "port" not in given
    for key in ("routes", "health"):
        if worker and given.get(key):
            raise InputError(
                f"{where}.{key}: {given[key]!r} for a service without `port`, which is a worker that takes no "
                f"requests. Give the port on which it listens in its container, or remove `{key}`."
            )
    routes = given.get("routes", [])
    if isinstance(routes, str) or not isinstance(routes, Sequence):
        raise InputError(f"{where}.routes: {routes!r} is not a list of path prefixes like [/api/].")
    for route in routes:
        if not isinstance(route, str) or not ROUTE.fullmatch(route):
            raise InputError(f"{where}.routes: {route!r} is not a path prefix like / or /api/.")
    health = given.get("health")
    if health is not None and (not isinstance(health, str) or not re.fullmatch(r"/[!-~]*", health)):
        raise InputError(f"{where}.health: {health!r} is not a path like /health.")
    strategy = given.get("strategy", "blue_green")
    if strategy not in STRATEGIES:
        raise InputError(f"{where}.strategy: {strategy!r} is not one of {', '.join(STRATEGIES)}.")
    for key in ("surge", "unavailable"):
        if key in given and strategy != "rolling":
            raise InputError(f"{where}.{key}: is for `strategy: rolling`, not for {strategy}. Remove it.")
    if strategy == "rolling" and worker:
        raise InputError(
            f"{where}.strategy: rolling for a service without `port`, which is a worker that takes no requests. Remove "
            "it: workers of both releases overlap."
        )
    replicas = parse_number(f"{where}.replicas", given.get("replicas", 1), 1, 50)
    surge = parse_number(f"{where}.surge", given.get("surge", 1), 0, 50)
    unavailable = parse_number(f"{where}.unavailable", given.get("unavailable", 0), 0, replicas - 1)
    if not surge and not unavailable:
        raise InputError(
            f"{where}.surge: 0 with `unavailable` 0, so that nothing could be replaced. Raise one of them."
        )
    start_timeout = parse_number(f"{where}.start_timeout", given.get("start_timeout", 60), 1, 3600)
    min_uptime = parse_number(f"{where}.min_uptime", given.get("min_uptime", WORKER_UPTIME if worker else 0), 0, 3600)
    if min_uptime > start_timeout:
        raise InputError(
            f"{where}.min_uptime: {min_uptime} is more than `start_timeout` ({start_timeout}), so the service could "
            "never get ready. Raise `start_timeout`."
        )
    return Service(
        name=name,
        port=None if worker else parse_number(f"{where}.port", given["port"], 1, 65535),
        routes=tuple(routes),
        health=health,
        replicas=replicas,
        start_timeout=start_timeout,
        drain_timeout=parse_number(f"{where}.drain_timeout", given.get("drain_timeout", 30), 0, 3600),
        stop_timeout=parse_number(f"{where}.stop_timeout", given.get("stop_timeout", 30), 0, 3600),
        min_uptime=min_uptime,
        strategy=strategy,
        surge=surge,
        unavailable=unavailable,
    )


def parse_job(name: str, options: Mapping[str, Any]) -> OneShot:
    """A service that has `job`: it does its work and ends."""
    where = f"services.{name}"
    if options["job"] not in JOB_TIMES:
        raise InputError(f"{where}.job: {options['job']!r} is not one of {', '.join(JOB_TIMES)}.")
    given = {key for key, value in options.items() if value not in (None, [])}
    # The times of a service are defaults of the role, which knows no difference.
    wrong = sorted(given - {"job", "timeout", "start_timeout", "drain_timeout", "stop_timeout"})
    if wrong:
        raise InputError(
            f"{where}.{wrong[0]}: {options[wrong[0]]!r} for a job, which does its work and ends. Remove it, or remove "
            "`job`."
        )
    return OneShot(where, name, parse_number(f"{where}.timeout", options.get("timeout", 600), 1, 86400))


def parse_migrate(options: object, services: Collection[str]) -> list[OneShot]:
    """The commands that change a schema, each as a one-shot."""
    if not options:
        return []
    if not isinstance(options, Mapping):
        raise InputError(f"migrate: {options!r} is not a mapping. Write {{service: api, command: [./migrate, up]}}.")
    given = {key: value for key, value in options.items() if value is not None}
    unknown = sorted(set(map(str, given)) - {"service", "timeout", *MIGRATIONS})
    if unknown:
        known = ", ".join(("service", *MIGRATIONS, "timeout"))
        raise InputError(f"migrate.{unknown[0]}: there is no such option. Known are {known}.")
    if given.get("service") not in services:
        raise InputError(
            f"migrate.service: {given.get('service')!r} is not one of the services that are released: "
            f"{', '.join(sorted(services))}."
        )
    if "command" not in given:
        raise InputError("migrate.command: missing. Give what migrates the schema, for example [./migrate, up].")
    timeout = parse_number("migrate.timeout", given.get("timeout", 600), 1, 86400)
    shots = []
    for key in MIGRATIONS:
        command = given.get(key)
        if command is None:
            continue
        if not isinstance(command, (list, tuple)) or not command or not all(isinstance(word, str) for word in command):
            raise InputError(f"migrate.{key}: {command!r} is not a list of words like [./migrate, up].")
        if any(SCHEMA_PLACE in word for word in command) and (key != "rollback" or "version" not in given):
            raise InputError(
                f"migrate.{key}: {SCHEMA_PLACE} stands for what `version` said before the migration, and only in "
                "`rollback`. Give `version`, or remove it."
            )
        shots.append(OneShot(f"migrate.{key}", str(given["service"]), timeout, tuple(command)))
    return shots


def parse_app(options: Mapping[str, Any]) -> App:
    """The app that the module's options describe, or InputError with the first thing that is wrong."""
    name = parse_app_name(options["app"])
    raw_services = options.get("services") or {}
    if not raw_services:
        raise InputError("services: empty. Name at least one service of the compose file.")
    asked = sorted((str(key), value) for key, value in raw_services.items())
    is_job = {key: isinstance(value, Mapping) and value.get("job") is not None for key, value in asked}
    services = tuple(parse_service(key, value) for key, value in asked if not is_job[key])
    jobs = [parse_job(key, value) for key, value in asked if is_job[key]]
    if not services:
        raise InputError("services: nothing but jobs. Name at least one service that runs on.")
    jobs += parse_migrate(options.get("migrate"), set(is_job))
    owner: dict[str, str] = {}
    for service in services:
        for route in service.routes:
            if route in owner:
                raise InputError(
                    f"services: {owner[route]} and {service.name} both claim the route {route}. Give each its own "
                    "prefix."
                )
            owner[route] = service.name
    domains = tuple(dict.fromkeys(str(domain).lower() for domain in options.get("domains") or []))
    for domain in domains:
        if not DOMAIN.fullmatch(domain) or len(domain) > 253:
            raise InputError(f"domains: {domain!r} is not a host name like app.example.com.")
    if domains and not owner:
        raise InputError("services: no service has `routes`, so nothing would answer under the domains of the app.")
    env: dict[str, str] = {}
    for key, value in (options.get("env") or {}).items():
        if not ENV_NAME.fullmatch(str(key)):
            raise InputError(f"env.{key}: not a name of a variable (letters, digits and underscores).")
        env[str(key)] = ("true" if value else "false") if isinstance(value, bool) else str(value)
    secrets: dict[str, str] = {}
    for key, value in (options.get("secrets") or {}).items():
        if not SECRET_NAME.fullmatch(str(key)):
            raise InputError(f"secrets.{key}: not a file name (letters, digits, dots, hyphens, underscores).")
        if isinstance(value, (dict, list)) or value is None or str(value) == "":
            raise InputError(f"secrets.{key}: must be a text that is not empty.")
        secrets[str(key)] = str(value)
    return App(name, domains, services, env, secrets, tuple(jobs))
