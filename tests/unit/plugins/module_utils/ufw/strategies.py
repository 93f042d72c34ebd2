# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Generated entries of `rules`, whole policies, and the files of a host with UFW."""

from __future__ import annotations

from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._ufw import options, plan
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import (
    ACTIONS,
    LOG_LEVELS,
    POLICIES,
    PORTLESS_PROTOCOLS,
    Policy,
    Rule,
)
from hypothesis import strategies as st

PROFILES = {
    "Web Full": (("80,443", "tcp"),),
    "DNS": (("53", "any"),),
    "NTP": (("123", "udp"),),
    "Chat": (("5222:5223", "tcp"), ("123", "udp")),
}
# The options besides `rules`, as the module gets them.
OPTIONS: dict[str, Any] = {
    "state": "enabled",
    "defaults": {"incoming": "deny", "outgoing": "allow", "routed": "deny"},
    "logging": "low",
    "purge": "all",
    "purge_keep": [],
    "tag": None,
    "allow_empty": False,
    "ipv6": True,
}
# Few values, so that rules meet each other and the packets of the tests.
ADDRESSES = {
    4: ("any", "192.0.2.7", "192.0.2.0/24", "10.0.0.0/8", "0.0.0.0/0"),
    6: ("any", "2001:db8::7", "2001:db8::/32", "fd00::/8", "::/0"),
}
PORTS = ("22", "80", "22,80", "20:25", "22,8000:8010", "65535")
TEXTS = st.text(st.characters(blacklist_categories=("C", "Z"), blacklist_characters="'"), max_size=12)

DEFAULTS_FILE = """# written by hand
IPV6=yes

DEFAULT_INPUT_POLICY="DROP"

DEFAULT_OUTPUT_POLICY="ACCEPT"
DEFAULT_FORWARD_POLICY="DROP"
MANAGE_BUILTINS=no
"""
CONFIGURATION_FILE = "# ufw.conf\n\nENABLED=no\n\nLOGLEVEL=low\n"
EMPTY_RULES = "*filter\n:{0}-user-input - [0:0]\n### RULES ###\n-A {0}-user-limit -j REJECT\nCOMMIT\n"


def static_rules(ufw: str, stage: str) -> str:
    """A small before.rules or after.rules, with a table that is not ours to compare."""
    chains = [f"{ufw}-{stage}-{end}" for end in ("input", "output", "forward")]
    accept = f"-A {chains[0]} -i lo -j ACCEPT" if stage == "before" else f"-A {chains[0]} -p udp --dport 137 -j DROP"
    declared = "\n".join(f":{chain} - [0:0]" for chain in chains)
    return f"*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n*filter\n{declared}\n# {stage}\n{accept}\nCOMMIT\n"


def fresh_files() -> dict[str, str]:
    """The files of a host on which UFW was just installed."""
    files = {plan.DEFAULTS: DEFAULTS_FILE, plan.CONFIGURATION: CONFIGURATION_FILE}
    for family, ufw in ((4, "ufw"), (6, "ufw6")):
        files[plan.USER_RULES[family]] = EMPTY_RULES.format(ufw)
        before, after = plan.STATIC_RULES[family]
        files[before], files[after] = static_rules(ufw, "before"), static_rules(ufw, "after")
    return files


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """One valid entry of `rules`."""
    entry: dict[str, Any] = {
        "action": draw(st.sampled_from(ACTIONS)),
        "log": draw(st.sampled_from(["none", "new", "all"])),
        "comment": draw(TEXTS),
        "family": draw(st.sampled_from(["auto", "auto", "v4", "v6"])),
    }
    pinned = {"auto": draw(st.sampled_from([0, 4, 6])), "v4": 4, "v6": 6}[entry["family"]]
    if pinned:
        entry["from"], entry["to"] = (draw(st.sampled_from(ADDRESSES[pinned])) for _end in range(2))
    kind = draw(st.sampled_from(["app", "apps", "ports", "port", "portless"]))
    if kind == "app":
        entry[draw(st.sampled_from(["app", "from_app"]))] = draw(st.sampled_from(sorted(PROFILES)))
    elif kind == "apps":
        entry["app"], entry["from_app"] = draw(
            st.sampled_from([("Web Full", "Chat"), ("Chat", "Chat"), ("NTP", "DNS")])
        )
    elif kind == "ports":
        entry["proto"] = draw(st.sampled_from(["tcp", "udp"]))
        entry["port"], entry["from_port"] = draw(st.sampled_from(PORTS)), draw(st.sampled_from([None, *PORTS]))
    elif kind == "port":
        entry["port"] = draw(st.sampled_from([None, "22", "80"]))
    else:
        allowed = PORTLESS_PROTOCOLS if pinned != 6 else ("ah", "esp", "gre", "vrrp")
        entry["proto"] = draw(st.sampled_from(allowed))
    names = st.sampled_from([None, None, "eth0", "eth+", "br-a_b"])
    entry["route"] = draw(st.booleans()) and draw(st.booleans())
    if entry["route"]:
        entry["interface_in"], entry["interface_out"] = draw(names), draw(names)
    else:
        entry["direction"] = draw(st.sampled_from(["in", "in", "out"]))
        entry[f"interface_{entry['direction']}"] = draw(names)
    return entry


@st.composite
def rule_lists(draw: st.DrawFn, *, ipv6: bool = True) -> list[dict[str, Any]]:
    """Valid entries that can stand together."""
    chosen: list[dict[str, Any]] = []
    seen: set[Rule] = set()
    for entry in draw(st.lists(entries(), max_size=8)):
        rules = options.parse_rule(entry, "rules[0]", PROFILES)
        identities = {rule.identity for rule in rules}
        if not identities & seen and (ipv6 or any(rule.family == 4 for rule in rules)):
            seen |= identities
            chosen.append(entry)
    return chosen


@st.composite
def policies(draw: st.DrawFn, *, ipv6: bool = True) -> Policy:
    """A valid policy, as the options of the module make it."""
    default = st.sampled_from(POLICIES)
    wanted = {
        **OPTIONS,
        "state": draw(st.sampled_from(["enabled", "enabled", "disabled"])),
        "defaults": {"incoming": draw(default), "outgoing": draw(default), "routed": draw(default)},
        "logging": draw(st.sampled_from(LOG_LEVELS)),
        "rules": draw(rule_lists(ipv6=ipv6)),
        "ipv6": ipv6,
    }
    return options.parse_policy(wanted, options.parse_rules(wanted, PROFILES))
