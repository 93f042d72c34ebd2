# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways into a host that are easily overlooked, and those that only look like one."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import struct
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import iptables, nftables
from ansible_collections.daffathan.platform.plugins.module_utils._audit.adjacent import adjacent_ways
from ansible_collections.daffathan.platform.plugins.module_utils._audit.filter import Filter
from ansible_collections.daffathan.platform.plugins.module_utils._audit.interfaces import Interface
from ansible_collections.daffathan.platform.plugins.module_utils._audit.owners import Owner
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Packet
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import Host, Way, ways_in
from ansible_collections.daffathan.platform.plugins.module_utils._audit.sockets import Listener, parse_diag

HOST4, HOST6 = ipaddress.ip_address("198.51.100.7"), ipaddress.ip_address("2001:db8::7")
LINK6 = ipaddress.ip_address("fe80::7")
BRIDGE = ipaddress.ip_address("172.17.0.1")
OWN = {HOST4, HOST6, LINK6, BRIDGE, ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
OPEN = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"


def inner(address: Any) -> bool:
    return bool(address.is_loopback) or address in ipaddress.ip_network("172.17.0.0/16")


def listener(port: int, address: str, proto: str = "tcp", **more: Any) -> Listener:
    return Listener(proto, ipaddress.ip_address(address), port, inode=1, **more)


def subject(*listeners: Listener, rules: str = OPEN, nft: str = "", **more: Any) -> Host:
    tables = [table for family in (4, 6) for table in iptables.parse(rules, family, inner)] if rules else []
    tables += nftables.parse(nft, inner) if nft else []
    values: dict[str, Any] = {
        "interfaces": [Interface("eth0", 2, (HOST4, HOST6, LINK6)), Interface("eth1", 3, ())],
        "listeners": list(listeners),
        "filter": Filter(tables, lambda address: "docker0" if inner(address) else "eth1", lambda a: a in OWN),
        "owner": lambda inode: Owner(),
        "today": datetime.date(2026, 6, 1),
        "inner_addresses": (BRIDGE,),
    }
    return Host(**{**values, **more})


def ways(*listeners: Listener, **more: Any) -> list[Way]:
    return ways_in(subject(*listeners, **more))


def reached(*listeners: Listener, **more: Any) -> set[tuple[str, int]]:
    return {(way.address, way.port) for way in ways(*listeners, **more)}


def beside(*listeners: Listener, **more: Any) -> set[tuple[str, int]]:
    """What neighbours reach at addresses that nobody else has a route to."""
    return {(way.address, way.port) for way in adjacent_ways(subject(*listeners, **more))}


def nat(*rules: str, policy: str = "ACCEPT") -> str:
    """A rule set that translates; what is not translated is dropped at the end with policy DROP."""
    lines = ["*nat", ":PREROUTING ACCEPT [0:0]", ":DOCKER - [0:0]", ":WEB - [0:0]", *rules, "COMMIT"]
    return "\n".join([*lines, "*filter", f":INPUT {policy} [0:0]", ":FORWARD ACCEPT [0:0]", "COMMIT", ""])


def test_a_socket_of_ipv6_alone_takes_no_ipv4() -> None:
    assert reached(listener(80, "::", only_v6=True)) == {(str(HOST6), 80)}
    assert reached(listener(80, "::")) == {(str(HOST4), 80), (str(HOST6), 80)}


@pytest.mark.parametrize(
    ("address", "found"),
    [("::ffff:0.0.0.0", {str(HOST4)}), ("::ffff:198.51.100.7", {str(HOST4)}), ("::ffff:127.0.0.1", set())],
)
def test_a_socket_at_a_mapped_address_takes_ipv4(address: str, found: set[str]) -> None:
    payload = struct.pack("=BBBB", socket.AF_INET6, 10, 0, 0) + struct.pack(">HH", 80, 0)
    payload += ipaddress.ip_address(address).packed + bytes(16) + bytes(28) + struct.pack("=I", 9)
    item = parse_diag("tcp", payload)
    assert item is not None and reached(item) == {(text, 80) for text in found}


def test_a_socket_bound_to_an_interface_is_reached_by_that_one_alone() -> None:
    assert reached(listener(80, "0.0.0.0", interface="eth0")) == {(str(HOST4), 80)}
    assert reached(listener(80, "0.0.0.0", interface="lo")) == set()
    rules = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i eth0 -j DROP\nCOMMIT\n"
    assert reached(listener(80, "0.0.0.0"), rules=rules) == {(str(HOST4), 80)}
    assert reached(listener(80, "0.0.0.0", interface="eth0"), rules=rules) == set()


def test_the_socket_of_one_address_is_told_and_not_the_one_of_all() -> None:
    [way] = ways(listener(80, "0.0.0.0"), listener(80, str(HOST4)))
    assert way.listening == f"{HOST4}:80"


def test_neighbours_reach_a_socket_at_a_link_local_address() -> None:
    assert beside(listener(80, str(LINK6), interface="eth0")) == {(str(LINK6), 80)}
    assert beside(listener(80, str(LINK6), interface="eth1")) == set()


def test_neighbours_reach_the_address_of_a_bridge_by_another_interface() -> None:
    assert beside(listener(5432, str(BRIDGE))) == {(str(BRIDGE), 5432)}
    assert beside(listener(5432, "203.0.113.1")) == set()


@pytest.mark.parametrize(("opened", "found"), [((), set()), (("eth0",), {("127.0.0.1", 80)})])
def test_loopback_is_reached_only_where_the_kernel_is_told_to(opened: tuple[str, ...], found: set[Any]) -> None:
    items = (listener(80, "127.0.0.1"), listener(80, "::1"))
    assert beside(*items, route_localnet=opened) == found


@pytest.mark.parametrize(("opened", "found"), [((), set()), (("eth0",), {str(HOST4)})])
def test_a_translation_to_loopback_ends_where_the_kernel_drops_it(opened: tuple[str, ...], found: set[str]) -> None:
    rules = nat("-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 127.0.0.1:80")
    assert {way.address for way in ways(listener(80, "127.0.0.1"), rules=rules, route_localnet=opened)} == found


def test_ports_named_on_the_way_to_a_translation_are_asked_for() -> None:
    rules = nat("-A PREROUTING -p tcp -m tcp --dport 8080 -j WEB", "-A WEB -j DNAT --to-destination 172.17.0.2:80")
    [way] = [way for way in ways(rules=rules) if way.family == 4]
    assert (way.port, way.path, way.target) == (8080, "nat", "172.17.0.2 port 80")


def test_a_translation_to_another_host() -> None:
    rules = nat("-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 203.0.113.9")
    assert {way.target for way in ways(rules=rules)} == {"203.0.113.9 port 8080"}
    assert ways(rules=rules, forwarding={4: False, 6: False}) == []


def filter_of(rules: str) -> Filter:
    return Filter(iptables.parse(rules, 4, inner), lambda address: "docker0", lambda address: address in OWN)


def test_a_translation_to_one_of_several_ends() -> None:
    known = filter_of(
        nat("-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2-172.17.0.3:81-82")
    )
    arrivals = known.delivered(Packet(4, "eth0", HOST4, "tcp", 80, 80, True))
    found = {(str(end.packet.destination), end.packet.port) for end in arrivals}
    assert found == {(address, port) for address in ("172.17.0.2", "172.17.0.3") for port in (81, 82)}


@pytest.mark.parametrize(
    "target",
    [
        *("-j DNAT --to-destination [2001:db8::9]:80", "-j DNAT --to-destination 2001:db8::9"),
        "-j DNAT --to-destination [2001:db8::9]",
    ],
)
def test_a_translation_of_ipv6(target: str) -> None:
    rules = nat(f"-A PREROUTING -p tcp -m tcp --dport 80 {target}")
    assert {way.target for way in ways(rules=rules)} == {"2001:db8::9 port 80"}


def test_every_port_of_a_range_is_told_and_of_a_huge_one_the_ends() -> None:
    small = nat("-A PREROUTING -p tcp -m tcp --dport 8000:8099 -j DNAT --to-destination 172.17.0.2")
    assert {way.port for way in ways(rules=small)} == set(range(8000, 8100))
    huge = nat("-A PREROUTING -p tcp -m tcp --dport 10000:60000 -j DNAT --to-destination 172.17.0.2")
    found = [way for way in ways(rules=huge) if way.family == 4]
    assert [way.port for way in found] == [10000, 60000]
    assert all("so are the other 50000 ports" in way.why("") for way in found)


def test_everything_translated_is_told_by_the_ends() -> None:
    rules = nat("-A PREROUTING -i eth0 -j DNAT --to-destination 172.17.0.2")
    assert {(way.proto, way.port) for way in ways(rules=rules)} == {
        (proto, port) for proto in ("tcp", "udp", "sctp") for port in (1, 65535)
    }


def test_a_network_is_mapped_address_by_address() -> None:
    known = filter_of(nat("-A PREROUTING -j NETMAP --to 172.17.0.0/24"))
    ends = {
        text: known.delivered(Packet(4, "eth0", ipaddress.ip_address(text), "tcp", 80, 80, False))[0].packet
        for text in ("198.51.100.7", "10.0.0.1", "10.0.0.9")
    }
    found = {text: (str(packet.destination), packet.local) for text, packet in ends.items()}
    assert found == {
        "198.51.100.7": ("172.17.0.7", False),
        "10.0.0.1": ("172.17.0.1", True),
        "10.0.0.9": ("172.17.0.9", False),
    }


def test_what_is_not_tracked_is_not_translated_and_not_new() -> None:
    items = (listener(22, "0.0.0.0"), listener(80, "0.0.0.0"))
    untracked = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 80 -j CT --notrack\nCOMMIT\n"
    rules = nat("-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 22")
    assert {way.listening for way in ways(*items, rules=rules)} == {"0.0.0.0:22"}
    found = ways(*items, rules=untracked + rules)
    assert {(way.port, way.listening) for way in found} == {(22, "0.0.0.0:22"), (80, "0.0.0.0:80")}
    states = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate {} -j ACCEPT\nCOMMIT\n"
    for state, ports in (("NEW", {22}), ("UNTRACKED", {80}), ("NEW,UNTRACKED", {22, 80})):
        assert {way.port for way in ways(*items, rules=untracked + states.format(state))} == ports


def test_who_returns_from_a_chain_that_drops_the_others_is_told() -> None:
    chains = ":INPUT DROP [0:0]\n:FRIENDS - [0:0]\n-A FRIENDS -s 192.0.2.0/24 -j RETURN\n-A FRIENDS -j DROP"
    rules = f"*filter\n{chains}\n-A INPUT -j FRIENDS\n-A INPUT -p tcp -j ACCEPT\nCOMMIT\n"
    assert {way.limits for way in ways(listener(80, "0.0.0.0"), rules=rules)} == {("from 192.0.2.0/24",)}


def test_a_network_that_only_begins_behind_the_host_is_outside() -> None:
    rules = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m iprange --src-range {} -j ACCEPT\nCOMMIT\n"
    inside, wider = (rules.format(f"172.17.0.0-{last}") for last in ("172.17.255.255", "172.20.0.0"))
    assert reached(listener(80, "0.0.0.0"), rules=inside) == set()
    assert reached(listener(80, "0.0.0.0"), rules=wider) == {(str(HOST4), 80)}


def rule_set(family: str, hook: str, *rules: list[Any], kind: str = "filter", **chain: Any) -> str:
    where = {"family": family, "table": "t"}
    base = {**where, "name": "c", "type": kind, "hook": hook, "prio": -500, "policy": "accept", **chain}
    told = [{"rule": {**where, "chain": "c", "expr": rule}} for rule in rules]
    return json.dumps({"nftables": [{"table": {"family": family, "name": "t"}}, {"chain": base}, *told]})


DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}
DADDR = {"payload": {"protocol": "ip", "field": "daddr"}}


def matching(left: Any, right: Any, operator: str = "==") -> dict[str, Any]:
    return {"match": {"op": operator, "left": left, "right": right}}


def test_what_a_device_drops_at_once_does_not_arrive() -> None:
    dropped = rule_set("netdev", "ingress", [matching(DPORT, 80), {"drop": None}], dev="eth0")
    assert reached(listener(80, str(HOST4), interface="eth0"), nft=dropped) == set()
    assert reached(listener(80, str(HOST4)), nft=dropped) == {(str(HOST4), 80)}, "by the other interface"
    assert reached(listener(81, str(HOST4), interface="eth0"), nft=dropped) == {(str(HOST4), 81)}


@pytest.mark.parametrize(
    ("rule", "ports"),
    [
        ([matching({"concat": [DADDR, DPORT]}, {"set": [{"concat": [str(HOST4), 80]}]})], {80}),
        ([matching({"concat": [DADDR, DPORT]}, {"set": [{"concat": ["10.0.0.1", 80]}]})], set()),
        ([matching({"concat": [DADDR, DPORT]}, {"set": [{"concat": [str(HOST4), {"range": [81, 90]}]}]}, "!=")], {80}),
        ([matching(DADDR, {"prefix": {"addr": "198.51.100.0", "len": 24}})], {80, 81}),
        ([matching(DADDR, {"range": ["198.51.100.1", "198.51.100.9"]})], {80, 81}),
        ([matching(DPORT, 80, ">")], {81}),
        ([matching(DPORT, 80, "<=")], {80}),
        ([matching({"meta": {"key": "protocol"}}, "ip")], {80, 81}),
        ([matching({"payload": {"protocol": "ip", "field": "protocol"}}, "tcp")], {80, 81}),
        ([matching({"meta": {"key": "l4proto"}}, {"set": ["udp", 132]})], set()),
        ([matching({"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["syn", "ack"]]}, "syn")], {80, 81}),
        ([matching({"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["fin", "ack"]]}, "ack")], set()),
        ([matching({"&": [{"meta": {"key": "mark"}}, 255]}, 0)], {80, 81}),
        ([matching({"fib": {"result": "type", "flags": ["daddr"]}}, "local")], {80, 81}),
    ],
)
def test_matches_of_nft(rule: list[Any], ports: set[int]) -> None:
    text = rule_set("inet", "input", [*rule, {"accept": None}], policy="drop")
    items = [listener(port, "0.0.0.0") for port in (80, 81)]
    assert {way.port for way in ways(*items, rules="", nft=text) if not way.opaque} == ports


def test_a_map_of_translations_in_nft() -> None:
    pairs = [[80, {"concat": ["172.17.0.2", 8000]}], [81, {"concat": ["172.17.0.3", 8001]}]]
    text = rule_set(
        "ip", "prerouting", [{"dnat": {"addr": {"map": {"key": DPORT, "data": {"set": pairs}}}}}], kind="nat"
    )
    found = {(way.port, way.target) for way in ways(rules="", nft=text)}
    assert found == {(80, "172.17.0.2 port 8000"), (81, "172.17.0.3 port 8001")}


def test_a_verdict_map_with_an_element_for_the_rest() -> None:
    pairs = [["*", {"drop": None}], [80, {"accept": None}]]
    text = rule_set("inet", "input", [{"vmap": {"key": DPORT, "data": {"set": pairs}}}])
    assert {way.port for way in ways(listener(80, "0.0.0.0"), listener(81, "0.0.0.0"), rules="", nft=text)} == {80}


@pytest.mark.parametrize("limit", [{"quota": {"val": 1, "inv": True}}, {"ct count": {"val": 9, "inv": True}}])
def test_what_is_dropped_above_a_limit_gets_in_below_it(limit: dict[str, Any]) -> None:
    [way] = ways(listener(80, str(HOST4)), rules="", nft=rule_set("inet", "input", [limit, {"drop": None}]))
    assert not way.opaque
