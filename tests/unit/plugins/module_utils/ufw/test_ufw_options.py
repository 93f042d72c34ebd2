# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Input: what the options become, and what is refused before anything is done."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import options, settings, shadow
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import InputError, Policy, Rule

from tests.unit.plugins.module_utils.ufw.strategies import OPTIONS, PROFILES


def rules(**entry: Any) -> list[Rule]:
    return options.parse_rule({"action": "allow", **entry}, "rules[3]", PROFILES)


def policy(*entries: dict[str, Any], **wanted: Any) -> Policy:
    wanted = {**OPTIONS, "rules": list(entries), **wanted}
    return options.parse_policy(wanted, options.parse_rules(wanted, PROFILES))


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({"port": "22", "proto": "tcp"}, [Rule(4, "allow", "tcp", "22"), Rule(6, "allow", "tcp", "22")]),
        ({"port": "443, 80,443", "proto": "tcp", "family": "v4"}, [Rule(4, "allow", "tcp", "80,443")]),
        ({"port": "8000:8010,90,9:10", "proto": "udp", "family": "v4"}, [Rule(4, "allow", "udp", "9:10,90,8000:8010")]),
        ({"from": "192.0.2.1/32"}, [Rule(4, "allow", src="192.0.2.1")]),
        ({"from": "192.0.2.0/255.255.255.0"}, [Rule(4, "allow", src="192.0.2.0/24")]),
        ({"from": "0.0.0.0/0"}, [Rule(4, "allow")]),
        ({"from": "2001:DB8:0::/32"}, [Rule(6, "allow", src="2001:db8::/32")]),
        ({"from": "any", "to": "::1/128"}, [Rule(6, "allow", dst="::1")]),
        ({"proto": "igmp"}, [Rule(4, "allow", "igmp")]),
        ({"proto": "esp", "family": "v6"}, [Rule(6, "allow", "esp")]),
        ({"app": "Web Full", "family": "v4"}, [Rule(4, "allow", "tcp", "80,443", dapp="Web Full")]),
        (
            {"app": "Chat", "family": "v6"},
            [Rule(6, "allow", "tcp", "5222:5223", dapp="Chat"), Rule(6, "allow", "udp", "123", dapp="Chat")],
        ),
        ({"from_app": "NTP", "family": "v4"}, [Rule(4, "allow", "udp", sport="123", sapp="NTP")]),
        (
            {"from_app": "Web Full", "port": "1024", "family": "v4"},
            [Rule(4, "allow", "tcp", "1024", sport="80,443", sapp="Web Full")],
        ),
        (
            {"app": "Web Full", "from_port": "1024", "family": "v4"},
            [Rule(4, "allow", "tcp", "80,443", sport="1024", dapp="Web Full")],
        ),
        # A profile with itself is each line with itself, as for ufw.
        (
            {"app": "Chat", "from_app": "Chat", "family": "v4"},
            [
                Rule(4, "allow", "tcp", "5222:5223", sport="5222:5223", dapp="Chat", sapp="Chat"),
                Rule(4, "allow", "udp", "123", sport="123", dapp="Chat", sapp="Chat"),
            ],
        ),
        # Of two profiles, each pair of lines that one packet can match.
        (
            {"app": "Chat", "from_app": "Web Full", "family": "v4"},
            [Rule(4, "allow", "tcp", "5222:5223", sport="80,443", dapp="Chat", sapp="Web Full")],
        ),
        (
            {"app": "DNS", "from_app": "NTP", "family": "v4"},
            [Rule(4, "allow", "udp", "53", sport="123", dapp="DNS", sapp="NTP")],
        ),
        (
            {"route": True, "interface_out": "b", "family": "v4"},
            [Rule(4, "allow", direction="out", interface_out="b", route=True)],
        ),
        (
            {"route": True, "interface_in": "a", "interface_out": "b", "family": "v4"},
            [Rule(4, "allow", interface_in="a", interface_out="b", route=True)],
        ),
        ({"log": "all", "family": "v4"}, [Rule(4, "allow", log="log-all")]),
        (
            {"direction": "out", "interface_out": "eth+", "family": "v4"},
            [Rule(4, "allow", direction="out", interface_out="eth+")],
        ),
    ],
)
def test_entries(entry: dict[str, Any], found: list[Rule]) -> None:
    assert rules(**entry) == found


LONG = ",".join(str(port) for port in range(1, 17))


@pytest.mark.parametrize(
    ("entry", "option", "value", "remedy"),
    [
        *(
            ({"port": port, "proto": "tcp"}, "port", port, "Give a number from 1 to 65535")
            for port in ("0", "65536", "-1", "022", "80; reboot", "http", "1:2:3", "80:", "99999999", "\u0661")
        ),
        ({"port": ",80", "proto": "tcp"}, "port", "''", "Give a number from 1 to 65535"),
        ({"port": "80:22", "proto": "tcp"}, "port", "80:22", "Write the lower port first"),
        ({"port": "80:80", "proto": "tcp"}, "port", "80:80", "Write the lower port first"),
        ({"port": LONG, "proto": "tcp"}, "port", LONG, "Write several rules"),
        ({"port": ",".join(f"{n}0:{n}5" for n in range(1, 9)), "proto": "tcp"}, "port", "10:15", "Write several rules"),
        ({"port": "80,443"}, "proto", "80,443", "Write one rule for each"),
        ({"from_port": "1024:2048"}, "proto", "1024:2048", "Write one rule for each"),
        ({"port": "80", "proto": "esp"}, "port", "esp", "Leave out port"),
        ({"from": "999.1.1.1"}, "from", "999.1.1.1", "Give 192.0.2.1"),
        ({"from": "example.org"}, "from", "example.org", "Give 192.0.2.1"),
        ({"to": "10.0.0.5/8"}, "to", "10.0.0.5/8", "Write 10.0.0.0/8"),
        ({"from": "2001:db8::1/32"}, "from", "2001:db8::1/32", "Write 2001:db8::/32"),
        ({"from": "::ffff:192.0.2.1"}, "from", "::ffff:192.0.2.1", "Write it as an IPv4 address"),
        ({"from": "fe80::1%eth0"}, "from", "fe80::1%eth0", "Give the interface"),
        ({"from": "192.0.2.1", "to": "2001:db8::1"}, "to", "2001:db8::1", "Write one rule for each family"),
        ({"from": "192.0.2.1", "family": "v6"}, "from", "192.0.2.1", "Write one rule for each family"),
        ({"interface_in": "eth0:1"}, "interface_in", "eth0:1", "aliases"),
        ({"interface_in": "a!b"}, "interface_in", "a!b", "no `!`"),
        ({"interface_in": "sixteencharacter"}, "interface_in", "sixteencharacter", "at most 15"),
        ({"interface_in": ".."}, "interface_in", "..", "no name of an interface"),
        ({"interface_in": "eth0", "direction": "out"}, "interface_in", "eth0", "`direction: in`"),
        ({"interface_out": "eth0"}, "interface_out", "eth0", "`direction: out`"),
        ({"proto": "igmp", "family": "v6"}, "proto", "igmp", "Leave it out"),
        ({"proto": "ipv6", "from": "2001:db8::/32"}, "proto", "ipv6", "Leave it out"),
        ({"app": "Gopher"}, "app", "Gopher", "ufw app list"),
        ({"app": "DNS", "port": "53"}, "port", "DNS", "Leave out port or app"),
        ({"app": "DNS", "proto": "udp"}, "proto", "DNS", "Leave out proto or app"),
        ({"from_app": "Gopher"}, "from_app", "Gopher", "ufw app list"),
        ({"from_app": "DNS", "from_port": "53"}, "from_port", "DNS", "Leave out from_port or from_app"),
        ({"from_app": "DNS", "port": "53", "proto": "udp"}, "proto", "DNS", "Leave out proto or from_app"),
        ({"app": "Web Full", "from_app": "NTP"}, "from_app", "NTP (source) and Web Full", "Leave out one of them"),
        ({"app": "DNS", "from_port": "1024:2048"}, "from_port", "1024:2048", "one rule for each protocol"),
        ({"from_app": "DNS", "port": "80,443"}, "port", "80,443", "one rule for each protocol"),
        ({"app": "Broken"}, "app", "Broken", "Give a number"),
        ({"app": "Stream"}, "app", "sctp", "name ports and protocol instead"),
        *(
            ({key: " "}, key, "' '", f"Leave out {key}")
            for key in ("port", "from_port", "from", "to", "app", "from_app", "interface_in", "interface_out")
        ),
        ({"from": ""}, "from", "''", "look at the variable"),
        ({"comment": "don't"}, "comment", "don't", "Leave it out"),
        ({"comment": "a\nb"}, "comment", r"a\nb", "Leave it out"),
    ],
)
def test_bad_input_names_option_value_and_remedy(entry: dict[str, Any], option: str, value: str, remedy: str) -> None:
    profiles = {**PROFILES, "Broken": (("http", "tcp"),), "Stream": (("80", "sctp"),)}
    with pytest.raises(InputError) as caught:
        options.parse_rule({"action": "allow", **entry}, "rules[3]", profiles)
    message = str(caught.value)
    assert message.startswith(f"rules[3].{option}: ") and value in message and remedy in message


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"port": "80", "proto": "tcp"}, {"port": "80", "proto": "tcp"}),
        ({"port": "80", "proto": "tcp"}, {"action": "deny", "port": "80", "proto": "tcp"}),
        ({"port": "80,90", "proto": "tcp", "log": "all"}, {"port": "90,80", "proto": "tcp", "comment": "web"}),
        ({"port": "80", "proto": "tcp"}, {"port": "80", "proto": "tcp", "family": "v6"}),
        ({"app": "Chat"}, {"app": "Chat", "comment": "again"}),
        ({"from": "192.0.2.1"}, {"from": "192.0.2.1/32"}),
    ],
)
def test_two_rules_for_the_same_traffic_are_refused(first: dict[str, Any], second: dict[str, Any]) -> None:
    other = {"action": "deny", "port": "25", "proto": "tcp"}
    with pytest.raises(InputError, match=r"^rules\[2\]: `.*` matches the same traffic as rules\[0\].*Remove one"):
        policy({"action": "allow", **first}, other, {"action": "allow", **second})


@pytest.mark.parametrize(
    "second",
    [
        {"port": "80"},
        {"port": "80", "proto": "udp"},
        {"port": "80", "proto": "tcp", "direction": "out"},
        {"port": "80", "proto": "tcp", "route": True},
        {"port": "80", "proto": "tcp", "interface_in": "eth0"},
        {"from_port": "80", "proto": "tcp"},
    ],
)
def test_rules_for_other_traffic_are_not(second: dict[str, Any]) -> None:
    found = policy({"action": "allow", "port": "80", "proto": "tcp"}, {"action": "deny", **second})
    assert [rule.action for rule in found.rules4] == ["allow", "deny"]


def test_a_profile_that_says_a_port_twice_makes_one_rule() -> None:
    found = options.parse_rule(
        {"action": "allow", "app": "X", "family": "v4"}, "", {"X": (("80", "tcp"), ("80", "tcp"))}
    )
    assert found == [Rule(4, "allow", "tcp", "80", dapp="X")]


def test_a_profile_with_itself_is_each_line_with_itself() -> None:
    entry = {"action": "allow", "app": "X", "from_app": "X", "family": "v4"}
    found = options.parse_rule(entry, "", {"X": (("80", "tcp"), ("90", "tcp"))})
    assert [(rule.dport, rule.sport) for rule in found] == [("80", "80"), ("90", "90")]


PROFILE = "[{name}]\ntitle=T\ndescription=D\n{ports}\n"


@pytest.mark.parametrize(
    ("ports", "found"),
    [
        ("ports=80/tcp", (("80", "tcp"),)),
        ("ports = 80,443/tcp | 53", (("80,443", "tcp"), ("53", "any"))),
        ("Ports: 8000:8010/udp", (("8000:8010", "udp"),)),
    ],
)
def test_profiles(ports: str, found: tuple[tuple[str, str], ...]) -> None:
    text = PROFILE.format(name="Web Full", ports=ports) + PROFILE.format(name="B", ports="ports=1/tcp")
    assert settings.parse_profiles(text) == {"Web Full": found, "B": (("1", "tcp"),)}


@pytest.mark.parametrize(
    "text", ["", "no section", "[A]\ntitle=T\nports=80\n", PROFILE.format(name="A", ports="ports=") * 2]
)
def test_what_ufw_does_not_take_for_a_profile(text: str) -> None:
    assert settings.parse_profiles(text) == {}


def test_files_that_are_left_over_are_no_profiles() -> None:
    names = ["web", ".web", "web~", "web.dpkg-old", "web.dpkg-new", "web.dpkg-dist", "web.rpmsave", "web.old"]
    assert [name for name in names if settings.is_profile_file(f"/etc/ufw/applications.d/{name}")] == ["web", "web.old"]


def test_settings_keep_the_file_around_them() -> None:
    text = '# A=1\n\n\nA=no  # why\nB="x"\n'
    assert (settings.get(text, "A"), settings.get(text, "B"), settings.get(text, "C")) == ("no", "x", None)
    assert settings.put(text, "A", "yes") == '# A=1\n\n\nA=yes\nB="x"\n'
    assert settings.put("B=1", "A", "yes") == "B=1\nA=yes\n"
    assert settings.get("A=1\nA=2\n", "A") == "2" and settings.put("A=1\nA=2\n", "A", "3") == "A=3\nA=3\n"
    assert settings.is_on("A=YES\n", "A") and not settings.is_on(text, "A")


def test_a_default_policy_that_ufw_does_not_know_is_told() -> None:
    with pytest.raises(
        InputError, match=r"/etc/default/ufw: DEFAULT_INPUT_POLICY='MAYBE' .*ACCEPT, DROP, REJECT.*Correct"
    ):
        settings.default_policy("DEFAULT_INPUT_POLICY=MAYBE\n", "incoming")


@pytest.mark.parametrize("entry", [{"family": "v6"}, {"from": "2001:db8::/32"}, {"to": "fe80::1"}])
def test_without_ipv6_a_rule_of_ipv6_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^rules\[1\]: `allow .*` is a rule of IPv6.*`ipv6: false`.*Remove the rule"):
        policy({"action": "allow", "port": "22"}, {"action": "allow", **entry}, ipv6=False)


def test_without_ipv6_rules_of_both_are_of_ipv4() -> None:
    found = policy({"action": "allow", "port": "22"}, {"action": "allow", "from": "192.0.2.1"}, ipv6=False)
    assert not found.ipv6 and found.rules6 == ()
    assert found.rules4 == (Rule(4, "allow", dport="22"), Rule(4, "allow", src="192.0.2.1"))


def test_a_list_of_thousands_is_read_quickly() -> None:
    entries = [{"action": "allow", "from": f"10.{n // 250}.{n % 250}.1", "port": "22"} for n in range(5000)]
    started = time.process_time()
    wanted = {**OPTIONS, "rules": entries}
    rules = options.parse_rules(wanted, PROFILES)
    assert len(options.parse_policy(wanted, rules).rules4) == 5000 and shadow.warnings(rules) == []
    assert time.process_time() - started < 4
