# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The output of iptables-save and ip6tables-save as tables of the packet filter."""

from __future__ import annotations

import re
from collections.abc import Callable

from ansible_collections.daffathan.platform.plugins.module_utils._audit.iptables_rule import RuleError, RuleParser
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Chain, Table

_HOOKS = {"PREROUTING": "prerouting", "INPUT": "input", "FORWARD": "forward"}
_PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
_COUNTERS = re.compile(r"^\[\d+:\d+\] ")


def parse(text: str, family: int, inner: Callable[[Address], bool], origin: str = "iptables") -> list[Table]:
    """The tables of iptables-save output. A line that is not understood is an error, not a gap.

    :param inner: whether an address belongs to a network behind this host: no packet from outside comes from there.
    """
    rules = RuleParser(family, inner)
    tables: list[Table] = []
    table: Table | None = None
    for line in text.splitlines():
        line = line.strip()
        if not line or line[0] == "#":
            continue
        if line[0] == "*":
            if table is not None:
                raise RuleError(f"{line}: table {table.name} has no COMMIT")
            table = Table(f"{origin} {line[1:]}", (family,))
            tables.append(table)
            continue
        if table is None:
            raise RuleError(f"{line}: outside of a table")
        if line == "COMMIT":
            table = None
            continue
        if line[0] == ":":
            _declare(table, line)
            continue
        if line[0] == "[":
            line = _COUNTERS.sub("", line)
        name, rule = rules.parse(line)
        chain = table.chains.get(name)
        if chain is None:
            raise RuleError(f"{line}: the table has no chain {name}")
        chain.rules += rule
    if table is not None:
        raise RuleError(f"{table.name}: no COMMIT, the output is cut")
    return tables


def _declare(table: Table, line: str) -> None:
    name, dummy, rest = line[1:].partition(" ")
    if name in table.chains:
        raise RuleError(f"{line}: the table has that chain already")
    kind = table.name.rpartition(" ")[2]
    policy = rest.partition(" ")[0]
    if policy not in ("ACCEPT", "DROP", "-"):
        raise RuleError(f"{line}: not the policy of a chain")
    hook = "" if policy == "-" else _HOOKS.get(name, "elsewhere")
    accepts = "drop" if policy == "DROP" else "accept"
    table.chains[name] = Chain(name, hook, _PRIORITIES.get(kind, 0), accepts, kind == "nat")
