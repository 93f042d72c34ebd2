# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Judge a host: what can be reached against what is declared, and what waits to be opened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.adjacent import adjacent_ways
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge_containers import (
    beside_the_firewall,
    judge_containers,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge_daemon import judge_daemon
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge_firewall import (
    judge_default,
    judge_foreign,
    judge_tables,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge_networks import (
    judge_networks,
    judge_routing,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge_ports import (
    judge_adjacent,
    judge_behind,
    judge_declarations,
    judge_latent,
    judge_published,
    judge_ways,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge_ufw import judge_ufw
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Expected, Finding, ordered
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import Host, Way, served_by, ways_in

_FAMILY = {4: "ipv4", 6: "ipv6"}


@dataclass(frozen=True)
class Report:
    findings: list[Finding]
    reachable: list[dict[str, Any]]
    adjacent: list[dict[str, Any]] = field(default_factory=list)


def judge(host: Host, expected: Iterable[Expected]) -> Report:
    """The whole judgement of a host."""
    entries = tuple(expected)
    ways = ways_in(host)
    beside = beside_the_firewall(host)
    reached = {(way.proto, way.port) for way in ways}
    declared = {(entry.proto, entry.port) for entry in entries if not entry.expired(host.today)}
    adjacent = adjacent_ways(host)
    findings = [*host.problems, *judge_ways(host, ways, entries), *judge_adjacent(host, adjacent, reached | declared)]
    findings += [*judge_published(host, reached, declared), *judge_latent(host, declared)]
    findings += judge_behind(host, reached, declared)
    findings += judge_declarations(host, entries, reached | {(item["proto"], item["port"]) for item in beside})
    findings += [*judge_default(host), *judge_ufw(host, ways, declared), *judge_tables(host), *judge_foreign(host)]
    findings += [*judge_routing(host), *judge_networks(host), *judge_containers(host, entries), *judge_daemon(host)]
    reachable = [*(_entry(host, way) for way in ways), *beside]
    return Report(ordered(findings), reachable, [_entry(host, way) for way in adjacent])


def _entry(host: Host, way: Way) -> dict[str, Any]:
    return {
        **{"proto": way.proto, "port": way.port, "family": _FAMILY[way.family], "path": way.path},
        "address": way.address,
        "why": way.why(served_by(host, way)[0].text),
        "limits": list(way.limits),
    }
