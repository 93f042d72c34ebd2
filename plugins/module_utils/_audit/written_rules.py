# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Tables of iptables, rule by rule: for what is judged by what is written and not only by what becomes of a packet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import parse_address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Packet, Rule, Table
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import Host

ANY = {4: "0.0.0.0", 6: "::"}
_NAMED_PORTS = re.compile(r"--dports? ([\d,:]+)")


def iptables(host: Host, kind: str) -> Iterator[tuple[int, Table]]:
    """The tables of iptables of one kind, with their family."""
    for table in host.filter.tables if host.filter else []:
        if table.name in (f"iptables {kind}", f"ip6tables {kind}"):
            yield table.families[0], table


def texts(table: Table, chain: str) -> list[str]:
    return [rule.text for rule in table.chains[chain].rules] if chain in table.chains else []


def accepts(host: Host, rules: Iterable[Rule], family: int, destination: str) -> list[tuple[str, bool]]:
    """Rules that accept a new packet from outside by themselves, and whether they do it for every source."""
    address = parse_address(destination)
    found: list[tuple[str, bool]] = []
    if address is None or host.filter is None:
        return found
    local = host.filter.local(address)
    out = "" if local else host.filter.route(address)
    for rule in rules:
        named = [int(port) for port in re.findall(r"\d+", " ".join(_NAMED_PORTS.findall(rule.text)))]
        answers = [
            [match(Packet(family, interface.name, address, proto, port, port, local, out)) for match in rule.matches]
            for interface in host.interfaces
            for proto in ("tcp", "udp")
            for port in named or [1]
        ]
        possible = [answer for answer in answers if False not in answer]
        if rule.verdict.kind == "accept" and possible:
            found.append((rule.text, any(all(match is True for match in answer) for answer in possible)))
    return found
