# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""A packet filter as values, and the question what can become of a packet in it.

The evaluator answers for every source at once: a match that depends on what is not known of the packet (its source, a
rate, a match the parser does not know) is neither true nor false. A rule with such a match adds its verdict to the
possible ones, and the packet goes on as well. So a way in is never overlooked; at worst one is reported that needs a
special source.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address

_MAXIMUM_DEPTH = 32


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection from outside, as the filter sees it."""

    family: int
    interface: str
    destination: Address
    proto: str
    port: int
    original_port: int
    local: bool
    output_interface: str = ""
    translated: bool = False
    marked: bool = False


@dataclass(frozen=True)
class Unsure:
    """A match that is neither true nor false; `limits` says whom or what it admits, opaque means not understood."""

    limits: str
    opaque: bool = False


Match = Callable[[Packet], "bool | Unsure"]


@dataclass(frozen=True)
class Verdict:
    """accept, drop, continue, jump, goto, return, translate, mark or unknown."""

    kind: str
    chain: str = ""
    address: Address | None = None
    port: int = 0


@dataclass(frozen=True)
class Rule:
    matches: tuple[Match, ...]
    verdict: Verdict
    text: str = ""
    # Ports the rule names, so that a probe of "any port" can avoid them.
    ports: frozenset[int] = frozenset()


@dataclass
class Chain:
    """A chain; hook is empty for one that is only jumped to."""

    name: str
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    nat: bool = False
    rules: list[Rule] = field(default_factory=list)


@dataclass
class Table:
    """Chains that can jump to each other, for the address families (4, 6) they see."""

    name: str
    families: tuple[int, ...]
    chains: dict[str, Chain] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """One thing that can become of a packet, and what it depends on."""

    kind: str
    limits: tuple[str, ...] = ()
    opaque: bool = False
    rule: str = ""
    address: Address | None = None
    port: int = 0
    marked: bool = False


class Loop(Exception):
    """Chains that jump to each other without end; the kernel refuses them, so the text is not a rule set."""


def _answer(rule: Rule, packet: Packet) -> tuple[bool, tuple[str, ...], bool]:
    """Whether the rule can match, what it then depends on, and whether that is not understood."""
    limits: tuple[str, ...] = ()
    opaque = False
    for match in rule.matches:
        result = match(packet)
        if result is False:
            return False, (), False
        if isinstance(result, Unsure):
            limits += (result.limits,)
            opaque = opaque or result.opaque
    return True, limits, opaque


def _walk(table: Table, chain: Chain, packet: Packet, depth: int) -> Iterator[Outcome]:
    """Possible ends of a packet in a chain; kind return means it left the chain without a verdict."""
    if depth > _MAXIMUM_DEPTH:
        raise Loop(f"table {table.name}: chain {chain.name} is jumped to more than {_MAXIMUM_DEPTH} deep")
    for rule in chain.rules:
        matched, limits, opaque = _answer(rule, packet)
        verdict = rule.verdict
        if not matched or verdict.kind == "continue":
            continue
        if verdict.kind == "mark":
            packet = replace(packet, marked=True)
            continue
        certain = not limits
        if verdict.kind in ("jump", "goto"):
            target = table.chains.get(verdict.chain)
            if target is None:
                yield Outcome("unknown", limits, True, rule.text)
                goes_on = verdict.kind == "jump"
            else:
                goes_on = False
                for outcome in _walk(table, target, packet, depth + 1):
                    if outcome.kind == "return":
                        packet = replace(packet, marked=packet.marked or outcome.marked)
                        if verdict.kind == "goto":
                            yield outcome
                        else:
                            goes_on = True
                        continue
                    yield replace(outcome, limits=limits + outcome.limits, opaque=opaque or outcome.opaque)
            if certain and not goes_on:
                return
            continue
        yield Outcome(verdict.kind, limits, opaque, rule.text, verdict.address, verdict.port, packet.marked)
        if certain:
            return
    yield Outcome("return", marked=packet.marked)


def outcomes(table: Table, chain: Chain, packet: Packet) -> list[Outcome]:
    """Everything that can become of a packet in a base chain."""
    found = []
    for outcome in _walk(table, chain, packet, 0):
        if outcome.kind == "return":
            text = f"policy {chain.policy} of {table.name} {chain.name}"
            outcome = replace(outcome, kind=chain.policy, rule=text)
        found.append(outcome)
    return found


@dataclass(frozen=True)
class Passage:
    """How a packet gets through all chains of a hook: freely, for some sources only, or perhaps."""

    limits: tuple[str, ...] = ()
    opaque: bool = False
    rules: tuple[str, ...] = ()


def _base_chains(tables: list[Table], hook: str, family: int) -> list[tuple[Table, Chain]]:
    chains = [(table, chain) for table in tables if family in table.families for chain in table.chains.values()]
    return sorted((item for item in chains if item[1].hook == hook), key=lambda item: item[1].priority)


def _stop(found: list[Outcome]) -> Passage | None:
    """The least restricted way through one chain, None where every way ends."""
    through = [item for item in found if item.kind in ("accept", "unknown")]
    if not through:
        return None
    best = min(through, key=lambda item: (item.kind == "unknown" or item.opaque, len(item.limits)))
    return Passage(best.limits, best.opaque or best.kind == "unknown", (best.rule,))


def _joined(first: Passage, second: Passage) -> Passage:
    limits = first.limits + tuple(text for text in second.limits if text not in first.limits)
    return Passage(limits, first.opaque or second.opaque, first.rules + second.rules)


@dataclass(frozen=True)
class Arrival:
    """A packet behind one hook, and how it got there."""

    packet: Packet
    passage: Passage


@dataclass
class Filter:
    """All tables of a host, and the routes that say where a translated packet leaves."""

    tables: list[Table]
    route: Callable[[Address], str]
    local: Callable[[Address], bool]
    _base: dict[tuple[str, int], list[tuple[Table, Chain]]] = field(default_factory=dict)

    def through(self, hook: str, packet: Packet) -> list[Arrival]:
        """What comes out of a hook, translations included; empty where everything is dropped."""
        arrivals = [Arrival(packet, Passage())]
        if (hook, packet.family) not in self._base:
            self._base[hook, packet.family] = _base_chains(self.tables, hook, packet.family)
        for table, chain in self._base[hook, packet.family]:
            after: list[Arrival] = []
            for arrival in arrivals:
                found = outcomes(table, chain, arrival.packet)
                if chain.nat and not arrival.packet.translated:
                    after += [self._translated(arrival, item) for item in found if item.kind == "translate"]
                passage = _stop(found)
                if passage is not None:
                    marked = arrival.packet.marked or any(item.marked for item in found)
                    after.append(Arrival(replace(arrival.packet, marked=marked), _joined(arrival.passage, passage)))
            arrivals = after
        return arrivals

    def _translated(self, arrival: Arrival, item: Outcome) -> Arrival:
        packet = arrival.packet
        address = item.address or packet.destination
        changed = replace(
            packet,
            destination=address,
            port=item.port or packet.port,
            translated=True,
            local=item.address is None or self.local(address),
        )
        return Arrival(changed, _joined(arrival.passage, Passage(item.limits, item.opaque, (item.rule,))))

    def delivered(self, packet: Packet) -> list[Arrival]:
        """Where a packet from outside can end: at a local socket, or forwarded to another machine or a container."""
        ends: list[Arrival] = []
        for arrival in self.through("prerouting", packet):
            current = arrival.packet
            hook = "input" if current.local else "forward"
            if not current.local:
                current = replace(current, output_interface=self.route(current.destination))
            for end in self.through(hook, current):
                ends.append(Arrival(end.packet, _joined(arrival.passage, end.passage)))
        return ends

    def named_ports(self) -> set[int]:
        """Every port that some rule names."""
        rules = (rule for table in self.tables for chain in table.chains.values() for rule in chain.rules)
        return {port for rule in rules for port in rule.ports}

    def translated_ports(self) -> set[int]:
        """Every port that a translating rule, or a rule on the way to one, names."""
        chains = [chain for table in self.tables for chain in table.chains.values() if chain.nat or not chain.hook]
        rules = [rule for chain in chains for rule in chain.rules]
        return {port for rule in rules if rule.verdict.kind == "translate" for port in rule.ports}


def network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """A network or a single address; None for what is neither."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def destination_match(texts: tuple[str, ...], negated: bool) -> Match:
    """The destination is (not) in one of the networks."""
    networks = [network_of(text) for text in texts]

    def match(packet: Packet) -> bool | Unsure:
        if any(network is None for network in networks):
            return Unsure(f"destination {', '.join(texts)}", opaque=True)
        inside = any(
            network is not None and network.version == packet.destination.version and packet.destination in network
            for network in networks
        )
        return inside != negated

    return match


def source_match(texts: tuple[str, ...], negated: bool, inner: Callable[[Address], bool]) -> Match:
    """The source is (not) in one of the networks; `inner` tells networks that no packet from outside can come from."""
    networks = [network_of(text) for text in texts]

    def match(packet: Packet) -> bool | Unsure:
        known = [network for network in networks if network is not None]
        if len(known) < len(networks):
            return Unsure(f"source {', '.join(texts)}", opaque=True)
        if any(network.prefixlen == 0 for network in known):
            return not negated
        if all(inner(network.network_address) for network in known):
            return negated
        return Unsure(f"{'not ' if negated else ''}from {', '.join(texts)}")

    return match


def interface_match(names: tuple[str, ...], negated: bool, outgoing: bool) -> Match:
    """The interface is (not) one of the names; a trailing + or * stands for any ending."""

    def matches(name: str, interface: str) -> bool:
        return interface.startswith(name[:-1]) if name.endswith(("+", "*")) else name == interface

    def match(packet: Packet) -> bool | Unsure:
        interface = packet.output_interface if outgoing else packet.interface
        return any(matches(name, interface) for name in names) != negated

    return match


def port_match(ranges: tuple[tuple[int, int], ...], negated: bool, original: bool = False) -> Match:
    """The destination port is (not) in one of the ranges."""

    def match(packet: Packet) -> bool | Unsure:
        port = packet.original_port if original else packet.port
        return any(low <= port <= high for low, high in ranges) != negated

    return match


def constant(answer: bool | Unsure, negated: bool = False) -> Match:
    """The same answer for every packet."""
    return lambda packet: answer != negated if isinstance(answer, bool) else answer


def ports_named(ranges: tuple[tuple[int, int], ...], limit: int = 4096) -> frozenset[int]:
    """The ports of ranges; of a huge one only its ends."""
    found: set[int] = set()
    for low, high in ranges:
        found |= set(range(low, high + 1)) if high - low < limit else {low, high}
    return frozenset(found)
