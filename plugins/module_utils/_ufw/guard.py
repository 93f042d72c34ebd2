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
    except ValueError:
        return None
    plain = [str(getattr(address, "ipv4_mapped", None) or address) for address in addresses]
    name = next((name for name, address in interfaces if address == plain[1]), "")
    return Peer(plain[0], int(port), plain[1], name)


def verdict(policy: Policy, peer: Peer) -> str:
    """The action that meets a new TCP connection of the peer to its SSH port."""
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
        and ipaddress.ip_address(peer.address) in ipaddress.ip_network(rule.src)
        and ipaddress.ip_address(peer.local) in ipaddress.ip_network(rule.dst)
        and (not rule.interface_in or rule.interface_in.rstrip("+") == peer.interface[: len(rule.interface_in)])
    )


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
