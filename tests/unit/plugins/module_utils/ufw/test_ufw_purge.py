# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules that are not declared, and the tag of those that are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import options, purge, shadow
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import InputError, Policy, Rule
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.purge import Purge
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.ufw.strategies import OPTIONS, PROFILES, policies

SSH, WEB, DNS = (Rule(4, "allow", proto, port) for proto, port in (("tcp", "22"), ("tcp", "80"), ("udp", "53")))
BAN = Rule(4, "reject", src="203.0.113.9", comment="by Fail2Ban after 5 attempts")
OTHER_BAN = Rule(4, "reject", src="203.0.113.10", comment="by Fail2Ban after 6 attempts")
WEB_OF_BANNED = Rule(4, "allow", "tcp", "80", src="203.0.113.9")
FAR = Rule(4, "allow", "udp", "53", src="198.51.100.0/24")


def tagged(rule: Rule, comment: str) -> Rule:
    return replace(rule, comment=comment)


def merged(mine: list[Rule], theirs: list[Rule], purging: Purge) -> list[Rule]:
    policy = purge.with_undeclared(Policy(True, rules4=tuple(mine)), Policy(True, rules4=tuple(theirs)), purging)
    return list(policy.rules4)


@pytest.mark.parametrize(
    ("purging", "staying"),
    [
        (Purge("all"), []),
        (Purge("none"), ["", "a", "a: x", "ab", "b: a", "by Fail2Ban"]),
        (Purge("tagged", "a"), ["", "ab", "b: a", "by Fail2Ban"]),
        (Purge("all", "a"), []),
        (Purge("all", "", ("by Fail2Ban*",)), ["by Fail2Ban"]),
        (Purge("tagged", "a", ("a: ?", "by*")), ["", "a: x", "ab", "b: a", "by Fail2Ban"]),
        (Purge("all", "", ("BY*",)), []),
        # A rule without a comment matches no pattern.
        (Purge("all", "", ("*",)), ["a", "a: x", "ab", "b: a", "by Fail2Ban"]),
    ],
)
def test_what_stays(purging: Purge, staying: list[str]) -> None:
    comments = ["", "a", "a: x", "ab", "b: a", "by Fail2Ban"]
    assert [text for text in comments if purging.stays(tagged(WEB, text))] == staying


@pytest.mark.parametrize(
    ("purging", "theirs", "found"),
    [
        # What is declared comes first, and takes the place of a rule for the same traffic.
        (Purge("none"), [DNS, WEB], [SSH, DNS, WEB]),
        (Purge("none"), [tagged(SSH, "old"), WEB], [SSH, WEB]),
        (Purge("none"), [Rule(4, "deny", "tcp", "22"), WEB], [SSH, WEB]),
        # In front of it stays what has no packet in common with it,
        (Purge("none"), [WEB, SSH, DNS], [WEB, SSH, DNS]),
        (Purge("tagged", "a"), [tagged(DNS, "a"), WEB, tagged(SSH, "a")], [WEB, SSH]),
        # but nothing else, and not what has one in common with a rule that moves behind.
        (Purge("none"), [BAN, SSH], [SSH, BAN]),
        (Purge("none"), [BAN, WEB_OF_BANNED, FAR, SSH], [FAR, SSH, BAN, WEB_OF_BANNED]),
        # A rule that a pattern keeps stays in front, where it stands there: a ban is to be one.
        (Purge("all", "", ("by Fail2Ban*",)), [BAN, SSH, OTHER_BAN, WEB], [BAN, SSH, OTHER_BAN]),
        (Purge("all", "", ("by Fail2Ban*",)), [WEB, BAN], [BAN, SSH]),
        (Purge("none", "", ("by Fail2Ban*",)), [BAN, SSH], [BAN, SSH]),
    ],
)
def test_place_of_what_stays(purging: Purge, theirs: list[Rule], found: list[Rule]) -> None:
    assert merged([SSH], theirs, purging) == found


def test_two_tags_leave_each_other_alone() -> None:
    mine, theirs = [tagged(SSH, "a: ssh"), tagged(WEB, "a")], [tagged(DNS, "b")]
    first = merged(mine, [], Purge("tagged", "a"))
    both = merged(theirs, first, Purge("tagged", "b"))
    assert sorted(both, key=str) == sorted(mine + theirs, key=str)
    assert merged(mine, both, Purge("tagged", "a")) == both and merged(theirs, both, Purge("tagged", "b")) == both
    assert merged([], both, Purge("tagged", "a")) == theirs


PURGES = st.builds(Purge, st.sampled_from(["all", "none", "tagged"]), st.just("t"), st.sampled_from([(), ("a*", "?")]))


@given(policies(), policies(), PURGES)
def test_merging_is_idempotent_and_what_is_declared_comes_first(
    desired: Policy, present: Policy, purging: Purge
) -> None:
    policy = purge.with_undeclared(desired, present, purging)
    assert purge.with_undeclared(desired, policy, purging) == policy
    for family in (4, 6):
        mine, rules = desired.rules(family), list(policy.rules(family))
        declared = {rule.identity for rule in mine}
        assert [rule for rule in rules if rule.identity in declared] == list(mine)
        kept = [rule for rule in rules if rule.identity not in declared]
        assert set(kept) == {
            rule for rule in present.rules(family) if rule.identity not in declared and purging.stays(rule)
        }
        for rule in kept:
            ahead = [other for other in mine if rules.index(rule) < rules.index(other)]
            assert purging.pinned(rule) or not any(shadow.overlaps(rule, other) for other in ahead)


@given(policies(), policies())
def test_kept_rules_that_meet_keep_their_order(desired: Policy, present: Policy) -> None:
    rules = list(purge.with_undeclared(desired, present, Purge("none")).rules4)
    declared = {rule.identity for rule in desired.rules4}
    kept = [rule for rule in present.rules4 if rule.identity not in declared]
    for place, rule in enumerate(kept):
        for other in kept[place + 1 :]:
            assert rules.index(rule) < rules.index(other) or not shadow.overlaps(rule, other)


@pytest.mark.parametrize(("comment", "written"), [("", "t"), ("web", "t: web"), ("tea", "t: tea"), ("t:x", "t: t:x")])
def test_the_tag_stands_in_front_of_the_comment(comment: str, written: str) -> None:
    wanted = {**OPTIONS, "tag": "t", "rules": [{"action": "allow", "port": "80", "comment": comment}]}
    found = options.parse_rules(wanted, PROFILES)
    assert {rule.comment for rule in found} == {written} and all(purge.has_tag(rule.comment, "t") for rule in found)


@pytest.mark.parametrize("comment", ["t", "t: web"])
def test_a_comment_that_begins_with_the_tag_is_refused(comment: str) -> None:
    wanted = {**OPTIONS, "tag": "t", "rules": [{"action": "allow", "port": "80", "comment": comment}]}
    with pytest.raises(InputError, match=rf"^rules\[0\]\.comment: '{comment}' begins with the tag.*Leave out `t`"):
        options.parse_rules(wanted, PROFILES)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"purge": "tagged"}, r"^tag: `purge: tagged` removes .* there is none. Give one"),
        ({"purge": "tagged", "tag": ""}, r"^tag: '' cannot mark rules. Give one word"),
        *(
            ({"tag": tag}, r"^tag: .* cannot mark rules. Give one word")
            for tag in ("", " ", "a b", "a\tb", "don't", 'a"b', "a`b", "a:", "a\u00a0b", "a\x00")
        ),
        ({"purge_keep": ["a*", ""]}, r"^purge_keep\[1\]: '' matches no comment. Remove it"),
        (
            {"rules": []},
            r"^rules: the list is empty, and `purge: all` .* Give rules, .*`purge: none`.*`allow_empty: true`",
        ),
        ({"rules": [], "state": "disabled"}, r"^rules: the list is empty"),
    ],
)
def test_what_makes_no_sense_is_refused(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        purge.parse({**OPTIONS, "rules": [{}], **wanted})


@pytest.mark.parametrize(
    "wanted",
    [
        {"rules": [], "allow_empty": True},
        {"rules": [], "purge": "none"},
        {"rules": [], "purge": "tagged", "tag": "a"},
        {"purge": "all", "tag": "site:web-1"},
        {"purge_keep": ["by Fail2Ban*"]},
    ],
)
def test_what_makes_sense_is_not(wanted: dict[str, Any]) -> None:
    purge.parse({**OPTIONS, "rules": [{}], **wanted})


@pytest.mark.parametrize("mode", ["none", "tagged"])
def test_lines_that_cannot_be_kept_are_refused_where_rules_stay(mode: str) -> None:
    with pytest.raises(InputError, match=rf"^purge: `{mode}` cannot keep .*\(user.rules: -A x\).*remove the line"):
        purge.refuse_to_lose(Purge(mode, "a"), ["user.rules: -A x"])
    purge.refuse_to_lose(Purge("all"), ["user.rules: -A x"])
    purge.refuse_to_lose(Purge(mode, "a"), [])
