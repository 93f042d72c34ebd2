# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What a firewall of UFW is made of: rules, default policies, the log level."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from functools import cache, cached_property

ACTIONS = ("allow", "deny", "reject", "limit")
POLICIES = ("allow", "deny", "reject")
LOG_LEVELS = ("off", "low", "medium", "high", "full")
# Per default policy: the setting of /etc/default/ufw, the chain of the kernel, the end of the names of UFW's chains.
DIRECTIONS = {
    "incoming": ("DEFAULT_INPUT_POLICY", "INPUT", "input"),
    "outgoing": ("DEFAULT_OUTPUT_POLICY", "OUTPUT", "output"),
    "routed": ("DEFAULT_FORWARD_POLICY", "FORWARD", "forward"),
}
PORTLESS_PROTOCOLS = ("ah", "esp", "gre", "igmp", "ipv6", "vrrp")
IPV4_PROTOCOLS = ("igmp", "ipv6")
PROTOCOLS = ("any", "tcp", "udp", *PORTLESS_PROTOCOLS)
ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


class InputError(Exception):
    """An option cannot be used; the message names it, its value and the remedy."""


@cache
def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The network of a rule's source or destination. :raises ValueError: it is none."""
    return ipaddress.ip_network(text, strict=False)


@dataclass(frozen=True)
class Rule:
    """One rule of one address family, as one `### tuple ###` line of UFW's files describes it."""

    family: int
    action: str
    proto: str = "any"
    dport: str = "any"
    dst: str = ""
    sport: str = "any"
    src: str = ""
    dapp: str = ""
    sapp: str = ""
    direction: str = "in"
    interface_in: str = ""
    interface_out: str = ""
    route: bool = False
    log: str = ""
    comment: str = ""

    def __post_init__(self) -> None:
        for name in ("dst", "src"):
            if not getattr(self, name):
                object.__setattr__(self, name, ANYWHERE[self.family])

    @cached_property
    def identity(self) -> Rule:
        """What UFW tells rules apart by: two rules of one identity cannot both exist."""
        return replace(self, action="allow", log="", comment="")

    @property
    def multiport(self) -> bool:
        return any(sign in port for port in (self.dport, self.sport) for sign in ",:")

    @property
    def chain(self) -> str:
        """The end of the name of the chain the rule belongs to."""
        if self.route:
            return "forward"
        return "output" if self.direction == "out" else "input"


@dataclass(frozen=True)
class Policy:
    """A whole firewall. Rules are in order, per family; without IPv6 those of IPv6 have no effect."""

    enabled: bool
    incoming: str = "deny"
    outgoing: str = "allow"
    routed: str = "deny"
    logging: str = "low"
    rules4: tuple[Rule, ...] = ()
    rules6: tuple[Rule, ...] = ()
    ipv6: bool = True

    def default(self, direction: str) -> str:
        return {"incoming": self.incoming, "outgoing": self.outgoing, "routed": self.routed}[direction]

    def rules(self, family: int) -> tuple[Rule, ...]:
        return self.rules4 if family == 4 else self.rules6
