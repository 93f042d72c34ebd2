# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What a rule asks of a packet. Port and destination are asked as ranges of numbers, so that they can be compared."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Iterator

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Match, Packet, Rule, Unsure

Range = tuple[int, int]
_PORTS = 65536


class PortMatch:
    """The destination port, or the one before a translation, is (not) in one of the ranges."""

    __slots__ = ("negated", "original", "ranges")

    def __init__(self, ranges: tuple[Range, ...], negated: bool = False, original: bool = False) -> None:
        self.ranges = ranges
        self.negated = negated
        self.original = original

    def __call__(self, packet: Packet) -> bool | Unsure:
        port = packet.original_port if self.original else packet.port
        for low, high in self.ranges:
            if low <= port <= high:
                return not self.negated
        return self.negated


class DestinationMatch:
    """The destination, or the one before a translation, is (not) in one of the ranges of a family."""

    __slots__ = ("negated", "original", "ranges")

    def __init__(self, ranges: dict[int, tuple[Range, ...]], negated: bool = False, original: bool = False) -> None:
        self.ranges = ranges
        self.negated = negated
        self.original = original

    def __call__(self, packet: Packet) -> bool | Unsure:
        address = packet.destination
        if self.original and packet.original is not None:
            address = packet.original
        number = int(address)
        for low, high in self.ranges.get(address.version, ()):
            if low <= number <= high:
                return not self.negated
        return self.negated


class ProtocolMatch:
    """The transport protocol is (not) one of the names."""

    __slots__ = ("names", "negated")

    def __init__(self, names: frozenset[str], negated: bool = False) -> None:
        self.names = names
        self.negated = negated

    def __call__(self, packet: Packet) -> bool | Unsure:
        return (packet.proto in self.names) != self.negated


class InterfaceMatch:
    """The interface is (not) one of the names; a trailing + or * stands for any ending."""

    __slots__ = ("exact", "negated", "outgoing", "prefixes")

    def __init__(self, names: tuple[str, ...], negated: bool = False, outgoing: bool = False) -> None:
        self.exact = frozenset(name for name in names if not name.endswith(("+", "*")))
        self.prefixes = tuple(name[:-1] for name in names if name.endswith(("+", "*")))
        self.negated = negated
        self.outgoing = outgoing

    def __call__(self, packet: Packet) -> bool | Unsure:
        name = packet.output_interface if self.outgoing else packet.interface
        return (name in self.exact or bool(self.prefixes and name.startswith(self.prefixes))) != self.negated


class _FamilyMatch:
    """The packet is (not) of a family."""

    __slots__ = ("negated", "version")

    def __init__(self, version: int, negated: bool) -> None:
        self.version = version
        self.negated = negated

    def __call__(self, packet: Packet) -> bool | Unsure:
        return (packet.family == self.version) != self.negated


class AllOf:
    """Every one of some matches, as the parts of a concatenation."""

    __slots__ = ("matches",)

    def __init__(self, matches: tuple[Match, ...]) -> None:
        self.matches = matches

    def __call__(self, packet: Packet) -> bool | Unsure:
        unsure: list[Unsure] = []
        for match in self.matches:
            answer = match(packet)
            if answer is False:
                return False
            if isinstance(answer, Unsure):
                unsure.append(answer)
        return _both(unsure, " and ") if unsure else True


class AnyOf:
    """(None) one of some matches, as the elements of a set."""

    __slots__ = ("matches", "negated")

    def __init__(self, matches: tuple[Match, ...], negated: bool = False) -> None:
        self.matches = matches
        self.negated = negated

    def __call__(self, packet: Packet) -> bool | Unsure:
        unsure: list[Unsure] = []
        for match in self.matches:
            answer = match(packet)
            if answer is True:
                return not self.negated
            if isinstance(answer, Unsure):
                unsure.append(answer)
        if not unsure:
            return self.negated
        answer = _both(unsure, " or ")
        return Unsure(f"not {answer.limits}", answer.opaque) if self.negated else answer


def _both(answers: list[Unsure], word: str) -> Unsure:
    texts = word.join(dict.fromkeys(answer.limits for answer in answers[:8]))
    return Unsure(texts, any(answer.opaque for answer in answers))


def leaves(matches: tuple[Match, ...]) -> Iterator[Match]:
    """The single matches of which these are made."""
    for match in matches:
        if isinstance(match, (AllOf, AnyOf)):
            yield from leaves(match.matches)
        else:
            yield match


def rule_speaks_of(rule: Rule, proto: str) -> bool:
    """Whether the rule can match a packet of this protocol, as far as it names protocols."""
    return all((proto in item.names) != item.negated for item in rule.matches if isinstance(item, ProtocolMatch))


def constant(answer: bool | Unsure, negated: bool = False) -> Match:
    """The same answer for every packet."""
    if isinstance(answer, Unsure):
        return functools.partial(_always, Unsure(f"not {answer.limits}", answer.opaque) if negated else answer)
    return _TRUE if answer != negated else _FALSE


def _always(answer: bool | Unsure, packet: Packet) -> bool | Unsure:
    return answer


_TRUE: Match = functools.partial(_always, True)
_FALSE: Match = functools.partial(_always, False)


def where(answer: Callable[[Packet], bool], negated: bool = False) -> Match:
    """A question about a field that is neither port nor destination."""
    return lambda packet: answer(packet) != negated


@functools.lru_cache(maxsize=4096)
def network_of(text: str) -> tuple[int, Range] | None:
    """Version and bounds of a network, an address or a range of them (first-last); None for what is none of these."""
    try:
        low, dash, high = text.partition("-")
        if dash:
            first, last = ipaddress.ip_address(low), ipaddress.ip_address(high)
            return (first.version, (int(first), int(last))) if first.version == last.version else None
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    return network.version, (int(network.network_address), int(network.broadcast_address))


def destination_match(texts: tuple[str, ...], negated: bool, original: bool = False) -> Match:
    """The destination is (not) in one of the networks."""
    ranges: dict[int, tuple[Range, ...]] = {}
    for text in texts:
        found = network_of(text)
        if found is None:
            return constant(Unsure(f"destination {', '.join(texts)}", opaque=True))
        ranges[found[0]] = (*ranges.get(found[0], ()), found[1])
    return DestinationMatch(ranges, negated, original)


def source_match(texts: tuple[str, ...], negated: bool, inner: Callable[[Address], bool]) -> Match:
    """The source is (not) in one of the networks; `inner` tells networks that no packet from outside can come from."""
    outside = False
    for text in texts:
        found = network_of(text)
        if found is None:
            return constant(Unsure(f"source {', '.join(texts)}", opaque=True))
        version, (low, high) = found
        if high - low + 1 == 1 << (32 if version == 4 else 128):
            return _FamilyMatch(version, negated)
        kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        outside = outside or not (inner(kind(low)) and inner(kind(high)))
    if not outside:
        return constant(False, negated)
    return constant(Unsure(f"{'not ' if negated else ''}from {', '.join(texts)}"))


def complement(ranges: tuple[Range, ...], end: int = _PORTS) -> tuple[Range, ...]:
    """What is in none of the ranges, from 0 up to but without end."""
    found, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    return (*found, (start, end - 1)) if start < end else tuple(found)
