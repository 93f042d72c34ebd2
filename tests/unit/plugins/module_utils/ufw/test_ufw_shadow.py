# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What rules have in common, and rules that can never match."""

from __future__ import annotations

import ipaddress
import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import options, render, shadow
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import Policy, Rule
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.ufw.packets import fate
from tests.unit.plugins.module_utils.ufw.strategies import OPTIONS, PROFILES, entries, policies


def rules_of(entry: dict[str, Any]) -> list[Rule]:
    return options.parse_rule(entry, "rules[0]", PROFILES)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Rule, Rule]:
    """Two rules of one family and chain; often the first is the second made wider."""
    first, second = draw(entries()), draw(entries())
    if draw(st.booleans()):
        first = {**second, "action": first["action"]}
        for key in draw(st.lists(st.sampled_from(["port", "from_port", "from", "to", "interface_in"]), max_size=2)):
            first.pop(key, None)
    found = [
        (one, other)
        for one in rules_of(first)
        for other in rules_of(second)
        if (one.family, one.chain) == (other.family, other.chain)
    ]
    return draw(st.sampled_from(found)) if found else (Rule(4, "allow"), Rule(4, "deny"))


def corners(first: Rule, second: Rule) -> Iterator[dict[str, Any]]:
    """Packets among which there is one that tells two rules apart, if there is any at all."""

    def ports(*texts: str) -> set[int]:
        ends = [int(end) for text in texts if text != "any" for part in text.split(",") for end in part.split(":")]
        return {port for end in ends for port in (end - 1, end, end + 1) if 0 < port < 65536} or {7}

    def addresses(*texts: str) -> set[str]:
        networks = [ipaddress.ip_network(text) for text in texts]
        return {str(address) for network in networks for address in (network[0], network[-1])}

    def names(*patterns: str) -> set[str]:
        return {name for pattern in patterns for name in (pattern.rstrip("+"), pattern.replace("+", "zz"))} | {"other"}

    chain = first.chain
    for proto, source, local, port, source_port, interface, out in itertools.product(
        {"tcp", "udp", "esp", first.proto, second.proto} - {"any"},
        addresses(first.src, second.src),
        addresses(first.dst, second.dst),
        ports(first.dport, second.dport),
        ports(first.sport, second.sport),
        names(first.interface_in, second.interface_in) if chain != "output" else {""},
        names(first.interface_out, second.interface_out) if chain != "input" else {""},
    ):
        yield {
            **{"proto": proto, "source": source, "local": local, "port": port, "source_port": source_port},
            **{"interface": interface, "out": out},
        }


def hits(rule: Rule, packet: dict[str, Any]) -> bool:
    chain = f"{render.prefix(rule.family)}-user-{rule.chain}"
    return bool(fate([line for line in render.rule_lines(rule) if line.split()[1] == chain], **packet))


@settings(max_examples=200, deadline=None)
@given(pairs())
def test_rules_meet_and_cover_each_other_as_their_packets_do(pair: tuple[Rule, Rule]) -> None:
    first, second = pair
    # A packet without ports is met by no rule that names one, so that one port is enough for these.
    packets = [packet for packet in corners(first, second) if hits(second, packet)]
    assert packets
    shared = [packet for packet in packets if hits(first, packet)]
    assert shadow.overlaps(first, second) == shadow.overlaps(second, first) == bool(shared)
    assert shadow.covers(first, second) == (len(shared) == len(packets))


@given(policies())
def test_every_covered_rule_is_found_with_the_first_that_covers_it(policy: Policy) -> None:
    for family in (4, 6):
        rules = policy.rules(family)
        expected = []
        for place, rule in enumerate(rules):
            earlier = [other for other in rules[:place] if shadow.covers(other, rule)]
            expected += [(rule, other) for other in earlier[:1]]
        assert list(shadow.covered(rules)) == expected


@given(
    policies(), st.sampled_from(["192.0.2.7", "192.0.2.9", "10.1.1.1", "203.0.113.1"]), st.sampled_from([22, 25, 80])
)
def test_a_rule_that_can_never_match_changes_nothing(policy: Policy, source: str, port: int) -> None:
    useless = {rule for rule, _by in shadow.covered(policy.rules4)}

    def ending(rules: list[Rule]) -> str:
        lines = [line for rule in rules for line in render.rule_lines(rule) if line.startswith("-A ufw-user-input ")]
        return fate(lines, source=source, local="192.0.2.1", port=port, interface="eth0")

    kept = [rule for rule in policy.rules4 if rule not in useless]
    assert ending(kept) == ending(list(policy.rules4))


@pytest.mark.parametrize(
    ("first", "second", "covers", "overlaps"),
    [
        ({"dport": "20:22,23:25"}, {"dport": "20:25"}, True, True),
        ({"dport": "20:22,24:25"}, {"dport": "20:25"}, False, True),
        ({"dport": "20:22"}, {"dport": "23:25"}, False, False),
        ({"dport": "80", "sport": "22"}, {"dport": "80", "sport": "23"}, False, False),
        ({"dport": "80", "sport": "22"}, {"dport": "80"}, False, True),
        ({"interface_in": "eth+"}, {"interface_in": "eth0+"}, True, True),
        ({"interface_in": "eth0+"}, {"interface_in": "eth+"}, False, True),
        ({"interface_in": "eth0"}, {"interface_in": "eth+"}, False, True),
        ({"interface_in": "wg0"}, {"interface_in": "eth+"}, False, False),
        ({"interface_in": "+"}, {}, True, True),
    ],
)
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_ports_and_interfaces(
    first: dict[str, str], second: dict[str, str], covers: bool, overlaps: bool, proto: str
) -> None:
    one, other = Rule(4, "allow", proto, **first), Rule(4, "deny", proto, **second)
    assert shadow.covers(one, other) == covers
    assert shadow.overlaps(one, other) == shadow.overlaps(other, one) == overlaps


@pytest.mark.parametrize(
    ("proto", "port", "overlaps"),
    [("esp", "any", False), ("tcp", "any", True), ("udp", "80", True), ("tcp", "90", False)],
)
def test_a_port_without_protocol_is_of_tcp_and_udp(proto: str, port: str, overlaps: bool) -> None:
    one, other = Rule(4, "allow", dport="80"), Rule(4, "deny", proto, port)
    assert shadow.overlaps(one, other) == shadow.overlaps(other, one) == overlaps
    assert shadow.covers(one, other) == (port == "80") and shadow.covers(Rule(4, "allow"), other)


SSH = {"action": "allow", "port": "22", "proto": "tcp"}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([SSH, {**SSH, "port": "80"}], []),
        ([{**SSH, "from": "192.0.2.0/24"}, SSH], []),
        ([{"action": "deny"}, SSH], ["rules[1] can never match", "meet rules[0] (`deny to any`) first. Remove"]),
        (
            [{**SSH, "family": "v4"}, {**SSH, "action": "limit", "from_port": "1024:65535"}],
            [
                "rules[1], as far as it is `limit from any port 1024:65535 to any port 22 proto tcp` (v4), can never",
                "meet rules[0] (`allow 22/tcp`) first",
            ],
        ),
        (
            [{**SSH, "port": "5000:6000"}, {"action": "allow", "app": "Chat", "family": "v4"}],
            ["rules[1], as far as it is `allow Chat` (v4, 5222:5223/tcp), can never", "meet rules[0]"],
        ),
        (
            [{**SSH, "family": "v4"}, {**SSH, "family": "v6", "port": "20:30"}, {**SSH, "from_port": "99"}],
            ["rules[2] can never match", "meet rules[0] (`allow 22/tcp`) and rules[1] (`allow 20:30/tcp`) first"],
        ),
    ],
)
def test_warnings(entries: list[dict[str, Any]], words: list[str]) -> None:
    warnings = shadow.warnings(options.parse_rules({**OPTIONS, "rules": entries}, PROFILES))
    assert len(warnings) == bool(words) and all(word in warnings[0] for word in words), warnings


@pytest.mark.parametrize("differ", ["src", "dport", "both", "range", "all"])
def test_thousands_of_rules_take_no_time(differ: str) -> None:
    def rule(number: int) -> Rule:
        source = f"10.{number // 200}.{number % 200}.1" if differ in ("src", "both") else "0.0.0.0/0"
        port = {"src": "22", "range": f"{number * 10 + 1}:{number * 10 + 5}", "all": f"{number + 1}:65535"}.get(
            differ, str(number + 1)
        )
        return Rule(4, "allow", "tcp", port, src=source)

    rules = [rule(number) for number in range(5000)]
    started = time.process_time()
    assert len(list(shadow.covered(rules))) == (4999 if differ == "all" else 0)
    assert time.process_time() - started < 3
