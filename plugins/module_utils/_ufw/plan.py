# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.
"""From the firewall as it is to the firewall as it shall be."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.daffathan.platform.plugins.module_utils._ufw import render, settings, tuples
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import (
    ANYWHERE,
    DIRECTIONS,
    LOG_LEVELS,
    Policy,
    Rule,
)
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.restore import BUILTIN, Table

DEFAULTS = "/etc/default/ufw"
CONFIGURATION = "/etc/ufw/ufw.conf"
USER_RULES = {4: "/etc/ufw/user.rules", 6: "/etc/ufw/user6.rules"}
# The files that a policy decides.
WRITTEN = (*USER_RULES.values(), DEFAULTS, CONFIGURATION)
STATIC_RULES = {
    4: ("/etc/ufw/before.rules", "/etc/ufw/after.rules"),
    6: ("/etc/ufw/before6.rules", "/etc/ufw/after6.rules"),
}


def mode_of(path: str) -> int:
    """The permission bits ufw gives its files."""
    return 0o644 if path in (DEFAULTS, CONFIGURATION) else 0o640


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
        ipv6=settings.is_on(defaults, "IPV6"),
    )


def strange_lines(files: Mapping[str, str], desired: Policy) -> list[str]:
    """Lines that are no rule of UFW in files that will be written: it would drop them, and so would this module."""
    return [
        f"{path}: {line}"
        for family, path in USER_RULES.items()
        if family == 4 or desired.ipv6
        for line in tuples.parse_file(files[path], family)[1]
    ]


def wanted_files(desired: Policy, files: Mapping[str, str]) -> dict[str, str]:
    """The content of every file of UFW that a policy decides."""
    defaults = files[DEFAULTS]
    if settings.is_on(defaults, "IPV6") != desired.ipv6:
        defaults = settings.put(defaults, "IPV6", "yes" if desired.ipv6 else "no")
    for direction in DIRECTIONS:
        if settings.default_policy(defaults, direction) != desired.default(direction):
            defaults = settings.put_policy(defaults, direction, desired.default(direction))
    configuration = files[CONFIGURATION]
    if settings.get(configuration, "LOGLEVEL") != desired.logging:
        configuration = settings.put(configuration, "LOGLEVEL", desired.logging)
    if settings.is_on(configuration, "ENABLED") != desired.enabled:
        configuration = settings.put(configuration, "ENABLED", "yes" if desired.enabled else "no")
    return {
        **{
            path: render.user_rules(desired, family)
            for family, path in USER_RULES.items()
            if family == 4 or desired.ipv6
        },
        DEFAULTS: defaults,
        CONFIGURATION: configuration,
    }


def transactions(desired: Policy, files: Mapping[str, str], present: Mapping[int, Table]) -> dict[int, str]:
    """What loads the whole policy, one atomic transaction per family, over what is in the kernel."""
    texts = {}
    for family, table in present.items():
        before, after = STATIC_RULES[family]
        if family == 6 and not desired.ipv6:
            texts[family] = render.close(table.chains)
        else:
            texts[family] = render.rebuild(desired, family, files[before], files[after], table.chains)
    return texts


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
        differing = [f"IPv{family}" for family in wanted if difference(kernel[family], wanted[family])]
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
    if not policy.ipv6:
        lines.append("IPv6: off")
    lines += [f"ufw {text}" for text in _commands(policy)]
    return "\n".join(lines) + "\n"


def _commands(policy: Policy) -> list[str]:
    """Both families as one list: a rule of both is one line, and each family keeps its order."""
    four, six = ([_Line.of(rule) for rule in policy.rules(family)] for family in (4, 6))
    if not policy.ipv6:
        return [line.text for line in four]
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
            ports = [port for port, profile in ((rule.dport, rule.dapp), (rule.sport, rule.sapp)) if profile]
            text += f" ({' from '.join(ports)}/{rule.proto})"
        pinned = {rule.src, rule.dst} != {ANYWHERE[rule.family]}
        return cls(text, text if pinned else f"{text} (v{rule.family})")


def difference(before: Table, after: Table) -> list[str]:
    """Where the kernel differs from what is wanted, as lines."""
    if not any(name.startswith("ufw") for name in after.chains):
        return _difference_when_closed(before, after)
    if after.running and not before.running:
        return ["UFW is not loaded"]
    before, after = before.own(after), after.own()
    lines = _policies(before, after)
    for name in sorted({*before.chains, *after.chains}):
        have, want = before.chains.get(name), after.chains.get(name)
        if have is None:
            lines.append(f"chain {name} is missing")
        elif have != want:
            known, asked = set(have), set(want or ())
            lines += [f"chain {name} misses `{rule}`" for rule in want or () if rule not in known]
            lines += [f"chain {name} has `{rule}`" for rule in have if rule not in asked]
            if sorted(have) == sorted(want or ()):
                lines.append(f"chain {name} has its {len(have)} rules in another order")
            elif set(have) == set(want or ()):
                lines.append(f"chain {name} has {len(have)} rules, not {len(want or ())}")
    return lines


def _policies(before: Table, after: Table) -> list[str]:
    return [
        f"policy of {name} is {before.policies.get(name)}, not {policy}"
        for name, policy in after.policies.items()
        if before.policies.get(name) != policy
    ]


def _difference_when_closed(before: Table, after: Table) -> list[str]:
    """The same for IPv6 that is switched off: UFW's chains may stay, empty, and so may rules of others."""
    lines = _policies(before, after)
    for name in BUILTIN:
        have = before.chains.get(name, ())
        lines += [f"chain {name} misses `{rule}`" for rule in after.chains.get(name, ()) if rule not in have]
    for name in render.own_chains(6):
        lines += [f"chain {name} has `{rule}`" for rule in before.chains.get(name, ())]
    return lines
