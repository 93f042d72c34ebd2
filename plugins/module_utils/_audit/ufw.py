# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What UFW's files say, for a comparison with what the kernel does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.daffathan.platform.plugins.module_utils._audit import units
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import ROOT, Finding, unknown
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import plan, tuples
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import ANYWHERE, InputError, Policy, Rule

_OPENING = ("allow", "limit")


@dataclass(frozen=True)
class Ufw:
    """The policy of the files, the state of the unit (enabled, disabled, masked or missing), and the static rules."""

    policy: Policy
    unit: str = "enabled"
    static: Mapping[str, str] = field(default_factory=dict)


def _text(path: str, root: str) -> str:
    with open(f"{root}{path}", encoding="utf-8", errors="replace") as handle:
        return handle.read(4 << 20)


def _unit(root: str) -> str:
    unit = units.load("ufw.service", root)
    if unit is None:
        return "missing"
    return "masked" if unit.masked else "enabled" if units.enabled(unit.name, root) else "disabled"


def read(problems: list[Finding], root: str = "") -> Ufw | None:
    """UFW as its files describe it; None where it is not installed."""
    if not os.path.exists(f"{root}{plan.CONFIGURATION}"):
        return None
    texts: dict[str, str] = {}
    paths = [plan.DEFAULTS, plan.CONFIGURATION, *plan.USER_RULES.values()]
    for path in [*paths, *(path for pair in plan.STATIC_RULES.values() for path in pair)]:
        try:
            texts[path] = _text(path, root)
        except FileNotFoundError:
            texts[path] = ""
        except OSError as error:
            problems.append(unknown("ufw-not-examined", f"{path}: {error}.", ROOT, file=path))
            return None
    try:
        policy = plan.current_policy(texts)
    except InputError as error:
        problems.append(unknown("ufw-not-examined", str(error), "Correct the file, or run ufw_policy."))
        return None
    return Ufw(policy, _unit(root), {path: texts[path] for path in texts if path not in paths})


def ports_of(rule: Rule) -> list[range]:
    """The ports a rule is for; empty for all of them."""
    if rule.dport == "any":
        return []
    found = []
    for part in rule.dport.split(","):
        first, dummy, last = part.partition(":")
        found.append(range(int(first), int(last or first) + 1))
    return found


def _concerns(rule: Rule, proto: str, port: int) -> bool:
    ports = ports_of(rule)
    here = rule.direction == "in" and not rule.route and rule.proto in ("any", proto)
    return here and (not ports or any(port in part for part in ports))


def _always(rule: Rule) -> bool:
    """Whether the rule is for every packet to its ports."""
    anywhere = ANYWHERE[rule.family]
    return (rule.src, rule.dst, rule.sport, rule.interface_in) == (anywhere, anywhere, "any", "")


def denies(policy: Policy, family: int, proto: str, port: int) -> bool:
    """Whether the files let nobody reach the port, whatever his address and interface."""
    if family == 6 and not policy.ipv6:
        return True
    for rule in policy.rules(family):
        if _concerns(rule, proto, port):
            if rule.action in _OPENING:
                return False
            if _always(rule):
                return True
    return policy.incoming != "allow"


def openings(policy: Policy) -> list[tuple[Rule, list[tuple[str, range]]]]:
    """Rules that let somebody in to certain ports, with those ports per protocol; one of two families counts once."""
    found: dict[str, tuple[Rule, list[tuple[str, range]]]] = {}
    for rule in (*policy.rules4, *(policy.rules6 if policy.ipv6 else ())):
        if rule.action not in _OPENING or rule.route or rule.direction != "in" or not ports_of(rule):
            continue
        protocols = ("tcp", "udp") if rule.proto == "any" else (rule.proto,)
        found.setdefault(
            tuples.command(rule), (rule, [(proto, part) for proto in protocols for part in ports_of(rule)])
        )
    return list(found.values())
