# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way of a packet through a filter, told as plainly as it can be: every rule, one after the other, nothing kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import (
    Chain,
    Packet,
    Table,
    Unsure,
    Verdict,
)


@dataclass(frozen=True)
class End:
    """One end of a packet in a chain, or behind a hook."""

    kind: str
    packet: Packet
    limits: tuple[str, ...] = ()
    opaque: bool = False
    verdict: Verdict | None = None

    def under(self, limits: tuple[str, ...], opaque: bool) -> End:
        return End(self.kind, self.packet, _joined(limits, self.limits), opaque or self.opaque, self.verdict)


def _joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(first + second))


def _least(ends: list[End]) -> End:
    return min(ends, key=lambda end: (end.opaque, len(end.limits)))


def walk(table: Table, chain: Chain, packet: Packet) -> Iterator[End]:
    """The ends of a packet in a chain. The last one is of kind return if it can leave the chain without a verdict."""
    limits: tuple[str, ...] = ()
    opaque = False
    returns: list[End] = []
    for rule in chain.rules:
        answers = [match(packet) for match in rule.matches]
        if False in answers:
            continue
        unsure = [answer for answer in answers if isinstance(answer, Unsure)]
        here = _joined(limits, tuple(answer.limits for answer in unsure)), opaque or any(a.opaque for a in unsure)
        kind = rule.verdict.kind
        if kind == "continue":
            continue
        if kind == "mark":
            packet = packet._replace(marked=True)
            continue
        if kind == "untrack":
            packet = packet._replace(untracked="yes" if not unsure or packet.untracked == "yes" else "perhaps")
            continue
        if kind == "return":
            returns.append(End("return", packet, *here))
            if not unsure:
                break
            continue
        if kind not in ("jump", "goto"):
            yield End(kind, packet, *here, rule.verdict)
            if not unsure:
                break
            continue
        if rule.verdict.chain not in table.chains:
            yield End("unknown", packet, here[0], True, rule.verdict)
            continue
        left = None
        for end in walk(table, table.chains[rule.verdict.chain], packet):
            if end.kind == "return":
                left = end.under(*here)
            else:
                yield end.under(*here)
        if left is not None:
            same = not unsure or left.packet.untracked == packet.untracked
            packet = left.packet._replace(untracked=left.packet.untracked if same else "perhaps")
            if kind == "goto":
                returns.append(left)
            elif not unsure:
                limits, opaque = left.limits, left.opaque
        if not unsure and (left is None or kind == "goto"):
            break
    else:
        returns.append(End("return", packet, limits, opaque))
    if returns:
        best = _least(returns)
        yield End("return", packet, best.limits, best.opaque)


def _base(table: Table, chain: Chain, packet: Packet) -> list[End]:
    ends = list(walk(table, chain, packet))
    return [End(chain.policy, e.packet, e.limits, e.opaque) if e.kind == "return" else e for e in ends]


@dataclass
class Plain:
    """The same questions as those to the real filter."""

    tables: list[Table]
    route: Callable[[Address], str]
    local: Callable[[Address], bool]

    def through(self, hook: str, packet: Packet) -> list[End]:
        chains = [(t, c) for t in self.tables if packet.family in t.families for c in t.chains.values()]
        current = [End("accept", packet)]
        for table, chain in sorted(chains, key=lambda item: item[1].priority):
            if chain.hook == hook and (not chain.devices or packet.interface in chain.devices):
                current = [end for before in current for end in self._chain(table, chain, before)]
        return current

    def _chain(self, table: Table, chain: Chain, before: End) -> Iterator[End]:
        packet = before.packet
        if chain.nat and (packet.translated or packet.untracked == "yes"):
            yield before
            return
        ends = _base(table, chain, packet)
        if chain.nat:
            for end in ends:
                if end.kind == "translate" and end.verdict is not None:
                    changed = self._translated(packet._replace(marked=packet.marked or end.packet.marked), end.verdict)
                    yield End("accept", changed, end.limits, end.opaque, end.verdict).under(
                        before.limits, before.opaque
                    )
            if packet.untracked == "perhaps":
                yield End("accept", packet._replace(untracked="yes"), before.limits, before.opaque)
        through = [End(e.kind, e.packet, e.limits, e.opaque or e.kind == "unknown") for e in ends]
        through = [end for end in through if end.kind in ("accept", "unknown")]
        if through:
            best = _least(through)
            states = {end.packet.untracked for end in through}
            marked = packet.marked or any(end.packet.marked for end in ends)
            packet = packet._replace(marked=marked, untracked=states.pop() if len(states) == 1 else "perhaps")
            yield End("accept", packet, best.limits, best.opaque, before.verdict).under(before.limits, before.opaque)

    def _translated(self, packet: Packet, verdict: Verdict) -> Packet:
        address = verdict.address or packet.destination
        if verdict.prefix and verdict.address is not None:
            rest = (1 << (address.max_prefixlen - verdict.prefix)) - 1
            address = type(address)((int(address) & ~rest) | (int(packet.destination) & rest))
        return packet._replace(
            destination=address,
            port=verdict.port or packet.port,
            translated=True,
            local=verdict.address is None or self.local(address),
            untracked="no",
            original=packet.original or packet.destination,
        )

    def delivered(self, packet: Packet) -> list[tuple[Packet, tuple[str, ...], bool]]:
        found = []
        for early in self.through("ingress", packet):
            for arrival in self.through("prerouting", early.packet):
                current = arrival.under(early.limits, early.opaque)
                inside = current.packet
                if not inside.local:
                    inside = inside._replace(output_interface=self.route(inside.destination))
                for end in self.through("input" if inside.local else "forward", inside):
                    last = end.under(current.limits, current.opaque)
                    found.append((last.packet, last.limits, last.opaque))
        return found
