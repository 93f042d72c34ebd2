# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""By which interface a packet leaves the host."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.daffathan.platform.plugins.module_utils._audit import netlink
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address

MAIN = 254
# Tables that every packet, or none, is looked up in without a rule of the host's own.
_USUAL = frozenset((0, 253, MAIN, 255))
_GET_ROUTE, _NEW_ROUTE = 26, 24
_GET_RULE, _NEW_RULE = 34, 32
_DESTINATION, _INTERFACE, _MULTIPATH, _TABLE = 1, 4, 9, 15
_RULE_INTERFACE, _RULE_TABLE = 3, 15
_LOOK_UP = 1
_FAMILIES = {2: 4, 10: 6}


class Route(NamedTuple):
    """A route of a table, by one or by several interfaces."""

    version: int
    network: int
    prefix: int
    interfaces: tuple[int, ...]
    table: int = MAIN


@dataclass
class Routes:
    """In each table the longest prefix wins. Which table a packet is looked up in depends on rules."""

    _tables: dict[tuple[int, int], dict[int, dict[int, tuple[str, ...]]]] = field(default_factory=dict)
    _known: dict[Address, tuple[str, ...]] = field(default_factory=dict)

    def add(self, version: int, network: int, prefix: int, names: Iterable[str], table: int = MAIN) -> None:
        self._tables.setdefault((version, table), {}).setdefault(prefix, {}).setdefault(network, tuple(names))

    def interface(self, address: Address) -> str:
        """The interface of the main table; empty where it has no route."""
        return next(iter(self._fitting(address, MAIN)), "")

    def others(self, address: Address) -> tuple[str, ...]:
        """Further interfaces by which a packet can leave: of several hops, or of other tables that rules name."""
        found = self._known.get(address)
        if found is None:
            first = self.interface(address)
            tables = sorted(table for version, table in self._tables if version == address.version and table != MAIN)
            names = [name for table in (MAIN, *tables) for name in self._fitting(address, table)]
            found = self._known[address] = tuple(dict.fromkeys(name for name in names if name != first))
        return found

    def _fitting(self, address: Address, table: int) -> tuple[str, ...]:
        number, bits = int(address), address.max_prefixlen
        for prefix, networks in sorted(self._tables.get((address.version, table), {}).items(), reverse=True):
            names = networks.get(number >> (bits - prefix) << (bits - prefix))
            if names is not None:
                return names
        return ()


def parse_route(payload: bytes) -> Route | None:
    """One message about a route; None for one that leads out by no interface."""
    if len(payload) < 12:
        raise netlink.NetlinkError("netlink: a message is cut")
    family, prefix, table = payload[0], payload[1], payload[4]
    found = netlink.attributes(payload, 12)
    hops = list(_hops(found.get(_MULTIPATH, b"")))
    single = found.get(_INTERFACE, b"")
    hops += [struct.unpack("=i", single)[0]] if len(single) == 4 else []
    large = found.get(_TABLE, b"")
    table = struct.unpack("=I", large)[0] if len(large) == 4 else table
    if family not in _FAMILIES or not hops:
        return None
    return Route(_FAMILIES[family], int.from_bytes(found.get(_DESTINATION, b""), "big"), prefix, tuple(hops), table)


def _hops(data: bytes) -> Iterator[int]:
    position = 0
    while position + 8 <= len(data):
        length, _flags, _weight, index = struct.unpack_from("=HBBi", data, position)
        if length < 8:
            raise netlink.NetlinkError("netlink: a hop is cut")
        yield index
        position += (length + 3) & ~3


def parse_rule(payload: bytes) -> tuple[int, int] | None:
    """Family and table that a rule looks packets from outside up in; None for another rule."""
    if len(payload) < 12:
        raise netlink.NetlinkError("netlink: a message is cut")
    family, table, action = payload[0], payload[4], payload[7]
    found = netlink.attributes(payload, 12)
    large = found.get(_RULE_TABLE, b"")
    table = struct.unpack("=I", large)[0] if len(large) == 4 else table
    if action != _LOOK_UP or family not in _FAMILIES or found.get(_RULE_INTERFACE, b"").rstrip(b"\0") == b"lo":
        return None
    return _FAMILIES[family], table


def read(names: Mapping[int, str]) -> Routes:
    """The routes of the main table and of those that rules name.

    :param names: those of the interfaces, by index.
    """
    answers = netlink.dump(netlink.ROUTE, _GET_RULE, bytes(12))
    rules = {parse_rule(payload) for kind, payload in answers if kind == _NEW_RULE}
    used = {item for item in rules if item is not None and item[1] not in _USUAL} | {(4, MAIN), (6, MAIN)}
    routes = Routes()
    for kind, payload in netlink.dump(netlink.ROUTE, _GET_ROUTE, bytes(12)):
        route = parse_route(payload) if kind == _NEW_ROUTE else None
        if route is not None and (route.version, route.table) in used:
            hops = [names.get(index, f"#{index}") for index in route.interfaces]
            routes.add(route.version, route.network, route.prefix, hops, route.table)
    return routes
