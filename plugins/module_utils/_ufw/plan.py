# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.
"""From the firewall as it is to the firewall as it shall be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ansible_collections.daffathan.platform.plugins.module_utils._ufw import render, settings, tuples
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.kernel import Table
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import DIRECTIONS, LOG_LEVELS, Policy, Rule

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
        enabled=settings.get(configuration, "ENABLED") == "yes",
        incoming=settings.default_policy(defaults, "incoming"),
        outgoing=settings.default_policy(defaults, "outgoing"),
        routed=settings.default_policy(defaults, "routed"),
        logging=level if level in LOG_LEVELS else "low",
        rules4=tuples.parse_file(files[USER_RULES[4]], 4),
        rules6=tuples.parse_file(files[USER_RULES[6]], 6),
    )


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
    defaults = settings.put(files[DEFAULTS], "IPV6", "yes") if _ipv6_off(files[DEFAULTS]) else files[DEFAULTS]
    for direction in DIRECTIONS:
        if settings.default_policy(defaults, direction) != desired.default(direction):
            defaults = settings.put_policy(defaults, direction, desired.default(direction))
    configuration = files[CONFIGURATION]
    if settings.get(configuration, "LOGLEVEL") != desired.logging:
        configuration = settings.put(configuration, "LOGLEVEL", desired.logging)
    enabled = "yes" if desired.enabled else "no"
    if settings.get(configuration, "ENABLED") != enabled:
        configuration = settings.put(configuration, "ENABLED", enabled)
    return {
        USER_RULES[4]: render.user_rules(desired, 4),
        USER_RULES[6]: render.user_rules(desired, 6),
        DEFAULTS: defaults,
        CONFIGURATION: configuration,
    }


def _ipv6_off(defaults: str) -> bool:
    return (settings.get(defaults, "IPV6") or "no").lower() != "yes"


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
    running = any(name.startswith("ufw") for table in kernel.values() for name in table.chains)
    if desired.enabled:
        differing = [f"IPv{family}" for family in (4, 6) if kernel[family].own() != wanted[family].own()]
        if differing:
            operations.append(Operation("load", f"load the rules into the kernel ({', '.join(differing)})"))
        if not unit_enabled:
            operations.append(Operation("unit", "start ufw at boot"))
    elif running:
        operations.append(Operation("stop", "take the rules out of the kernel"))
    return operations


def describe(policy: Policy) -> str:
    """A firewall in the notation of ufw, for people and for diffs."""
    lines = [
        f"Status: {'active' if policy.enabled else 'inactive'}",
        f"Logging: {policy.logging}",
        f"Default: {policy.incoming} (incoming), {policy.outgoing} (outgoing), {policy.routed} (routed)",
    ]
    commands = {family: [tuples.command(rule) for rule in policy.rules(family)] for family in (4, 6)}
    both = set(commands[4]) & set(commands[6])
    lines += [f"ufw {text}" + ("" if text in both or _pinned(text) else " (v4)") for text in commands[4]]
    lines += [f"ufw {text}" + ("" if _pinned(text) else " (v6)") for text in commands[6] if text not in both]
    return "\n".join(lines) + "\n"


def _pinned(command: str) -> bool:
    """An address in the command says the family already."""
    return any(
        character.isdigit() and ("." in word or ":" in word) for word in command.split() for character in word[:1]
    )


def difference(before: Table, after: Table) -> list[str]:
    """Where the kernel differs from what is wanted, as lines."""
    lines = []
    for name, policy in after.policies.items():
        if before.policies.get(name) != policy:
            lines.append(f"policy of {name} is {before.policies.get(name)}, not {policy}")
    for name in sorted({*before.chains, *after.chains}):
        have, want = before.chains.get(name), after.chains.get(name)
        if have != want:
            lines.append(f"chain {name} has {'no' if have is None else len(have)} rules, not {len(want or ())}")
    return lines
