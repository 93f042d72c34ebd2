# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What can become of a packet in a chain. Of a long chain only the rules are looked at that can match."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.daffathan.platform.plugins.module_utils._audit.matches import (
    DestinationMatch,
    InterfaceMatch,
    PortMatch,
    rule_speaks_of,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import (
    Chain,
    Loop,
    Outcome,
    Packet,
    Rule,
    Table,
)

_MAXIMUM_DEPTH = 32
# A rule that names more ports or addresses than this is looked at for every packet.
_KEYS = 64


def _ports(rule: Rule) -> Iterator[int] | None:
    for match in rule.matches:
        if isinstance(match, PortMatch) and not match.negated and not match.original:
            ranges = match.ranges
            if sum(high - low + 1 for low, high in ranges) <= _KEYS:
                return (port for low, high in ranges for port in range(low, high + 1))
    return None


def _destinations(rule: Rule) -> Iterator[int] | None:
    for match in rule.matches:
        if isinstance(match, DestinationMatch) and not match.negated and not match.original:
            ranges = [item for group in match.ranges.values() for item in group]
            if len(ranges) <= _KEYS and all(low == high for low, high in ranges):
                return (low for low, _high in ranges)
    return None


def _interfaces(rule: Rule, outgoing: bool) -> Iterator[str] | None:
    for match in rule.matches:
        if isinstance(match, InterfaceMatch) and match.outgoing == outgoing:
            if match.negated or match.prefixes:
                continue
            return iter(match.exact)
    return None


class Index:
    """The rules of one chain by the first thing they ask for; what it is asked by the rest a match still answers."""

    __slots__ = ("destinations", "incoming", "outgoing", "ports", "rest", "rules")

    def __init__(self, rules: list[Rule], proto: str) -> None:
        self.rules = rules
        self.rest: list[int] = []
        self.destinations: dict[int, list[int]] = {}
        self.ports: dict[int, list[int]] = {}
        self.incoming: dict[str, list[int]] = {}
        self.outgoing: dict[str, list[int]] = {}
        for position, rule in enumerate(rules):
            if rule.verdict.kind != "continue" and rule_speaks_of(rule, proto):
                self._place(position, rule)

    def _place(self, position: int, rule: Rule) -> None:
        numbers = _destinations(rule)
        if numbers is not None:
            for number in set(numbers):
                self.destinations.setdefault(number, []).append(position)
            return
        numbers = _ports(rule)
        if numbers is not None:
            for number in set(numbers):
                self.ports.setdefault(number, []).append(position)
            return
        for outgoing, table in ((True, self.outgoing), (False, self.incoming)):
            names = _interfaces(rule, outgoing)
            if names is not None:
                for name in names:
                    table.setdefault(name, []).append(position)
                return
        self.rest.append(position)

    def candidates(self, packet: Packet) -> list[int]:
        """Positions of the rules that can match, in their order."""
        found = self.rest
        for positions in (
            self.ports.get(packet.port),
            self.destinations.get(int(packet.destination)) if self.destinations else None,
            self.outgoing.get(packet.output_interface),
            self.incoming.get(packet.interface),
        ):
            if positions:
                found = found + positions
        return found if found is self.rest else sorted(found)


class Walker:
    """The chains of one table."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._indexes: dict[tuple[str, str], Index] = {}

    def _index(self, chain: Chain, proto: str) -> Index:
        key = (chain.name, proto)
        found = self._indexes.get(key)
        if found is None:
            found = self._indexes[key] = Index(chain.rules, proto)
        return found

    def outcomes(self, chain: Chain, packet: Packet) -> list[Outcome]:
        """Everything that can become of a packet in a base chain."""
        found = self._walk(chain, packet, 0)
        last = found[-1]
        if last.kind == "return":
            found[-1] = last._replace(
                kind=chain.policy, rule=f"policy {chain.policy} of {self.table.name} {chain.name}"
            )
        return found

    def _walk(self, chain: Chain, packet: Packet, depth: int) -> list[Outcome]:
        """Possible ends of a packet in a chain; the last one is of kind return, if it can leave without a verdict."""
        if depth > _MAXIMUM_DEPTH:
            raise Loop(f"table {self.table.name}: chain {chain.name} is jumped to more than {_MAXIMUM_DEPTH} deep")
        found: list[Outcome] = []
        # What the packet has to be to come as far as this, and the ways in which it could have left by a return.
        held: tuple[tuple[str, ...], bool] = ((), False)
        returns: list[tuple[tuple[str, ...], bool]] = []
        index = self._index(chain, packet.proto)
        through = True
        for position in index.candidates(packet):
            rule = index.rules[position]
            answer = _answer(rule, packet)
            if answer is None:
                continue
            certain = not answer[0]
            here = _with(held, answer)
            verdict = rule.verdict
            kind = verdict.kind
            if kind == "mark":
                packet = packet._replace(marked=True)
                continue
            if kind == "untrack":
                if packet.untracked != "yes":
                    packet = packet._replace(untracked="yes" if certain else "perhaps")
                continue
            if kind == "return":
                returns.append(here)
                if certain:
                    through = False
                    break
                continue
            if kind not in ("jump", "goto"):
                found.append(Outcome(kind, *here, rule.text, verdict, packet.marked, packet.untracked))
                if certain:
                    through = False
                    break
                continue
            target = self.table.chains.get(verdict.chain)
            if target is None:
                found.append(Outcome("unknown", here[0], True, rule.text, verdict, packet.marked, packet.untracked))
                continue
            ends = self._walk(target, packet, depth + 1)
            left = ends.pop() if ends[-1].kind == "return" else None
            for end in ends:
                found.append(end._replace(limits=_joined(here[0], end.limits), opaque=here[1] or end.opaque))
            if left is not None:
                tracked = left.untracked if certain or left.untracked == packet.untracked else "perhaps"
                packet = packet._replace(marked=packet.marked or left.marked, untracked=tracked)
                behind = _with(here, (left.limits, left.opaque))
                if kind == "goto":
                    returns.append(behind)
                elif certain:
                    held = behind
            if certain and (left is None or kind == "goto"):
                through = False
                break
        if through:
            returns.append(held)
        if returns:
            limits, opaque = min(returns, key=lambda item: (item[1], len(item[0])))
            found.append(Outcome("return", limits, opaque, "", None, packet.marked, packet.untracked))
        return found


def _answer(rule: Rule, packet: Packet) -> tuple[tuple[str, ...], bool] | None:
    """What a match of the rule depends on, and whether that is not understood; None if it cannot match."""
    limits: tuple[str, ...] = ()
    opaque = False
    for match in rule.matches:
        result = match(packet)
        if result is False:
            return None
        if result is not True:
            limits = _joined(limits, (result.limits,))
            opaque = opaque or result.opaque
    return limits, opaque


def _with(held: tuple[tuple[str, ...], bool], more: tuple[tuple[str, ...], bool]) -> tuple[tuple[str, ...], bool]:
    return (_joined(held[0], more[0]), held[1] or more[1]) if more[0] or more[1] else held


def _joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return first + tuple(text for text in second if text not in first) if second else first
