# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.
"""Whether a new SSH connection from a peer would get through a policy: the first rule that matches decides."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import Policy, Rule


@dataclass(frozen=True)
class Peer:
    """The far end of an SSH session, and the address, port and interface on which the host is reached."""

    address: str
    port: int
    local: str
    interface: str = ""

    @property
    def family(self) -> int:
        return ipaddress.ip_address(self.address).version


def parse_connection(text: str, interfaces: Iterable[tuple[str, str]]) -> Peer | None:
    """The peer that a value of SSH_CONNECTION names; interfaces are (name, address) pairs of the host."""
    fields = text.split()
    if len(fields) != 4:
        return None
    source, _source_port, local, port = fields
    try:
        addresses = [ipaddress.ip_address(value.split("%")[0]) for value in (source, local)]
        number = int(port)
    except ValueError:
        return None
    plain = [str(getattr(address, "ipv4_mapped", None) or address) for address in addresses]
    names = {address: name for name, address in interfaces}
    # What the host sends to itself goes through the loopback interface, whichever address it uses.
    return Peer(plain[0], number, plain[1], "lo" if plain[0] in names else names.get(plain[1], ""))


def verdict(policy: Policy, peer: Peer) -> str:
    """The action that meets a new TCP connection of the peer to its SSH port."""
    if peer.interface == "lo":
        # before.rules accepts it ahead of every rule.
        return "allow"
    for rule in policy.rules(peer.family):
        if matches(rule, peer):
            return rule.action
    return policy.incoming


def matches(rule: Rule, peer: Peer) -> bool:
    return (
        not rule.route
        and rule.direction == "in"
        and rule.proto in ("any", "tcp")
        and rule.sport == "any"
        and _port_in(peer.port, rule.dport)
        and ipaddress.ip_address(peer.address) in ipaddress.ip_network(rule.src, strict=False)
        and ipaddress.ip_address(peer.local) in ipaddress.ip_network(rule.dst, strict=False)
        and _interface_matches(rule, peer)
    )


def _interface_matches(rule: Rule, peer: Peer) -> bool:
    if not rule.interface_in:
        return True
    if not peer.interface:
        # Not known (the address is translated on the way): what is denied counts, what is allowed does not.
        return rule.action in ("deny", "reject")
    if rule.interface_in.endswith("+"):
        return peer.interface.startswith(rule.interface_in[:-1])
    return rule.interface_in == peer.interface


def _port_in(port: int, ports: str) -> bool:
    if ports == "any":
        return True
    for part in ports.split(","):
        first, _colon, last = part.partition(":")
        if int(first) <= port <= int(last or first):
            return True
    return False


def refused(policy: Policy, peers: Collection[Peer]) -> list[Peer]:
    """The peers that could not connect again."""
    if not policy.enabled:
        return []
    return [peer for peer in peers if verdict(policy, peer) not in ("allow", "limit")]
