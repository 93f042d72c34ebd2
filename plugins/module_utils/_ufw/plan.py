# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.
"""From the firewall as it is to the firewall as it shall be."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ansible_collections.daffathan.platform.plugins.module_utils._ufw import render, settings, tuples
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.kernel import Table
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import (
    ANYWHERE,
    DIRECTIONS,
    LOG_LEVELS,
    Policy,
    Rule,
)

DEFAULTS = "/etc/default/ufw"
CONFIGURATION = "/etc/ufw/ufw.conf"
USER_RULES = {4: "/etc/ufw/user.rules", 6: "/etc/ufw/user6.rules"}
STATIC_RULES = {
    4: ("/etc/ufw/before.rules", "/etc/ufw/after.rules"),
    6: ("/etc/ufw/before6.rules", "/etc/ufw/after6.rules"),
}


@dataclass(frozen=True)
class Operation:
    """One step: `file` with a path, `load`, `stop` or `unit`; `why` is for people."""

    kind: str
    why: str
    path: str = ""
    content: str = field(default="", repr=False)


def current_policy(files: Mapping[str, str]) -> Policy:
    """The policy that UFW's files describe."""
    defaults, configuration = files[DEFAULTS], files[CONFIGURATION]
    level = settings.get(configuration, "LOGLEVEL") or "low"
    return Policy(
        enabled=settings.is_on(configuration, "ENABLED"),
        incoming=settings.default_policy(defaults, "incoming"),
        outgoing=settings.default_policy(defaults, "outgoing"),
        routed=settings.default_policy(defaults, "routed"),
        logging=level if level in LOG_LEVELS else "low",
        rules4=tuples.parse_file(files[USER_RULES[4]], 4)[0],
        rules6=tuples.parse_file(files[USER_RULES[6]], 6)[0],
    )


def families(files: Mapping[str, str]) -> tuple[int, ...]:
    """The address families that UFW's files switch on."""
    return (4, 6) if settings.is_on(files[DEFAULTS], "IPV6") else (4,)


def strange_lines(files: Mapping[str, str]) -> list[str]:
    """Lines of the rule files that are no rule of UFW: it would drop them, and so would this module."""
    return [
        f"{path}: {line}" for family, path in USER_RULES.items() for line in tuples.parse_file(files[path], family)[1]
    ]


def with_undeclared(desired: Policy, current: Policy) -> Policy:
    """The wanted policy, followed by the rules that are there and not declared."""

    def merged(mine: tuple[Rule, ...], theirs: tuple[Rule, ...]) -> tuple[Rule, ...]:
        declared = {rule.identity for rule in mine}
        return (*mine, *(rule for rule in theirs if rule.identity not in declared))

    return replace(
        desired,
        rules4=merged(desired.rules4, current.rules4),
        rules6=merged(desired.rules6, current.rules6),
    )


def wanted_files(desired: Policy, files: Mapping[str, str]) -> dict[str, str]:
    """The content of every file of UFW that a policy decides."""
    defaults = files[DEFAULTS]
    if not settings.is_on(defaults, "IPV6"):
        defaults = settings.put(defaults, "IPV6", "yes")
    for direction in DIRECTIONS:
        if settings.default_policy(defaults, direction) != desired.default(direction):
            defaults = settings.put_policy(defaults, direction, desired.default(direction))
    configuration = files[CONFIGURATION]
    if settings.get(configuration, "LOGLEVEL") != desired.logging:
        configuration = settings.put(configuration, "LOGLEVEL", desired.logging)
    if settings.is_on(configuration, "ENABLED") != desired.enabled:
        configuration = settings.put(configuration, "ENABLED", "yes" if desired.enabled else "no")
    return {
        USER_RULES[4]: render.user_rules(desired, 4),
        USER_RULES[6]: render.user_rules(desired, 6),
        DEFAULTS: defaults,
        CONFIGURATION: configuration,
    }


def transactions(desired: Policy, files: Mapping[str, str], present: Mapping[int, Table]) -> dict[int, str]:
    """What loads the whole policy, one atomic transaction per family, over what is in the kernel."""
    return {
        family: render.rebuild(desired, family, files[before], files[after], present[family].chains)
        for family, (before, after) in STATIC_RULES.items()
    }


def plan(
    desired: Policy,
    files: Mapping[str, str],
    kernel: Mapping[int, Table],
    wanted: Mapping[int, Table],
    *,
    unit_enabled: bool,
) -> list[Operation]:
    """The steps, in an order in which a kill between two of them neither opens the firewall nor locks anybody out.

    Rules come before the default policies, and ENABLED is written last: a reboot in between starts a firewall
    that lets its rules through, or none.
    """
    operations = []
    for path, content in wanted_files(desired, files).items():
        if files[path] != content:
            operations.append(Operation("file", f"write {path}", path, content))
    if desired.enabled:
        differing = [f"IPv{family}" for family in (4, 6) if difference(kernel[family], wanted[family])]
        if differing:
            operations.append(Operation("load", f"load the rules into the kernel ({', '.join(differing)})"))
        if not unit_enabled:
            operations.append(Operation("unit", "start ufw at boot"))
    elif any(table.running for table in kernel.values()):
        operations.append(Operation("stop", "take the rules out of the kernel"))
    return operations


def describe(policy: Policy) -> str:
    """A firewall in the notation of ufw, for people and for diffs."""
    lines = [
        f"Status: {'active' if policy.enabled else 'inactive'}",
        f"Logging: {policy.logging}",
        f"Default: {policy.incoming} (incoming), {policy.outgoing} (outgoing), {policy.routed} (routed)",
    ]
    lines += [f"ufw {text}" for text in _commands(policy)]
    return "\n".join(lines) + "\n"


def _commands(policy: Policy) -> list[str]:
    """Both families as one list: a rule of both is one line, and each family keeps its order."""
    four, six = ([_Line.of(rule) for rule in policy.rules(family)] for family in (4, 6))
    in_four, in_six, waiting = {line.text for line in four}, {line.text for line in six}, deque(six)
    lines: list[str] = []
    for line in four:
        while line.text in in_six and waiting and waiting[0].text not in in_four:
            lines.append(waiting.popleft().alone)
        if waiting and waiting[0].text == line.text:
            waiting.popleft()
            lines.append(line.text)
        else:
            lines.append(line.alone)
    return lines + [line.alone for line in waiting]


@dataclass(frozen=True)
class _Line:
    """A rule as a command of ufw; alone, if the other family has no such rule at this place."""

    text: str
    alone: str

    @classmethod
    def of(cls, rule: Rule) -> _Line:
        text = tuples.command(rule)
        if rule.dapp or rule.sapp:
            # A profile stands for ports, and can change on the disk.
            text += f" ({'/'.join((rule.dport if rule.dapp else rule.sport, rule.proto))})"
        pinned = {rule.src, rule.dst} != {ANYWHERE[rule.family]}
        return cls(text, text if pinned else f"{text} (v{rule.family})")


def difference(before: Table, after: Table) -> list[str]:
    """Where the kernel differs from what is wanted, as lines."""
    if after.running and not before.running:
        return ["UFW is not loaded"]
    before, after = before.own(after), after.own()
    lines = []
    for name, policy in after.policies.items():
        if before.policies.get(name) != policy:
            lines.append(f"policy of {name} is {before.policies.get(name)}, not {policy}")
    for name in sorted({*before.chains, *after.chains}):
        have, want = before.chains.get(name), after.chains.get(name)
        if have is None:
            lines.append(f"chain {name} is missing")
        elif have != want:
            lines += [f"chain {name} misses `{rule}`" for rule in want or () if rule not in have]
            lines += [f"chain {name} has `{rule}`" for rule in have if rule not in (want or ())]
            if sorted(have) == sorted(want or ()):
                lines.append(f"chain {name} has its {len(have)} rules in another order")
            elif set(have) == set(want or ()):
                lines.append(f"chain {name} has {len(have)} rules, not {len(want or ())}")
    return lines
