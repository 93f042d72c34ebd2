# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""By which interfaces a forwarded packet can leave, and what that decides."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import iptables, netlink
from ansible_collections.daffathan.platform.plugins.module_utils._audit.filter import Filter
from ansible_collections.daffathan.platform.plugins.module_utils._audit.interfaces import links
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Packet
from ansible_collections.daffathan.platform.plugins.module_utils._audit.routes import (
    MAIN,
    Route,
    Routes,
    parse_route,
    parse_rule,
    read,
)
from hypothesis import given
from hypothesis import strategies as st

CONTAINER, FAR = ipaddress.ip_address("172.17.0.2"), ipaddress.ip_address("10.8.0.5")


def routes(*entries: tuple[str, str], tables: tuple[tuple[str, str, int], ...] = ()) -> Routes:
    found = Routes()
    for text, name, table in (*((text, name, MAIN) for text, name in entries), *tables):
        network = ipaddress.ip_network(text)
        found.add(network.version, int(network.network_address), network.prefixlen, name.split("+"), table)
    return found


def test_the_longest_prefix_wins() -> None:
    known = routes(
        ("0.0.0.0/0", "eth0"), ("172.17.0.0/16", "docker0"), ("172.17.0.7/32", "veth7"), ("2001:db8::/64", "br")
    )
    places = {"172.17.0.7": "veth7", "172.17.0.8": "docker0", "192.0.2.1": "eth0", "2001:db8::1": "br", "fd00::1": ""}
    assert {text: known.interface(ipaddress.ip_address(text)) for text in places} == places
    assert known.others(CONTAINER) == ()


def test_other_tables_and_other_hops_are_ways_out_as_well() -> None:
    known = routes(("0.0.0.0/0", "eth0+eth1"), ("172.17.0.0/16", "docker0"), tables=(("10.0.0.0/8", "wg0", 51820),))
    assert (known.interface(CONTAINER), known.others(CONTAINER)) == ("docker0", ())
    assert (known.interface(FAR), known.others(FAR)) == ("eth0", ("eth1", "wg0"))


@pytest.mark.parametrize(("accepted", "arrives"), [("eth0", True), ("wg0", True), ("docker0", False)])
def test_a_rule_for_any_way_out_lets_a_packet_pass(accepted: str, arrives: bool) -> None:
    known = routes(("0.0.0.0/0", "eth0"), tables=(("10.0.0.0/8", "wg0", 51820),))
    text = f"*filter\n:FORWARD DROP [0:0]\n-A FORWARD -o {accepted} -j ACCEPT\nCOMMIT\n"
    tables = iptables.parse(text, 4, lambda address: False)
    filtered = Filter(tables, known.interface, lambda address: False, known.others)
    found = filtered.delivered(Packet(4, "eth0", FAR, "tcp", 80, 80, False))
    assert bool(found) == arrives and {end.packet.output_interface for end in found} <= {accepted}


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def test_routes_and_rules_as_the_kernel_tells_of_them() -> None:
    head = struct.pack("=BBBBBBBBI", 2, 16, 0, 0, 254, 2, 253, 1, 0)
    single = head + attribute(1, bytes((172, 17, 0, 0))) + attribute(4, struct.pack("=i", 3))
    assert parse_route(single) == Route(4, int(ipaddress.ip_address("172.17.0.0")), 16, (3,), 254)
    hops = b"".join(struct.pack("=HBBi", 8, 0, 0, index) for index in (3, 4))
    several = head + attribute(9, hops) + attribute(15, struct.pack("=I", 51820))
    assert parse_route(several) == Route(4, 0, 16, (3, 4), 51820)
    assert parse_route(head) is None
    with pytest.raises(netlink.NetlinkError):
        parse_route(head + attribute(9, struct.pack("=HBBi", 4, 0, 0, 3)))
    rule = struct.pack("=BBBBBBBBI", 10, 0, 0, 0, 52, 0, 0, 1, 0)
    assert parse_rule(rule) == (6, 52) and parse_rule(rule + attribute(15, struct.pack("=I", 1000))) == (6, 1000)
    assert parse_rule(rule + attribute(3, b"lo\0")) is None
    assert parse_rule(struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 0, 0, 0, 7, 0)) is None


def test_the_routes_of_this_machine() -> None:
    known = read({link.index: link.name for link in links()})
    with open("/proc/net/route", encoding="ascii") as handle:
        lines = [line.split() for line in handle.read().splitlines()[1:]]
    # An unreachable network has no interface.
    for words in (words for words in lines if words[0] != "*"):
        network = ipaddress.ip_address(struct.pack("=I", int(words[1], 16)))
        assert words[0] in (known.interface(network), *known.others(network))


@given(st.binary(max_size=120))
def test_any_message_is_a_route_a_rule_or_an_error(payload: bytes) -> None:
    for parse in (parse_route, parse_rule):
        try:
            parse(payload)
        except netlink.NetlinkError:
            continue
