# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Questions about a packet that iptables and nft ask in different words."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.daffathan.platform.plugins.module_utils._audit.matches import constant, where
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Match, Packet, Unsure


class StateMatch:
    """The state of the connection: the first packet is new, or untracked where tracking is turned off for it."""

    __slots__ = ("negated", "states")

    def __init__(self, states: Iterable[str], negated: bool = False) -> None:
        self.states = frozenset(state.lower() for state in states)
        self.negated = negated

    def __call__(self, packet: Packet) -> bool | Unsure:
        tracked = "new" in self.states or ("dnat" in self.states and packet.translated)
        untracked = "untracked" in self.states
        if packet.untracked == "no" or tracked == untracked:
            return tracked != self.negated
        if packet.untracked == "yes":
            return untracked != self.negated
        return Unsure("what connection tracking leaves out")


def status_match(names: Iterable[str], negated: bool = False) -> Match:
    """The status of the connection; before its first answer only a translation shows there."""
    wanted = "dnat" in (name.lower() for name in names)
    return where(lambda packet: wanted and packet.translated, negated)


def address_type_match(names: Iterable[str], negated: bool = False) -> Match:
    """The kind of the destination's address."""
    types = frozenset(name.lower() for name in names)

    def answer(packet: Packet) -> bool:
        return ("local" if packet.local else "unicast") in types

    return where(answer, negated)


def mark_match(value: int, mask: int, negated: bool = False) -> Match:
    """The mark of the packet, 0 until a rule sets one."""

    def match(packet: Packet) -> bool | Unsure:
        if packet.marked:
            return Unsure(f"mark {value:#x}/{mask:#x}", opaque=True)
        return (value == 0) != negated

    return match


def tcp_flags_match(mask: Iterable[str], flags: Iterable[str], negated: bool = False) -> Match:
    """The flags of TCP; the first packet of a connection carries SYN alone."""
    looked_at = {flag.lower() for flag in mask}
    wanted = {flag.lower() for flag in flags}
    return constant(({"syn"} & looked_at) == wanted, negated)
