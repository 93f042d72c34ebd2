# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The way of a packet through all tables of a host."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.daffathan.platform.plugins.module_utils._audit.classes import (
    DestinationClasses,
    PacketClasses,
    PortClasses,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.matches import PortMatch, Range, leaves
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import (
    Chain,
    Outcome,
    Packet,
    Rule,
    Table,
    Verdict,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.walk import Walker


class Passage(NamedTuple):
    """How a packet gets through all chains of a hook: freely, for some sources only, or perhaps."""

    limits: tuple[str, ...] = ()
    opaque: bool = False
    rules: tuple[str, ...] = ()


_FREE = Passage()
_HOOKS = ("ingress", "prerouting", "input", "forward")


class Arrival(NamedTuple):
    """A packet behind one hook, how it got there, and the translation on the way."""

    packet: Packet
    passage: Passage
    translation: Verdict | None = None


@dataclass
class _Hook:
    """The base chains that see the packets of one family at one place, in their order."""

    chains: list[tuple[Walker, Chain]]
    rules: list[Rule]
    classes: dict[str, PacketClasses] = field(default_factory=dict)
    known: dict[tuple[str, tuple[object, ...]], list[Arrival]] = field(default_factory=dict)

    def of(self, proto: str) -> PacketClasses:
        found = self.classes.get(proto)
        if found is None:
            found = self.classes[proto] = PacketClasses(self.rules, proto)
        return found


@dataclass
class Filter:
    """All tables of a host, and the routes that say where a translated packet leaves."""

    tables: list[Table]
    route: Callable[[Address], str]
    local: Callable[[Address], bool]
    # Interfaces by which a packet may leave as well, where the routes do not decide it alone.
    others: Callable[[Address], Iterable[str]] = lambda address: ()
    _hooks: dict[tuple[str, int], _Hook] = field(default_factory=dict)
    _classes: dict[tuple[int, str], tuple[PortClasses, DestinationClasses]] = field(default_factory=dict)
    _ends: dict[tuple[str, object, bool, str, int], list[Arrival]] = field(default_factory=dict)

    def _hook(self, hook: str, family: int) -> _Hook:
        found = self._hooks.get((hook, family))
        if found is None:
            chains, rules = [], []
            for table in self.tables:
                base = [chain for chain in table.chains.values() if chain.hook == hook]
                if base and family in table.families:
                    walker = Walker(table)
                    chains += [(walker, chain) for chain in base]
                    rules += [rule for chain in _reached(table, base) for rule in chain.rules]
            chains.sort(key=lambda item: item[1].priority)
            found = self._hooks[hook, family] = _Hook(chains, rules)
        return found

    def through(self, hook: str, packet: Packet) -> list[Arrival]:
        """What comes out of a hook, translations included; empty where everything is dropped."""
        place = self._hook(hook, packet.family)
        key = (packet.proto, place.of(packet.proto).of(packet))
        known = place.known.get(key)
        if known is None:
            known = place.known[key] = self._through(place, packet)
        return [_for(arrival, packet) for arrival in known]

    def _through(self, place: _Hook, packet: Packet) -> list[Arrival]:
        arrivals = [Arrival(packet, _FREE)]
        for walker, chain in place.chains:
            if chain.devices and packet.interface not in chain.devices:
                continue
            after: list[Arrival] = []
            for arrival in arrivals:
                current = arrival.packet
                if chain.nat and (current.translated or current.untracked == "yes"):
                    after.append(arrival)
                    continue
                found = walker.outcomes(chain, current)
                if chain.nat:
                    after += [self._translated(arrival, item) for item in found if item.kind == "translate"]
                    if current.untracked == "perhaps":
                        after.append(Arrival(current._replace(untracked="yes"), arrival.passage))
                after += _passed(arrival, found)
            arrivals = after
        return arrivals

    def _translated(self, arrival: Arrival, item: Outcome) -> Arrival:
        packet, verdict = arrival.packet, item.verdict or Verdict("translate")
        changed = _changed(packet, verdict)._replace(
            local=(verdict.address is None and not verdict.prefix) or self.local(_target(packet, verdict)),
            marked=packet.marked or item.marked,
            untracked="no",
        )
        return Arrival(changed, _joined(arrival.passage, Passage(item.limits, item.opaque, (item.rule,))), verdict)

    def delivered(self, packet: Packet) -> list[Arrival]:
        """Where a packet from outside can end: at a local socket, or forwarded to another machine or a container."""
        ports, destinations = self.all_classes(packet.family, packet.proto)
        # By which interface a packet leaves that is not for this host depends on its very address.
        place = destinations.of(packet.destination) if packet.local else packet.destination
        key = (packet.interface, place, packet.local, packet.proto, ports.of(packet.port))
        known = self._ends.get(key)
        if known is None:
            known = self._ends[key] = self._delivered(packet)
        return [_for(end, packet) for end in known] if known else known

    def all_classes(self, family: int, proto: str) -> tuple[PortClasses, DestinationClasses]:
        """The classes of packets that were not translated yet, all hooks together."""
        found = self._classes.get((family, proto))
        if found is None:
            hooks = [self._hook(hook, family).of(proto) for hook in _HOOKS]
            ports = PortClasses(item for classes in hooks for item in classes.ranges)
            matches = [match for classes in hooks for match in classes.destinations]
            destinations = DestinationClasses(matches, any(classes.exact for classes in hooks))
            found = self._classes[family, proto] = (ports, destinations)
        return found

    def _delivered(self, packet: Packet) -> list[Arrival]:
        return [
            Arrival(end.packet, _joined(arrival.passage, end.passage), arrival.translation)
            for arrival in self._routed(packet)
            for end in self.through("input" if arrival.packet.local else "forward", arrival.packet)
        ]

    def _routed(self, packet: Packet) -> Iterator[Arrival]:
        """What comes out of the hooks before the decision whether a packet is for this host."""
        for early in self.through("ingress", packet):
            for arrival in self.through("prerouting", early.packet):
                current, passage = arrival.packet, _joined(early.passage, arrival.passage)
                names = [""] if current.local else [self.route(current.destination), *self.others(current.destination)]
                for name in names:
                    leaving = current._replace(output_interface=name)
                    yield Arrival(leaving, passage, arrival.translation or early.translation)

    def port_classes(self, family: int, proto: str) -> list[list[Range]]:
        """The ports that are treated alike before the routing decision, one list of ranges per class."""
        return list(self._hook("prerouting", family).of(proto).ports.members().values())

    def translates(self, packet: Packet) -> bool:
        """Whether a packet is sent on to another address or port, or to where the rules do not tell."""
        return any(end.translation is not None or end.passage.opaque for end in self.through("prerouting", packet))

    def unnamed_port(self, taken: Iterable[int]) -> int:
        """A port that no rule names and that is not taken; where rules name all, one of the largest class of ports."""
        rules = (rule for table in self.tables for chain in table.chains.values() for rule in chain.rules)
        matches = (match for rule in rules for match in leaves(rule.matches) if isinstance(match, PortMatch))
        classes = PortClasses(item for match in matches for item in match.ranges).members()
        used = set(taken)
        sizes = {number: sum(high - low + 1 for low, high in ranges) for number, ranges in classes.items()}
        for number in sorted(classes, key=lambda item: (item != 0, -sizes[item])):
            for low, high in classes[number]:
                port = next((port for port in range(low, high + 1) if port not in used), 0)
                if port:
                    return port
        return _LAST_RESORT


# Every port of this host is taken: whatever a question about it says, it is the question about a port in use.
_LAST_RESORT = 65535


def _reached(table: Table, base: list[Chain]) -> list[Chain]:
    """The chains that a packet can come to from some base chains."""
    found = {chain.name: chain for chain in base}
    waiting = list(base)
    while waiting:
        for rule in waiting.pop().rules:
            target = table.chains.get(rule.verdict.chain) if rule.verdict.chain else None
            if target is not None and target.name not in found:
                found[target.name] = target
                waiting.append(target)
    return list(found.values())


def _passed(arrival: Arrival, found: list[Outcome]) -> list[Arrival]:
    """The least restricted way through one chain; none where every way ends."""
    through = [item for item in found if item.kind in ("accept", "unknown")]
    if not through:
        return []
    best = min(through, key=lambda item: (item.kind == "unknown" or item.opaque, len(item.limits)))
    packet = arrival.packet
    marked = packet.marked or any(item.marked for item in found)
    states = {item.untracked for item in through}
    untracked = states.pop() if len(states) == 1 else "perhaps"
    if (marked, untracked) != (packet.marked, packet.untracked):
        packet = packet._replace(marked=marked, untracked=untracked)
    passage = Passage(best.limits, best.opaque or best.kind == "unknown", (best.rule,))
    return [Arrival(packet, _joined(arrival.passage, passage), arrival.translation)]


def _joined(first: Passage, second: Passage) -> Passage:
    if first is _FREE:
        return second
    limits = first.limits + tuple(text for text in second.limits if text not in first.limits)
    return Passage(limits, first.opaque or second.opaque, first.rules + second.rules)


def _target(packet: Packet, verdict: Verdict) -> Address:
    address = verdict.address or packet.destination
    if not verdict.prefix or verdict.address is None:
        return address
    kind = ipaddress.IPv4Address if address.version == 4 else ipaddress.IPv6Address
    rest = (1 << (address.max_prefixlen - verdict.prefix)) - 1
    return kind((int(address) & ~rest) | (int(packet.destination) & rest))


def _changed(packet: Packet, verdict: Verdict) -> Packet:
    return packet._replace(
        destination=_target(packet, verdict),
        port=verdict.port or packet.port,
        translated=True,
        original=packet.original or packet.destination,
    )


def _for(arrival: Arrival, packet: Packet) -> Arrival:
    """What was found for one packet of a class, for another one of it."""
    found = arrival.packet
    if found is packet:
        return arrival
    if arrival.translation is not None:
        packet = _changed(packet, arrival.translation)
    packet = packet._replace(
        local=found.local, marked=found.marked, untracked=found.untracked, output_interface=found.output_interface
    )
    return Arrival(packet, arrival.passage, arrival.translation)
