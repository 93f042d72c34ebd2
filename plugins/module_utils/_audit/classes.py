# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Values that no rule tells apart.

What a filter does with a packet depends on its port and its destination only by the ranges that rules name. Two ports
that lie in the same ranges are one class, and one question answers for all ports of a class.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

from ansible_collections.daffathan.platform.plugins.module_utils._audit.matches import (
    DestinationMatch,
    PortMatch,
    Range,
    leaves,
    rule_speaks_of,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Packet, Rule

_LAST_PORT = 65535


class PortClasses:
    """The classes of ports that some ranges make."""

    def __init__(self, ranges: Iterable[Range]) -> None:
        changes: dict[int, list[tuple[bool, int]]] = {}
        for number, (low, high) in enumerate(sorted(set(ranges))):
            changes.setdefault(low, []).append((True, number))
            changes.setdefault(high + 1, []).append((False, number))
        self._starts = [0]
        self._classes = [0]
        known: dict[frozenset[int], int] = {frozenset(): 0}
        inside: set[int] = set()
        for start in sorted(changes):
            for begins, number in changes[start]:
                (inside.add if begins else inside.discard)(number)
            self._starts.append(start)
            self._classes.append(known.setdefault(frozenset(inside), len(known)))

    def of(self, port: int) -> int:
        return self._classes[bisect.bisect_right(self._starts, port) - 1]

    def members(self) -> dict[int, list[Range]]:
        """The ports from 1 of every class, as ranges; class 0 is that of the ports in no range."""
        found: dict[int, list[Range]] = {}
        ends = [start - 1 for start in self._starts[1:]] + [_LAST_PORT]
        for start, end, number in zip(self._starts, ends, self._classes):
            low, high = max(start, 1), min(end, _LAST_PORT)
            if low <= high:
                found.setdefault(number, []).append((low, high))
        return found


class DestinationClasses:
    """The classes of addresses that some ranges make; with `exact` every address is its own."""

    def __init__(self, matches: Iterable[DestinationMatch], exact: bool) -> None:
        self._exact = exact
        self._single: dict[tuple[int, int], list[int]] = {}
        self._wide: list[tuple[int, int, int, int]] = []
        ranges = {(version, *item) for match in matches for version, group in match.ranges.items() for item in group}
        for number, (version, low, high) in enumerate(sorted(ranges)):
            if low == high:
                self._single.setdefault((version, low), []).append(number)
            else:
                self._wide.append((version, low, high, number))
        self._known: dict[Address, object] = {}

    def of(self, address: Address) -> object:
        found = self._known.get(address)
        if found is None:
            version, value = address.version, int(address)
            atoms = [n for v, low, high, n in self._wide if v == version and low <= value <= high]
            atoms += self._single.get((version, value), ())
            found = self._known[address] = address if self._exact else (version, *atoms)
        return found


class PacketClasses:
    """The class of a packet before the rules of a hook that speak of its protocol."""

    def __init__(self, rules: Iterable[Rule], proto: str) -> None:
        found = [rule for rule in rules if rule_speaks_of(rule, proto)]
        matches = [match for rule in found for match in leaves(rule.matches)]
        ports = [match for match in matches if isinstance(match, PortMatch)]
        destinations = [match for match in matches if isinstance(match, DestinationMatch)]
        self.destinations = destinations
        self.exact = exact = any(rule.verdict.prefix for rule in found)
        self.ranges = [item for match in ports for item in match.ranges]
        self.ports = PortClasses(item for match in ports if not match.original for item in match.ranges)
        self._original_ports = PortClasses(item for match in ports if match.original for item in match.ranges)
        self._destinations = DestinationClasses((match for match in destinations if not match.original), exact)
        self._originals = DestinationClasses((match for match in destinations if match.original), False)

    def of(self, packet: Packet) -> tuple[object, ...]:
        return (
            packet.interface,
            packet.output_interface,
            packet.local,
            packet.translated,
            packet.marked,
            packet.untracked,
            self.ports.of(packet.port),
            self._original_ports.of(packet.original_port),
            self._destinations.of(packet.destination),
            self._originals.of(packet.original or packet.destination),
        )
