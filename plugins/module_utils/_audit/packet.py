# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""A packet filter as values.

Its evaluation answers for every source at once: a match that depends on what is not known of the packet (its source, a
rate, a match the parser does not know) is neither true nor false. A rule with such a match adds its verdict to the
possible ones, and the packet goes on as well. So a way in is never overlooked; at worst one is reported that needs a
special source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Union

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address


class Packet(NamedTuple):
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
    # What connection tracking does not follow is translated by nobody: no, yes or perhaps.
    untracked: str = "no"
    # The destination before a translation, where there was one.
    original: Address | None = None


@dataclass(frozen=True)
class Unsure:
    """A match that is neither true nor false; `limits` says whom or what it admits, opaque means not understood."""

    limits: str
    opaque: bool = False


# A match may look at port and destination of a packet only by the classes of matches.py: those two fields are compared
# by class of values in the evaluation, all others by value.
Match = Callable[[Packet], Union[bool, Unsure]]


@dataclass(frozen=True)
class Verdict:
    """accept, drop, continue, jump, goto, return, translate, mark, untrack or unknown."""

    kind: str
    chain: str = ""
    address: Address | None = None
    port: int = 0
    # A translation that keeps the host part of the address and replaces the rest.
    prefix: int = 0


@dataclass(frozen=True)
class Rule:
    matches: tuple[Match, ...]
    verdict: Verdict
    text: str = ""


@dataclass
class Chain:
    """A chain; hook is empty for one that is only jumped to, devices for one that sees those of all interfaces."""

    name: str
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    nat: bool = False
    rules: list[Rule] = field(default_factory=list)
    devices: tuple[str, ...] = ()


@dataclass
class Table:
    """Chains that can jump to each other, for the address families (4, 6) they see."""

    name: str
    families: tuple[int, ...]
    chains: dict[str, Chain] = field(default_factory=dict)

    @property
    def filters(self) -> bool:
        """Whether any packet can end in it."""
        return any(chain.hook and (chain.rules or chain.policy != "accept") for chain in self.chains.values())


class Outcome(NamedTuple):
    """One thing that can become of a packet, and what it depends on."""

    kind: str
    limits: tuple[str, ...] = ()
    opaque: bool = False
    rule: str = ""
    verdict: Verdict | None = None
    marked: bool = False
    untracked: str = "no"


class Loop(Exception):
    """Chains that jump to each other without end; the kernel refuses them, so the text is not a rule set."""
