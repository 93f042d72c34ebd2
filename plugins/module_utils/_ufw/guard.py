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

from ansible_collections.daffathan.platform.plugins.module_utils._ufw import tuples
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import InputError, Policy, Rule, network


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
    return peer_of(plain[0], plain[1], number, interfaces)


def peer_of(source: str, local: str, port: int, interfaces: Iterable[tuple[str, str]]) -> Peer:
    """The peer of a connection from a source to a local address and port."""
    names: dict[str, set[str]] = {}
    for name, address in interfaces:
        names.setdefault(address, set()).add(name)
    # What the host sends to itself goes through the loopback interface, whichever address it uses.
    if source in names or ipaddress.ip_address(source).is_loopback:
        return Peer(source, port, local, "lo")
    on = names.get(local, set())
    # A link-local address may be on several: then nobody knows which it is.
    return Peer(source, port, local, next(iter(on)) if len(on) == 1 else "")


def verdict(policy: Policy, peer: Peer) -> str:
    """The action that meets a new TCP connection of the peer to its SSH port."""
    if peer.interface == "lo":
        # before.rules accepts it ahead of every rule.
        return "allow"
    if peer.family == 6 and not policy.ipv6:
        return "deny"
    rule = decisive(policy, peer)
    return rule.action if rule else policy.incoming


def decisive(policy: Policy, peer: Peer) -> Rule | None:
    """The rule that meets a new connection of the peer; None where the default policy does."""
    if policy.ipv6 or peer.family == 4:
        for rule in policy.rules(peer.family):
            if matches(rule, peer):
                return rule
    return None


def matches(rule: Rule, peer: Peer) -> bool:
    return (
        not rule.route
        and rule.direction == "in"
        and rule.proto in ("any", "tcp")
        and rule.sport == "any"
        and _port_in(peer.port, rule.dport)
        and ipaddress.ip_address(peer.address) in network(rule.src)
        and ipaddress.ip_address(peer.local) in network(rule.dst)
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


def check(policy: Policy, own: Collection[Peer], others: Collection[Peer] = ()) -> list[str]:
    """Refuse a policy that shuts out the session it is set in; warn of what it does to others."""
    for peer in refused(policy, own):
        raise InputError(
            f"ssh_guard: this policy would shut out {peer.address}, connected to port {peer.port} now, and you "
            f"with it ({_reason(policy, peer)}). Nothing was changed. Add a rule {{action: allow, "
            f"port: '{peer.port}', proto: tcp, from: {peer.address}}} before any that denies it, or set "
            "`ssh_guard: false` if you have another way in."
        )
    if not policy.enabled:
        return []
    limited = [
        f"ssh_guard: {peer.address}, from where this runs, may connect to port {peer.port} five times in 30 seconds "
        f"({_reason(policy, peer)}). Ansible without ControlPersist connects more often and is then shut out for "
        "a while. Allow its address before the rule that limits."
        for peer in own
        if verdict(policy, peer) == "limit"
    ]
    shut_out = [
        f"ssh_guard: {peer.address} has an SSH session on port {peer.port}. It goes on, but once it is closed this "
        f"policy does not let that address in again ({_reason(policy, peer)})."
        for peer in refused(policy, others)
    ]
    return limited + shut_out


def _reason(policy: Policy, peer: Peer) -> str:
    if peer.family == 6 and not policy.ipv6:
        return "`ipv6: false` closes IPv6"
    rule = decisive(policy, peer)
    return f"by the rule `{tuples.command(rule)}`" if rule else f"by the default `incoming: {policy.incoming}`"
