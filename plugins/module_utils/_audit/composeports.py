# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Published ports of a compose file: one entry in, what the engine is told out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeyaml import Fields
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import PROTOCOLS, parse_address

_PORTS = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")


def is_address(text: str) -> bool:
    """Whether Docker takes it for an address. It knows neither zones nor, outside of the short syntax, brackets."""
    return parse_address(text) is not None and not re.search(r"[\[\]%\s]", text)


class PortError(Exception):
    """A port entry that cannot be understood."""


@dataclass(frozen=True)
class Published:
    """One port entry: where on the host, which ports (0 to 0: the engine chooses), which port of the container."""

    host_ip: str
    first: int
    last: int
    target: str
    proto: str
    long: bool = False

    @property
    def _ports(self) -> str:
        if not self.first:
            return ""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def text(self) -> str:
        host = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip or "0.0.0.0"
        return f"{host}:{self._ports or 'random'}->{self.target}/{self.proto}"

    @property
    def remedy(self) -> str:
        """The entry as it should be, in the syntax that it has."""
        if self.long:
            loopback = '"::1"' if is_address(self.host_ip) and ":" in self.host_ip else "127.0.0.1"
            published = f', published: "{self._ports}"' if self.first else ""
            protocol = "" if self.proto == "tcp" else f", protocol: {self.proto}"
            return f"{{target: {self.target}{published}, host_ip: {loopback}{protocol}}}"
        loopback = "[::1]" if ":" in self.host_ip else "127.0.0.1"
        suffix = "" if self.proto == "tcp" else f"/{self.proto}"
        return f'"{loopback}:{self._ports}:{self.target}{suffix}"'


def _range(text: str) -> tuple[int, int]:
    match = _PORTS.fullmatch(text)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not 0 <= low <= high <= 65535:
        raise PortError(f"{text!r} is not a port or a range of ports")
    return low, high


def _published(host_ip: str, published: str, target: str, protocol: str, long: bool) -> Published:
    protocol = protocol.lower()
    if protocol not in PROTOCOLS:
        raise PortError(f"{protocol!r} is not one of {', '.join(PROTOCOLS)}")
    inside = _range(target)
    first, last = _range(published) if published else (0, 0)
    if published and inside[0] != inside[1] and last - first != inside[1] - inside[0]:
        raise PortError(f"{published!r} and {target!r} are ranges of different length")
    return Published(host_ip, first, last, target, protocol, long)


def parse_port(entry: object) -> Published:
    """A port in the short or the long syntax of a compose file."""
    if isinstance(entry, Mapping):
        fields = {key: "" if entry.get(key) is None else entry[key] for key in ("target", "published", "host_ip")}
        protocol = entry.get("protocol") or "tcp"
        for key, value in (*fields.items(), ("protocol", protocol)):
            if not isinstance(value, (str, int)) or isinstance(value, bool):
                raise PortError(f"{key}: {value!r} is not a text or a number")
        texts = {key: str(value) for key, value in fields.items()}
        # What Compose made of a file says nothing about the syntax in it.
        written = isinstance(entry, Fields)
        return _published(texts["host_ip"], texts["published"], texts["target"], str(protocol), long=written)
    if not isinstance(entry, (str, int)) or isinstance(entry, bool):
        raise PortError(repr(entry))
    # As Docker does, from the right: what is before the last two colons is the address, which may have colons itself.
    rest, dummy, inside = str(entry).rpartition(":")
    host_ip, dummy, outside = rest.rpartition(":")
    if host_ip.startswith("[") and host_ip.endswith("]"):
        host_ip = host_ip[1:-1]
    if host_ip and not is_address(host_ip):
        raise PortError(f"{host_ip!r} is not an address")
    target, slash, protocol = inside.partition("/")
    return _published(host_ip, outside, target, protocol if slash else "tcp", long=False)
