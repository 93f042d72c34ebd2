# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""By which interfaces packets come from outside, and what of their ways is not evaluated."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import collect, interfaces, nftables, rules
from ansible_collections.daffathan.platform.plugins.module_utils._audit.interfaces import Link

UP, LOOPBACK = 1, 8
ETH, LO = Link("eth0", 2, UP), Link("lo", 1, UP | LOOPBACK)
VRF, SLAVE = Link("red", 5, UP, "vrf"), Link("eth1", 6, UP, "", 5)
BRIDGE, PORT = Link("br0", 7, UP, "bridge"), Link("eth2", 8, UP, "", 7)


def names(*links: Link, inner: frozenset[str] = frozenset()) -> list[str]:
    return [item.name for item in interfaces.external(list(links), {}, inner)]


def test_loopback_what_is_down_parts_of_a_bridge_and_bridges_of_an_engine_are_no_entrance() -> None:
    down, docker, own = Link("eth9", 9, 0), Link("docker0", 10, UP, "bridge"), Link("mine", 11, UP, "bridge")
    veth = Link("veth1", 12, UP, "veth", 10)
    found = names(ETH, LO, down, BRIDGE, PORT, docker, own, veth, inner=frozenset(("mine",)))
    assert found == ["br0", "eth0"]


def test_a_part_of_a_vrf_is_an_entrance() -> None:
    assert names(VRF, SLAVE) == ["eth1", "red"]


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def test_a_link_as_the_kernel_tells_of_it() -> None:
    payload = struct.pack("=BxHiII", 0, 1, 6, UP, 0) + attribute(3, b"eth1\0") + attribute(10, struct.pack("=I", 5))
    assert interfaces.parse_link(payload) == SLAVE
    nested = attribute(18 | 0x8000, attribute(1, b"vrf\0"))
    assert interfaces.parse_link(struct.pack("=BxHiII", 0, 1, 5, UP, 0) + attribute(3, b"red\0") + nested) == VRF


def test_the_links_of_this_machine() -> None:
    assert "lo" in {link.name for link in interfaces.links() if link.flags & LOOPBACK}


def bridge_table(**chain: Any) -> str:
    where = {"family": "bridge", "table": "b"}
    base = {**where, "name": "c", "type": "filter", "hook": "input", "prio": 0, **chain}
    return json.dumps({"nftables": [{"table": {"family": "bridge", "name": "b"}}, {"chain": base}]})


@pytest.mark.parametrize(
    ("links", "policy", "found"),
    [
        ((ETH, BRIDGE, PORT), "drop", {"bridge-rules-not-evaluated"}),
        ((ETH, BRIDGE, PORT), "accept", set()),
        ((ETH,), "drop", set()),
        ((ETH, VRF, SLAVE), "accept", {"vrf-not-evaluated"}),
    ],
)
def test_what_is_not_evaluated_is_said(links: tuple[Link, ...], policy: str, found: set[str]) -> None:
    tables = nftables.parse(bridge_table(policy=policy), lambda address: False)
    entrances = interfaces.external(list(links), {}, frozenset())
    told = list(collect.not_evaluated(list(links), entrances, tables))
    assert {item.id for item in told} == found and {item.severity for item in told} <= {"unknown"}


def test_rules_of_ipv6_are_read_where_the_kernel_speaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, families in ((True, {4, 6}), (False, {4})):
        monkeypatch.setattr(rules.os.path, "exists", lambda path, there=there: there)
        assert rules.families() == families
