# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Just enough of iptables: load a transaction into a table, and follow the first packet of a connection."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterable
from functools import cache

from ansible_collections.daffathan.platform.plugins.module_utils._ufw.restore import Table

BUILTIN = ("INPUT", "FORWARD", "OUTPUT")


class Refused(Exception):
    """iptables-restore would fail on this line."""


def load(table: Table, text: str) -> Table:
    """What `iptables-restore --noflush` makes of the table."""
    policies, chains = dict(table.policies), {name: list(rules) for name, rules in table.chains.items()}
    for line in text.splitlines():
        words = line.split()
        if line.startswith(":"):
            name, policy = words[0][1:], words[1]
            if name in BUILTIN:
                policies[name] = policy
                chains.setdefault(name, [])
            else:
                chains[name] = []
        elif line.startswith("-X"):
            name = words[1]
            if chains[name] or any(name in rule.split() for rules in chains.values() for rule in rules):
                raise Refused(line)
            del chains[name]
        elif line.startswith("-"):
            rule = line.replace(words[0], "-A", 1)
            if words[1] not in chains or (words[0] == "-D" and rule not in chains[words[1]]):
                raise Refused(line)
            if words[0] == "-A":
                chains[words[1]].append(rule)
            elif words[0] == "-I":
                chains[words[1]].insert(0, rule)
            else:
                chains[words[1]].remove(rule)
    return Table(policies, {name: tuple(rules) for name, rules in chains.items()})


def fate(
    rules: Iterable[str],
    *,
    source: str,
    local: str,
    port: int,
    interface: str,
    # The client's port is none of those that the rules of the tests name.
    source_port: int = 50000,
    proto: str = "tcp",
    out: str = "",
) -> str:
    """The target that ends the way of a new connection through the rules of one chain, or nothing."""
    for rule in rules:
        options = _options(rule)
        if (
            options.get("-p", proto) == proto
            and _interface(options.get("-i", "+"), interface)
            and _interface(options.get("-o", "+"), out)
            and _inside(source, options.get("-s"))
            and _inside(local, options.get("-d"))
            and _listed(port, options.get("--dport") or options.get("--dports"))
            and _listed(source_port, options.get("--sport") or options.get("--sports"))
            and "--update" not in options
        ):
            target = options.get("-j", "")
            if target in ("ACCEPT", "DROP", "REJECT") or target.endswith("-user-limit-accept"):
                return target
    return ""


@cache
def _options(rule: str) -> dict[str, str]:
    words = shlex.split(rule)[2:]
    return dict(zip(words, words[1:]))


def _interface(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("+") else name == pattern


def _inside(address: str, network: str | None) -> bool:
    return network is None or ipaddress.ip_address(address) in ipaddress.ip_network(network)


def _listed(port: int, ports: str | None) -> bool:
    if ports is None:
        return True
    ranges = [part.partition(":") for part in ports.split(",")]
    return any(int(first) <= port <= int(last or first) for first, _colon, last in ranges)
