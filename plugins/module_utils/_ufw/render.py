# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Text for UFW's rule files and for iptables-restore."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.daffathan.platform.plugins.module_utils._ufw import tuples
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import (
    ANYWHERE,
    DIRECTIONS,
    LOG_LEVELS,
    Policy,
    Rule,
)
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.restore import BUILTIN, target

_LIMITED = "-m limit --limit 3/min --limit-burst 10"
_TARGETS = {"allow": "ACCEPT", "deny": "DROP", "reject": "REJECT", "limit": "LIMIT"}
_LOGGED_AS = {"allow": "ALLOW", "limit": "LIMIT", "deny": "BLOCK", "reject": "BLOCK"}
_ENDS = tuple(end for _setting, _builtin, end in DIRECTIONS.values())


def prefix(family: int) -> str:
    return "ufw" if family == 4 else "ufw6"


def user_chains(family: int) -> list[str]:
    """The chains that user.rules declares, and so empties when it is loaded."""
    ufw = prefix(family)
    user = [f"{ufw}-user-{end}" for end in ("input", "output", "forward")]
    logging = [
        f"{ufw}-{stage}-logging-{end}"
        for stage in ("before", "user", "after")
        for end in ("input", "output", "forward")
    ]
    return [*user, *logging, *(f"{ufw}-{name}" for name in ("logging-deny", "logging-allow", "user-limit"))] + [
        f"{ufw}-user-limit-accept"
    ]


def own_chains(family: int) -> list[str]:
    """Every chain that UFW itself makes."""
    primary = [line.split()[-1] for lines in primary_jumps(family).values() for line in lines]
    skips = [f"{prefix(family)}-skip-to-policy-{end}" for end in _ENDS]
    return [*primary, *skips, f"{prefix(family)}-not-local", *user_chains(family)]


def _match(rule: Rule, proto: str) -> str:
    anywhere = ANYWHERE[rule.family]
    words = []
    if rule.interface_in:
        words += ["-i", rule.interface_in]
    if rule.interface_out:
        words += ["-o", rule.interface_out]
    if proto != "any":
        words += ["-p", proto]
    if rule.multiport:
        if rule.dport != "any":
            words += ["-m multiport --dports", rule.dport]
        if rule.sport != "any":
            words += ["-m multiport --sports", rule.sport]
    if rule.dst != anywhere:
        words += ["-d", rule.dst]
    if not rule.multiport and rule.dport != "any":
        words += ["--dport", rule.dport]
    if rule.src != anywhere:
        words += ["-s", rule.src]
    if not rule.multiport and rule.sport != "any":
        words += ["--sport", rule.sport]
    return " ".join(words)


def _comment(rule: Rule) -> str:
    names = [f"{side}_{name.replace(' ', '%20')}" for side, name in (("dapp", rule.dapp), ("sapp", rule.sapp)) if name]
    return f" -m comment --comment '{','.join(names)}'" if names else ""


def rule_lines(rule: Rule) -> list[str]:
    """The rules of the kernel that one rule of UFW stands for."""
    ported = rule.dport != "any" or rule.sport != "any"
    # A port needs a transport protocol, so "any" means both.
    protocols = ["tcp", "udp"] if rule.proto == "any" and ported else [rule.proto]
    lines: list[str] = []
    for proto in protocols:
        match = _match(rule, proto)
        head = f"-A {prefix(rule.family)}-user-{rule.chain}{' ' + match if match else ''}"
        ending = (" --reject-with tcp-reset" if rule.action == "reject" and proto == "tcp" else "") + _comment(rule)
        if rule.log:
            lines += _log_lines(rule, match)
        if rule.action == "limit":
            new = f"{head} -m conntrack --ctstate NEW -m recent"
            limit = f"{prefix(rule.family)}-user-limit"
            lines.append(f"{new} --set{ending}")
            lines.append(f"{new} --update --seconds 30 --hitcount 6 -j {limit}{ending}")
            lines.append(f"{head} -j {limit}-accept{ending}")
        else:
            lines.append(f"{head} -j {_TARGETS[rule.action]}{ending}")
    return lines


def _log_lines(rule: Rule, match: str) -> list[str]:
    chain = f"{prefix(rule.family)}-user-{rule.chain}"
    logging = f"{prefix(rule.family)}-user-logging-{rule.chain}"
    spaced = f" {match}" if match else ""
    new = "" if rule.log == "log-all" else " -m conntrack --ctstate NEW"
    text = f'-j LOG --log-prefix "[UFW {_LOGGED_AS[rule.action]}] "'
    return [
        f"-A {logging}{spaced}{new} {_LIMITED} {text}",
        f"-A {logging}{spaced} -j RETURN",
        f"-A {chain}{spaced} -j {logging}",
    ]


def logging_lines(policy: Policy, family: int) -> list[str]:
    """The rules of the chains that log, for the log level."""
    ufw = prefix(family)
    level = LOG_LEVELS.index(policy.logging)
    if policy.logging == "off":
        # The first match of a user's log rule is to return, so that the rule itself can stay.
        return [f"-I {ufw}-user-logging-{end} -j RETURN" for end in _ENDS]
    high, medium = level >= LOG_LEVELS.index("high"), level >= LOG_LEVELS.index("medium")
    limited = "" if high else f" {_LIMITED}"
    lines = []
    for direction, (_setting, _builtin, end) in DIRECTIONS.items():
        if policy.default(direction) != "allow":
            lines.append(f'-A {ufw}-after-logging-{end} -j LOG --log-prefix "[UFW BLOCK] "{limited}')
        elif medium:
            lines.append(f'-A {ufw}-after-logging-{end} -j LOG --log-prefix "[UFW ALLOW] "{limited}')
    invalid = f"{ufw}-logging-deny -m conntrack --ctstate INVALID -j"
    if medium:
        lines.append(f'-A {invalid} LOG --log-prefix "[UFW AUDIT INVALID] "{limited}')
    else:
        lines.append(f"-I {invalid} RETURN{limited}")
    lines.append(f'-A {ufw}-logging-deny -j LOG --log-prefix "[UFW BLOCK] "{limited}')
    lines.append(f'-A {ufw}-logging-allow -j LOG --log-prefix "[UFW ALLOW] "{limited}')
    if medium:
        new = "" if high else " -m conntrack --ctstate NEW"
        audit = "" if policy.logging == "full" else f"{new} {_LIMITED}"
        lines += [f'-I {ufw}-before-logging-{end} -j LOG --log-prefix "[UFW AUDIT] "{audit}' for end in _ENDS]
    return lines


def limit_lines(policy: Policy, family: int) -> list[str]:
    chain = f"{prefix(family)}-user-limit"
    log = [f'-A {chain} -m limit --limit 3/minute -j LOG --log-prefix "[UFW LIMIT BLOCK] "']
    return [*(log if policy.logging != "off" else []), f"-A {chain} -j REJECT", f"-A {chain}-accept -j ACCEPT"]


def user_rules(policy: Policy, family: int) -> str:
    """The content of user.rules or user6.rules, laid out as ufw itself writes it."""
    lines = ["*filter", *(f":{chain} - [0:0]" for chain in user_chains(family)), "### RULES ###"]
    for rule in policy.rules(family):
        lines += ["", tuples.render(rule), *rule_lines(rule)]
    lines += ["", "### END RULES ###", "", "### LOGGING ###", *logging_lines(policy, family), "### END LOGGING ###"]
    lines += ["", "### RATE LIMITING ###", *limit_lines(policy, family), "### END RATE LIMITING ###", "COMMIT", ""]
    return "\n".join(lines)


def policy_rules(policy: Policy, family: int) -> dict[str, list[str]]:
    """The chains that carry out the default policies, with their rules."""
    ufw = prefix(family)
    chains: dict[str, list[str]] = {}
    for direction, (_setting, _builtin, end) in DIRECTIONS.items():
        default = policy.default(direction)
        reject, track, skip = (f"{ufw}-{name}-{end}" for name in ("reject", "track", "skip-to-policy"))
        chains[reject] = [f"-A {reject} -j REJECT"] if default == "reject" else []
        chains[track] = [
            f"-A {track} -p {proto} -m conntrack --ctstate NEW -j ACCEPT"
            for proto in ("tcp", "udp")
            if default == "allow"
        ]
        chains[skip] = [f"-A {skip} -j {_TARGETS[default]}"]
    return chains


def builtin_policy(policy: Policy) -> dict[str, str]:
    """INPUT, OUTPUT and FORWARD with what happens to packets no rule matched; the kernel knows no policy REJECT."""
    return {
        builtin: "ACCEPT" if policy.default(direction) == "allow" else "DROP"
        for direction, (_setting, builtin, _end) in DIRECTIONS.items()
    }


def primary_jumps(family: int) -> dict[str, list[str]]:
    """The jumps of each builtin chain, in order."""
    stages = ("before-logging", "before", "after", "after-logging", "reject", "track")
    return {
        builtin: [f"-A {builtin} -j {prefix(family)}-{stage}-{end}" for stage in stages]
        for _setting, builtin, end in DIRECTIONS.values()
    }


def user_jumps(family: int) -> list[str]:
    ufw = prefix(family)
    return [f"-A {ufw}-before-{end} -j {ufw}-user-{end}" for end in ("input", "output", "forward")]


def filter_section(text: str) -> tuple[list[str], list[str]]:
    """Chains and rules of the table `filter` in text for iptables-restore (before.rules, after.rules, user.rules)."""
    chains: list[str] = []
    rules: list[str] = []
    table = ""
    for line in (raw.strip() for raw in text.splitlines()):
        if line.startswith("*"):
            table = line[1:]
        elif line == "COMMIT":
            table = ""
        elif table == "filter" and line.startswith(":"):
            chains.append(line[1:].split()[0])
        elif table == "filter" and line and not line.startswith("#"):
            rules.append(line)
    return chains, rules


def transaction(chains: Mapping[str, str], rules: Iterable[str]) -> str:
    """Text for one atomic `iptables-restore -n`: chains (with a policy, or `-`) are declared, and so emptied."""
    return "\n".join(["*filter", *(f":{name} {policy} [0:0]" for name, policy in chains.items()), *rules, "COMMIT", ""])


def rebuild(policy: Policy, family: int, before: str, after: str, present: Mapping[str, Sequence[str]]) -> str:
    """The transaction that builds every chain of UFW again.

    :param present: chains in the kernel. Rules of others in the builtin chains stay, and so do jumps that are right:
        they keep their place among those of others. If one is not, all of the builtin chain go to its end.
    """
    jumps = primary_jumps(family)
    carried = policy_rules(policy, family)
    chains = [line.split()[-1] for lines in jumps.values() for line in lines]
    rules: list[str] = []
    for text in (before, after, user_rules(policy, family)):
        declared, found = filter_section(text)
        chains += [name for name in declared if name not in BUILTIN]
        rules += found
    hooks: list[str] = []
    own = {name for name in (*chains, *carried) if name.startswith("ufw")}
    for builtin, lines in jumps.items():
        ours = [line for line in present.get(builtin, ()) if target(line) in own]
        if ours != lines:
            hooks += [*(line.replace("-A ", "-D ", 1) for line in ours), *lines]
    rules = hooks + rules
    rules += [line for lines in carried.values() for line in lines] + user_jumps(family)
    names = {**dict.fromkeys([*chains, *carried], "-"), **builtin_policy(policy)}
    return transaction(names, rules)


def close(present: Mapping[str, Sequence[str]]) -> str:
    """The transaction that does what ufw does with IPv6 when that is off: only the loopback interface is open.

    ufw empties the whole table for it; here what others have in it stays. UFW's own chains are emptied and stay hooked:
    ufw would not hook a chain again that it finds.
    """
    chains = {**dict.fromkeys(BUILTIN, "DROP"), **{name: "-" for name in own_chains(6) if name in present}}
    loopback = {"INPUT": "-A INPUT -i lo -j ACCEPT", "OUTPUT": "-A OUTPUT -o lo -j ACCEPT"}
    missing = [line.replace("-A ", "-I ", 1) for name, line in loopback.items() if line not in present.get(name, ())]
    return transaction(chains, missing)
