# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the lab lives and which addresses it uses: pure, no side effects."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_HOME = "/var/lib/daffathan-lab"
DEFAULT_NETWORK = "10.231.0.0/24"
SUITES = ("trixie", "bookworm")
REGISTRY = "registry"
ATTACKER = "attacker"
REGISTRY_NAME = "registry.lab"
REGISTRY_PORT = 5000
SERVICES = {REGISTRY: 5, ATTACKER: 6}
FIXED_HOSTS = {"demo": 10}
FIRST_FREE = 20
LAST_FREE = 250

_HOST = re.compile(r"[a-z][a-z0-9-]{0,30}")
_SNAPSHOT = re.compile(r"[a-z0-9][a-z0-9_.-]{0,60}")


class LabError(Exception):
    """Something the user has to know: printed without a traceback."""


@dataclass(frozen=True)
class Address:
    """One address of the lab in both families; the IPv6 one repeats the last octet as it is written."""

    v4: str
    v6: str


@dataclass(frozen=True)
class Lab:
    """Names, paths and networks of one lab. Two labs on one machine differ in home and network."""

    home: Path
    network: ipaddress.IPv4Network

    @property
    def _octets(self) -> list[int]:
        return list(self.network.network_address.packed)

    @property
    def is_default_network(self) -> bool:
        return str(self.network) == DEFAULT_NETWORK

    @property
    def name(self) -> str:
        """Name of the engine's network, and the prefix of everything else."""
        suffix = "" if self.is_default_network else "-" + "-".join(str(octet) for octet in self._octets[:3])
        return f"daffathan-lab{suffix}"

    @property
    def bridge(self) -> str:
        return f"dlab{self._octets[1]}-{self._octets[2]}"

    @property
    def label(self) -> str:
        return "daffathan.lab=" + ("1" if self.is_default_network else str(self.network))

    @property
    def v6_prefix(self) -> str:
        return f"fd00:{self._octets[1]}:{self._octets[2]}::"

    @property
    def network6(self) -> ipaddress.IPv6Network:
        return ipaddress.IPv6Network(f"{self.v6_prefix}/64")

    @property
    def unreachable(self) -> tuple[str, str]:
        """The wider ranges that must never leave the machine, even while the network is down."""
        return (
            str(self.network.supernet(new_prefix=16)),
            str(self.network6.supernet(new_prefix=32)),
        )

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    @property
    def packages(self) -> Path:
        """Packages that stand in for vendors' repositories."""
        return self.home / "packages"

    @property
    def ssh_key(self) -> Path:
        return self.home / "ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.home / "ssh" / "known_hosts"

    @property
    def ca(self) -> Path:
        return self.home / "ca"

    @property
    def marker(self) -> Path:
        """Proof that the directory is a lab's, and so may be deleted by `purge`."""
        return self.home / ".daffathan-lab"

    def container(self, host: str) -> str:
        return f"{self.name}-{host}"

    def image(self, name: str) -> str:
        return f"{self.name}/{name}"

    def address(self, last_octet: int) -> Address:
        v6 = ipaddress.IPv6Address(f"{self.v6_prefix}{last_octet}")
        return Address(str(self.network.network_address + last_octet), str(v6))

    def last_octet(self, v4: str) -> int:
        return ipaddress.IPv4Address(v4).packed[3]


def from_environment(environ: Mapping[str, str] = os.environ) -> Lab:
    """The lab that DAFFATHAN_LAB_HOME and DAFFATHAN_LAB_NETWORK name."""
    home = Path(environ.get("DAFFATHAN_LAB_HOME", DEFAULT_HOME))
    if not home.is_absolute() or home == Path("/"):
        raise LabError(f"DAFFATHAN_LAB_HOME={home}: use an absolute path of its own, for example {DEFAULT_HOME}")
    if any(character in str(home) for character in ":, \t\n"):
        raise LabError(f"DAFFATHAN_LAB_HOME={home}: a mount cannot name a path with blanks, commas or colons")
    text = environ.get("DAFFATHAN_LAB_NETWORK", DEFAULT_NETWORK)
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise LabError(f"DAFFATHAN_LAB_NETWORK={text}: {error}; use a private /24 such as 10.232.0.0/24") from None
    if network.prefixlen != 24 or not network.subnet_of(ipaddress.IPv4Network("10.0.0.0/8")):
        raise LabError(f"DAFFATHAN_LAB_NETWORK={text}: use a /24 inside 10.0.0.0/8 such as 10.232.0.0/24")
    return Lab(home, network)


def check_host(name: str) -> str:
    """Refuse a host name that cannot be a container, a DNS label and an inventory name at once."""
    if name in SERVICES:
        raise LabError(f"host {name!r}: the name belongs to a service of the lab; choose another one")
    if not _HOST.fullmatch(name):
        raise LabError(f"host {name!r}: use a lower-case letter followed by up to 30 letters, digits or hyphens")
    return name


def check_snapshot(name: str) -> str:
    """Refuse a snapshot name that cannot be an image tag."""
    if not _SNAPSHOT.fullmatch(name):
        raise LabError(f"snapshot {name!r}: use up to 61 of a-z 0-9 . _ - and start with a letter or digit")
    return name


def allocate(host: str, used: Collection[int]) -> int:
    """The last octet for a new host: its fixed one, or the lowest free one."""
    fixed = FIXED_HOSTS.get(host)
    if fixed is not None:
        return fixed
    for octet in range(FIRST_FREE, LAST_FREE + 1):
        if octet not in used:
            return octet
    raise LabError(f"host {host!r}: no address left; take hosts down with `lab.py down HOST`")
