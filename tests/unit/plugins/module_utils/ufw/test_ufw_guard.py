# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard of the SSH session."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import guard, options, render
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.guard import Peer
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import InputError, Policy
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.ufw.packets import fate
from tests.unit.plugins.module_utils.ufw.strategies import policies

FOUR = Peer("192.0.2.7", 22, "198.51.100.1", "eth0")
SIX = Peer("2001:db8::7", 22, "2001:db8:1::1", "eth0")
ALLOW = {"action": "allow", "port": "22", "proto": "tcp"}
DENY = {"action": "deny", "port": "22", "proto": "tcp"}


def verdict(peer: Peer, *entries: dict[str, Any], incoming: str = "deny") -> str:
    rules = [rule for entry in entries for rule in options.parse_rule(entry, "", {"SSH": (("22", "tcp"),)})]
    four, six = (tuple(rule for rule in rules if rule.family == family) for family in (4, 6))
    return guard.verdict(Policy(True, incoming=incoming, rules4=four, rules6=six), peer)


@pytest.mark.parametrize("peer", [FOUR, SIX])
@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], "deny"),
        ([ALLOW], "allow"),
        ([DENY, {**ALLOW, "port": "20:25"}], "deny"),
        ([{**ALLOW, "port": "20:25"}, DENY], "allow"),
        ([{"action": "limit", "port": "22", "proto": "tcp"}], "limit"),
        ([{"action": "reject", "port": "22"}], "reject"),
        ([{"action": "allow"}], "allow"),
        ([{"action": "allow", "port": "22"}], "allow"),
        ([{"action": "allow", "app": "SSH"}], "allow"),
        ([{**ALLOW, "port": "2222"}], "deny"),
        ([{**ALLOW, "port": "23:30"}], "deny"),
        ([{**ALLOW, "port": "1,22,30"}], "allow"),
        ([{**ALLOW, "proto": "udp"}], "deny"),
        ([{**ALLOW, "direction": "out"}], "deny"),
        ([{**ALLOW, "route": True}], "deny"),
        ([{**ALLOW, "from_port": "1024"}], "deny"),
        ([{**ALLOW, "interface_in": "eth0"}], "allow"),
        ([{**ALLOW, "interface_in": "eth+"}], "allow"),
        ([{**ALLOW, "interface_in": "eth"}], "deny"),
        ([{**ALLOW, "interface_in": "eth1"}], "deny"),
        ([{**DENY, "interface_in": "eth+"}, ALLOW], "deny"),
        ([{**DENY, "interface_in": "wg+"}, ALLOW], "allow"),
    ],
)
def test_verdict(peer: Peer, entries: list[dict[str, Any]], expected: str) -> None:
    assert verdict(peer, *entries) == expected


@pytest.mark.parametrize(
    ("peer", "entry", "expected"),
    [
        (FOUR, {**ALLOW, "family": "v6"}, "deny"),
        (SIX, {**ALLOW, "family": "v4"}, "deny"),
        (FOUR, {**ALLOW, "from": "192.0.2.7"}, "allow"),
        (FOUR, {**ALLOW, "from": "192.0.2.0/29"}, "allow"),
        (FOUR, {**ALLOW, "from": "192.0.2.8/29"}, "deny"),
        (FOUR, {**ALLOW, "to": "198.51.100.1"}, "allow"),
        (FOUR, {**ALLOW, "to": "198.51.100.2"}, "deny"),
        (SIX, {**ALLOW, "from": "2001:db8::/64"}, "allow"),
        (SIX, {**ALLOW, "from": "2001:db8:0:1::/64"}, "deny"),
        (Peer("192.0.2.7", 2222, "198.51.100.1"), ALLOW, "deny"),
        (Peer("192.0.2.7", 2222, "198.51.100.1"), {**ALLOW, "port": "2222"}, "allow"),
        # before.rules accepts the loopback interface ahead of every rule.
        (Peer("127.0.0.1", 22, "127.0.0.1", "lo"), DENY, "allow"),
    ],
)
def test_verdict_on_addresses(peer: Peer, entry: dict[str, Any], expected: str) -> None:
    assert verdict(peer, entry) == expected


@pytest.mark.parametrize("incoming", ["allow", "deny", "reject"])
def test_default_decides_where_no_rule_does(incoming: str) -> None:
    assert verdict(FOUR, {**DENY, "port": "80"}, incoming=incoming) == incoming


def test_an_unknown_interface_is_taken_for_the_worst() -> None:
    peer = Peer("192.0.2.7", 22, "198.51.100.1", "")
    assert verdict(peer, {**ALLOW, "interface_in": "eth0"}) == "deny"
    assert verdict(peer, {**DENY, "interface_in": "eth0"}, ALLOW) == "deny"
    assert verdict(peer, ALLOW) == "allow"


def test_refused_peers() -> None:
    four_only = Policy(True, rules4=tuple(options.parse_rule({**ALLOW, "family": "v4"}, "", {})))
    assert guard.refused(four_only, [FOUR, SIX]) == [SIX]
    limited = Policy(True, rules4=tuple(options.parse_rule({**ALLOW, "action": "limit", "family": "v4"}, "", {})))
    assert guard.refused(limited, [FOUR]) == []
    assert guard.refused(Policy(True), []) == []
    assert guard.refused(Policy(False), [FOUR, SIX]) == []


INTERFACES = [
    *(("lo", "127.0.0.1"), ("eth0", "198.51.100.1"), ("eth1", "10.0.0.1"), ("eth1", "fe80::1"), ("lo", "::1")),
    *(("eth0", "fe80::9"), ("eth1", "fe80::9")),
]


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("192.0.2.7 50000 198.51.100.1 22", FOUR),
        ("192.0.2.7 50000 10.0.0.1 2222", Peer("192.0.2.7", 2222, "10.0.0.1", "eth1")),
        ("::ffff:192.0.2.7 50000 ::ffff:198.51.100.1 22", FOUR),
        ("fe80::2%eth1 50000 fe80::1%eth1 22", Peer("fe80::2", 22, "fe80::1", "eth1")),
        ("192.0.2.7 50000 203.0.113.1 22", Peer("192.0.2.7", 22, "203.0.113.1", "")),
        # Every interface may have this address.
        ("fe80::2%eth1 50000 fe80::9%eth1 22", Peer("fe80::2", 22, "fe80::9", "")),
        ("127.0.0.2 50000 127.0.0.2 22", Peer("127.0.0.2", 22, "127.0.0.2", "lo")),
        ("127.0.0.1 50000 127.0.0.1 22", Peer("127.0.0.1", 22, "127.0.0.1", "lo")),
        ("198.51.100.1 50000 198.51.100.1 22", Peer("198.51.100.1", 22, "198.51.100.1", "lo")),
        ("UNKNOWN 65535 UNKNOWN 65535", None),
        ("192.0.2.7 50000 198.51.100.1", None),
        ("192.0.2.7 50000 198.51.100.1 ssh", None),
        ("", None),
    ],
)
def test_session_in_the_environment(text: str, peer: Peer | None) -> None:
    assert guard.parse_connection(text, INTERFACES) == peer


@given(
    policies(),
    st.sampled_from([FOUR, SIX]),
    st.sampled_from([22, 80, 9000]),
    st.sampled_from(["eth0", "wg0", "br-a_b"]),
)
def test_guard_says_what_the_rules_of_the_kernel_do(policy: Policy, peer: Peer, port: int, interface: str) -> None:
    peer = Peer(peer.address, port, peer.local, interface)
    lines = [line for rule in policy.rules(peer.family) if rule.chain == "input" for line in render.rule_lines(rule)]
    lines = [line for line in lines if line.split()[1].endswith("-user-input")]
    met = fate(lines, source=peer.address, local=peer.local, port=port, interface=interface)
    open_by_default = policy.incoming == "allow"
    arrives = met == "ACCEPT" or met.endswith("-accept") or (not met and open_by_default)
    assert (guard.verdict(policy, peer) in ("allow", "limit")) == arrives


def policy(*entries: dict[str, Any], **wanted: Any) -> Policy:
    rules = [rule for entry in entries for rule in options.parse_rule(entry, "", {})]
    four, six = (tuple(rule for rule in rules if rule.family == family) for family in (4, 6))
    return Policy(**{"enabled": True, "rules4": four, "rules6": six, **wanted})


@pytest.mark.parametrize(
    ("wanted", "peer", "words"),
    [
        (policy(), FOUR, ["192.0.2.7", "port 22", "by the default `incoming: deny`", "from: 192.0.2.7"]),
        (policy(incoming="reject"), SIX, ["2001:db8::7", "`incoming: reject`"]),
        (policy({"action": "deny"}, ALLOW), FOUR, ["by the rule `deny to any`"]),
        (policy(ALLOW, ipv6=False, rules6=()), SIX, ["`ipv6: false` closes IPv6"]),
        (policy(ALLOW, ipv6=False), SIX, ["`ipv6: false` closes IPv6"]),
        (policy(incoming="allow", ipv6=False), SIX, ["`ipv6: false` closes IPv6"]),
    ],
)
def test_shutting_out_the_own_session_is_refused_with_the_reason(wanted: Policy, peer: Peer, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        guard.check(wanted, [peer])
    assert str(caught.value).startswith("ssh_guard: ") and "`ssh_guard: false`" in str(caught.value)
    assert all(word in str(caught.value) for word in words)
    # To others it is only said.
    warnings = guard.check(wanted, [], [peer])
    assert len(warnings) == 1 and peer.address in warnings[0] and any(word in warnings[0] for word in words[-2:])


def test_a_limited_controller_is_warned_of() -> None:
    limited = policy({**ALLOW, "action": "limit"})
    warnings = guard.check(limited, [FOUR], [SIX])
    assert len(warnings) == 1 and "192.0.2.7" in warnings[0]
    assert "`limit 22/tcp`" in warnings[0] and "ControlPersist" in warnings[0]
    allowed_before = policy({**ALLOW, "from": "192.0.2.7"}, {**ALLOW, "action": "limit"})
    assert guard.check(allowed_before, [FOUR], [SIX]) == []


def test_nothing_is_said_of_a_firewall_that_is_off() -> None:
    assert guard.check(policy({**ALLOW, "action": "limit"}, enabled=False), [FOUR], [SIX]) == []
    assert guard.check(policy(enabled=False), [FOUR], [SIX]) == []


def test_the_loopback_interface_stays_open_without_ipv6() -> None:
    assert guard.check(policy(ipv6=False), [Peer("::1", 22, "::1", "lo")]) == []
