# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The interfaces of the host and their addresses."""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._audit import netlink
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address

_GET_LINK, _NEW_LINK = 18, 16
_GET_ADDRESS, _NEW_ADDRESS = 22, 20
_UP, _LOOPBACK = 1, 8
_NAME, _MASTER, _INFO, _MASK = 3, 10, 18, 29
_INFO_KIND = 1
_SKIP_STATISTICS = struct.pack("=HHI", 8, _MASK, 8)
_VIRTUAL_BRIDGE = re.compile(
    r"^(docker[0-9]+|docker_gwbridge|br-[0-9a-f]{12}|podman[0-9]+|cni[0-9]+|cni-.*|virbr[0-9]+)$"
)


@dataclass(frozen=True)
class Interface:
    name: str
    index: int
    addresses: tuple[Address, ...] = ()


@dataclass(frozen=True)
class Link:
    """An interface as the kernel lists it; kind is that of a virtual one, master the index of what it is a part of."""

    name: str
    index: int
    flags: int
    kind: str = ""
    master: int = 0


def parse_link(payload: bytes) -> Link:
    """One message about an interface."""
    if len(payload) < 16:
        raise netlink.NetlinkError("netlink: a message is cut")
    index, flags = struct.unpack_from("=iI", payload, 4)
    found = netlink.attributes(payload, 16)
    info = netlink.attributes(found.get(_INFO, b""))
    master = found.get(_MASTER, b"")
    return Link(
        found.get(_NAME, b"").rstrip(b"\0").decode(errors="replace"),
        index,
        flags,
        info.get(_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace"),
        struct.unpack("=I", master)[0] if len(master) == 4 else 0,
    )


def links() -> list[Link]:
    body = bytes(16) + _SKIP_STATISTICS
    answers = netlink.dump(netlink.ROUTE, _GET_LINK, body)
    return [parse_link(payload) for kind, payload in answers if kind == _NEW_LINK]


def addresses() -> dict[int, list[Address]]:
    """The addresses of every interface, by its index."""
    found: dict[int, list[Address]] = {}
    for kind, payload in netlink.dump(netlink.ROUTE, _GET_ADDRESS, bytes(8)):
        if kind != _NEW_ADDRESS or len(payload) < 8:
            continue
        index = struct.unpack_from("=I", payload, 4)[0]
        # IFA_LOCAL is the own address of a point-to-point link, where IFA_ADDRESS is the peer's.
        values = netlink.attributes(payload, 8)
        raw = values.get(2) or values.get(1)
        if raw and len(raw) in (4, 16):
            found.setdefault(index, []).append(ipaddress.ip_address(raw))
    return found


def external(known: list[Link], owned: dict[int, list[Address]], inner: frozenset[str]) -> list[Interface]:
    """Interfaces by which a packet can come from outside.

    :param inner: bridges known to belong to a container engine.
    """
    routers = {link.index for link in known if link.kind == "vrf"}
    found = []
    for link in sorted(known, key=lambda item: item.name):
        # What comes in by a part of a bridge or of a bond comes in by the whole; a VRF only has routes of its own.
        member = link.master and link.master not in routers
        if link.flags & _LOOPBACK or not link.flags & _UP or member:
            continue
        if link.name in inner or _VIRTUAL_BRIDGE.match(link.name):
            continue
        found.append(Interface(link.name, link.index, tuple(owned.get(link.index, ()))))
    return found


def routed_apart(known: list[Link]) -> list[str]:
    """Interfaces with routes of their own, as parts of a VRF: what becomes of their packets is not evaluated."""
    routers = {link.index: link.name for link in known if link.kind == "vrf"}
    return [f"{link.name} of {routers[link.master]}" for link in known if link.master in routers and link.flags & _UP]
