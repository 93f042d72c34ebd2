# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Judge UFW: its files against the kernel and against what is declared, and what lies beside or in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ansible_collections.daffathan.platform.plugins.module_utils._audit import ufw
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Finding, finding, parse_address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Table
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import Host, Way, open_by_default
from ansible_collections.daffathan.platform.plugins.module_utils._audit.written_rules import (
    ANY,
    accepts,
    iptables,
    texts,
)
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import tuples

_UFW_DOCKER = "BEGIN UFW AND DOCKER"
_ELSEWHERE = {4: "203.0.113.1", 6: "2001:db8::1"}


def _ufw_at_work(host: Host) -> bool:
    return any(
        "-j ufw-before-input" in text for _f, table in iptables(host, "filter") for text in texts(table, "INPUT")
    )


def judge_ufw(host: Host, ways: Iterable[Way], declared: set[tuple[str, int]]) -> Iterator[Finding]:
    """UFW's files against the kernel, and against what is declared."""
    for family, table in iptables(host, "filter"):
        yield from _before_ufw(host, family, table)
    yield from _patches(host)
    if host.ufw is None or host.filter is None:
        return
    policy, at_work = host.ufw.policy, _ufw_at_work(host)
    if at_work and not policy.enabled:
        yield finding(
            "firewall-not-at-boot",
            "high",
            "UFW's rules are in the kernel, but ufw.conf says ENABLED=no: after the next boot there is no firewall.",
            "Run ufw_policy with state enabled, or: ufw enable",
            file="/etc/ufw/ufw.conf",
        )
    elif (policy.enabled or at_work) and host.ufw.unit != "enabled":
        yield finding(
            "firewall-not-at-boot",
            "high",
            f"ufw.service is {host.ufw.unit}: after the next boot there is no firewall.",
            "systemctl unmask ufw && systemctl enable ufw",
            owner="ufw.service",
        )
    if policy.enabled:
        yield from _differs(host, ways)
        yield from _stale(host, ways, declared)
        yield from _stale_routes(host)


def _differs(host: Host, ways: Iterable[Way]) -> Iterator[Finding]:
    """Ports that the files close and the kernel lets in."""
    anyway = open_by_default(host)
    seen = set()
    for way in ways:
        if way.path != "input" or way.limits or way.opaque or way.family in anyway or host.ufw is None:
            continue
        key = (way.family, way.proto, way.port)
        if key in seen or not ufw.denies(host.ufw.policy, *key):
            continue
        seen.add(key)
        yield finding(
            "firewall-differs",
            "high",
            f"UFW's files let nobody in to {way.port}/{way.proto} over IPv{way.family}, the kernel does: "
            f"{'; '.join(text for text in way.rules if text) or 'no rule'}.",
            "Remove the rule that is not UFW's, or load UFW's rules again with ufw_policy.",
            **{
                "proto": way.proto,
                "port": way.port,
                "host_ip": ANY[way.family],
                "path": "input",
            },
        )


def _stale(host: Host, ways: Iterable[Way], declared: set[tuple[str, int]]) -> Iterator[Finding]:
    """Rules for ports on which nobody listens and that nobody declared."""
    if host.ufw is None:
        return
    used: dict[str, set[int]] = {}
    listened = ((item.proto, item.port) for item in host.listeners)
    for proto, port in (*declared, *listened, *((way.proto, way.port) for way in ways)):
        used.setdefault(proto, set()).add(port)
    for rule, ports in ufw.openings(host.ufw.policy):
        if any(not used.get(wanted, set()).isdisjoint(part) for wanted, part in ports):
            continue
        proto, part = ports[0]
        yield finding(
            "undeclared-rule",
            "medium",
            f"`ufw {tuples.command(rule)}` opens a port that is not declared and on which nothing listens: whatever "
            "takes it is open at once.",
            f"ufw delete {tuples.command(rule).partition(' comment ')[0]}, or declare it in the expected ports.",
            **{"proto": proto, "port": part[0], "path": "input"},
        )


def _stale_routes(host: Host) -> Iterator[Finding]:
    """Forwarding rules for the address of a container that is gone: the next one gets the address, and the rule."""
    if host.ufw is None or host.engine is None or host.filter is None:
        return
    bridges = host.engine.bridges
    for rule in (*host.ufw.policy.rules4, *host.ufw.policy.rules6):
        address = parse_address(rule.dst.partition("/")[0]) if rule.route and rule.action == "allow" else None
        if address is None or address.is_unspecified or host.container_at(address) is not None:
            continue
        if host.filter.route(address) in bridges:
            yield finding(
                "stale-route-rule",
                "medium",
                f"`ufw {tuples.command(rule)}` forwards to {address}, where there is no container: it opens whichever "
                "gets that address next.",
                f"ufw delete {tuples.command(rule).partition(' comment ')[0]}",
                **{"path": "nat", "service": str(address)},
            )


def _own(host: Host, family: int) -> str:
    addresses = [address for item in host.interfaces for address in item.addresses if address.version == family]
    return str(addresses[0]) if addresses else _ELSEWHERE[family]


def _before_ufw(host: Host, family: int, table: Table) -> Iterator[Finding]:
    """Packets that such a rule accepts never come to UFW."""
    written = texts(table, "INPUT")
    first = next((index for index, text in enumerate(written) if "-j ufw-before-input" in text), 0)
    rules = table.chains["INPUT"].rules[:first] if first else []
    for text, everybody in accepts(host, rules, family, _own(host, family)):
        yield finding(
            "accept-before-ufw",
            "high" if everybody else "medium",
            f"IPv{family}: a rule that is not UFW's accepts packets before UFW's rules: {text}.",
            "Remove the rule and allow the port with ufw_policy.",
            **{"path": "input", "host_ip": ANY[family], "service": text},
        )


def _patches(host: Host) -> Iterator[Finding]:
    for path, text in (host.ufw.static if host.ufw else {}).items():
        sections = len(re.findall(r"^\*nat\b", text, re.MULTILINE))
        if _UFW_DOCKER in text:
            yield finding(
                "ufw-docker-rules",
                "low" if host.guarded else "medium",
                f"{path} holds the block of ufw-docker: it lets every private address pass, and knows containers by "
                "addresses that change.",
                "Run the role hardening and remove the block.",
                file=path,
            )
        if sections > 1:
            yield finding(
                "duplicate-nat-rules",
                "medium",
                f"{path} has {sections} sections *nat; each adds its rules again.",
                "Leave one section, and flush its chains at the top.",
                file=path,
                path="nat",
            )
