# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rule files: what ufw itself wrote, and what it would write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import render, tuples
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import Policy, Rule
from hypothesis import given

from tests.unit.plugins.module_utils.ufw.strategies import policies

FIXTURES = Path(__file__).parent / "fixtures"
# What the fixtures were made with: ufw 0.36.2, `ufw default reject incoming` and so on, `ufw logging medium`.
FIXTURE_POLICY = Policy(True, "reject", "deny", "allow", "medium")


def fixture(family: int) -> str:
    return (FIXTURES / {4: "user.rules", 6: "user6.rules"}[family]).read_text()


@pytest.mark.parametrize("family", [4, 6])
def test_files_of_ufw_come_out_as_they_went_in(family: int) -> None:
    rules, strange = tuples.parse_file(fixture(family), family)
    assert strange == ()
    policy = replace(FIXTURE_POLICY, **{f"rules{family}": rules})
    assert render.user_rules(policy, family) == fixture(family)


def test_commands_are_those_of_ufw_show_added() -> None:
    rules = [rule for family in (4, 6) for rule in tuples.parse_file(fixture(family), family)[0]]
    # `ufw show added` has no mark for the family: a rule of both is one line.
    commands = list(dict.fromkeys(f"ufw {tuples.command(rule)}" for rule in rules))
    assert commands == (FIXTURES / "show-added.txt").read_text().splitlines()


@given(policies())
def test_parse_is_the_inverse_of_render(policy: Policy) -> None:
    for family in (4, 6):
        assert tuples.parse_file(render.user_rules(policy, family), family) == (policy.rules(family), ())
        for rule in policy.rules(family):
            assert tuples.parse(tuples.render(rule), family) == rule


@given(policies())
def test_different_rules_are_different_commands(policy: Policy) -> None:
    for family in (4, 6):
        # Lines of one profile share their command; ports and protocol are those of the profile.
        rules = {rule for rule in policy.rules(family) if not rule.dapp and not rule.sapp}
        assert len({tuples.command(rule) for rule in rules}) == len(rules)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        # Before ufw had directions there were six fields, eight with profiles.
        ("allow tcp 22 0.0.0.0/0 any 0.0.0.0/0", Rule(4, "allow", "tcp", "22")),
        ("allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 Web%20Full -", Rule(4, "allow", "tcp", "80", dapp="Web Full")),
        ("deny any any 0.0.0.0/0 any 192.0.2.0/24 in", Rule(4, "deny", src="192.0.2.0/24")),
        (
            "allow any 53 0.0.0.0/0 80 0.0.0.0/0 DNS WWW in",
            Rule(4, "allow", dport="53", sport="80", dapp="DNS", sapp="WWW"),
        ),
        (
            "limit_log tcp 22 0.0.0.0/0 any 0.0.0.0/0 in_eth0",
            Rule(4, "limit", "tcp", "22", interface_in="eth0", log="log"),
        ),
        (
            "route:allow_log-all tcp 80 0.0.0.0/0 any 0.0.0.0/0 in_wg0!out_a_b",
            Rule(4, "allow", "tcp", "80", interface_in="wg0", interface_out="a_b", route=True, log="log-all"),
        ),
        ("allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=c3bc", Rule(4, "allow", "tcp", "22", comment="\u00fc")),
    ],
)
def test_grammar_of_tuples(line: str, rule: Rule) -> None:
    assert tuples.parse(f"### tuple ### {line}", 4) == rule


@pytest.mark.parametrize(
    "line",
    [
        "allow tcp 22",
        "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in extra words here",
        "permit tcp 22 0.0.0.0/0 any 0.0.0.0/0 in",
        "allow_loud tcp 22 0.0.0.0/0 any 0.0.0.0/0 in",
        "allow sctp 22 0.0.0.0/0 any 0.0.0.0/0 in",
        "allow tcp ssh 0.0.0.0/0 any 0.0.0.0/0 in",
        "allow tcp 22 everywhere any 0.0.0.0/0 in",
        "allow tcp 22 0.0.0.0/0 any ::/0 in",
        "allow tcp 22 ::/0 any ::/0 in",
        "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 sideways",
        "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in_a!b",
        "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=zz",
        "allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=ff",
    ],
)
def test_what_is_no_tuple_is_told(line: str) -> None:
    line = f"### tuple ### {line}"
    with pytest.raises(tuples.TupleError, match=r"### tuple ###"):
        tuples.parse(line, 4)
    good = "### tuple ### allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 in"
    assert tuples.parse_file(f"{line}\n\n{good}\n", 4) == ((Rule(4, "allow", "tcp", "80"),), (line,))


def test_rules_written_into_the_file_by_hand_are_told() -> None:
    text = fixture(4)
    by_hand = "-A ufw-user-input -p tcp --dport 9999 -j ACCEPT"
    changed = text.replace("### END RULES ###", f"{by_hand}\n\n### END RULES ###")
    assert changed != text
    rules, strange = tuples.parse_file(changed, 4)
    assert strange == (by_hand,) and rules == tuples.parse_file(text, 4)[0]


def test_a_port_without_protocol_is_both_of_them() -> None:
    assert render.rule_lines(Rule(4, "reject", dport="79")) == [
        "-A ufw-user-input -p tcp --dport 79 -j REJECT --reject-with tcp-reset",
        "-A ufw-user-input -p udp --dport 79 -j REJECT",
    ]
