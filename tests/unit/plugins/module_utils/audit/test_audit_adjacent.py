# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What neighbours on the same network reach at addresses that nobody else has a route to."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit import iptables
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import (
    Binding,
    Container,
    Engine,
    Network,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.filter import Filter
from ansible_collections.daffathan.platform.plugins.module_utils._audit.interfaces import Interface
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge import judge
from ansible_collections.daffathan.platform.plugins.module_utils._audit.namespaces import Namespace
from ansible_collections.daffathan.platform.plugins.module_utils._audit.owners import Owner
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import Host
from ansible_collections.daffathan.platform.plugins.module_utils._audit.sockets import Listener

HOST = ipaddress.ip_address("10.231.0.10")
LINK = ipaddress.ip_address("fe80::10")
BRIDGE = ipaddress.ip_address("172.17.0.1")
OPEN = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"
PUBLISHED_ON_LOOPBACK = (
    "*nat\n:PREROUTING ACCEPT [0:0]\n"
    "-A PREROUTING -d 127.0.0.1/32 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:3000\nCOMMIT\n" + OPEN
)


def subject(*listeners: Listener, rules: str = OPEN, bindings: tuple[Binding, ...] = (), **more: Any) -> Host:
    tables = iptables.parse(rules, 4, lambda address: False) + iptables.parse(OPEN, 6, lambda address: False)
    own = (HOST, LINK, BRIDGE)
    container = Container("a" * 64, "shop", True, addresses=("172.17.0.2",), bindings=bindings)
    values: dict[str, Any] = {
        "interfaces": [Interface("eth0", 2, (HOST, LINK, ipaddress.ip_address("2001:db8::10")))],
        "listeners": list(listeners),
        "filter": Filter(tables, lambda address: "docker0", lambda address: address.is_loopback or address in own),
        "owner": lambda inode: Owner("server", 7),
        "today": datetime.date(2026, 6, 1),
        "engine": Engine([container], {"bridge": Network("bridge", "bridge", "docker0")}),
        "inner_addresses": (BRIDGE,),
    }
    return Host(**{**values, **more})


def listener(port: int, address: str) -> Listener:
    return Listener("tcp", ipaddress.ip_address(address), port, inode=1)


def adjacent(host: Host) -> set[tuple[str, int]]:
    found = judge(host, ()).adjacent
    assert {item["path"] for item in found} <= {"l2"}
    return {(item["address"], item["port"]) for item in found}


def test_a_listener_on_a_bridge_answers_to_neighbours() -> None:
    host = subject(listener(5432, str(BRIDGE)))
    assert adjacent(host) == {(str(BRIDGE), 5432)}
    assert judge(host, ()).reachable == []
    finding = next(item for item in judge(host, ()).findings if item.id == "adjacent-listener")
    assert (finding.severity, finding.port, finding.host_ip) == ("high", 5432, str(BRIDGE))


def test_what_is_reachable_anyway_is_no_finding_of_its_own() -> None:
    host = subject(listener(22, "0.0.0.0"))
    assert adjacent(host) == {(str(BRIDGE), 22)}
    assert "adjacent-listener" not in {item.id for item in judge(host, ()).findings}


def test_a_closed_firewall_keeps_neighbours_out_as_well() -> None:
    closed = OPEN.replace(":INPUT ACCEPT", ":INPUT DROP").replace(":FORWARD ACCEPT", ":FORWARD DROP")
    bindings = (Binding("127.0.0.1", 8080, "tcp", 3000),)
    assert adjacent(subject(listener(5432, str(BRIDGE)), rules=closed, bindings=bindings)) == set()


def test_a_link_local_address_is_one_of_neighbours() -> None:
    assert adjacent(subject(listener(22, str(LINK)))) == {(str(LINK), 22)}


def test_a_published_port_answers_at_the_address_of_the_container() -> None:
    bindings = (Binding("127.0.0.1", 8080, "tcp", 3000),)
    assert adjacent(subject(bindings=bindings)) == {("172.17.0.2", 3000)}


def test_what_a_container_listens_on_answers_whether_published_or_not() -> None:
    space = Namespace((listener(3000, "0.0.0.0"), listener(3001, "127.0.0.1")), (ipaddress.ip_address("172.17.0.2"),))
    assert adjacent(subject(inside=lambda container: space)) == {("172.17.0.2", 3000)}


def test_a_port_published_on_loopback_is_translated_before_the_kernel_drops_it() -> None:
    bindings = (Binding("127.0.0.1", 8080, "tcp", 3000),)
    assert adjacent(subject(rules=PUBLISHED_ON_LOOPBACK, bindings=bindings)) == {
        ("172.17.0.2", 3000),
        ("127.0.0.1", 8080),
    }


def test_loopback_answers_where_the_kernel_routes_it_and_not_elsewhere() -> None:
    inside = listener(6379, "127.0.0.1")
    assert adjacent(subject(inside)) == set()
    assert adjacent(subject(inside, route_localnet=("eth0",))) == {("127.0.0.1", 6379)}


def test_a_translation_to_loopback_leads_nowhere() -> None:
    rules = PUBLISHED_ON_LOOPBACK.replace("-d 127.0.0.1/32 ", "").replace("172.17.0.2:3000", "127.0.0.1:6379")
    inside = listener(6379, "127.0.0.1")
    assert judge(subject(inside, rules=rules), ()).reachable == []
    told = judge(subject(inside, rules=rules, route_localnet=("eth0",)), ()).reachable
    assert {(item["address"], item["port"]) for item in told} == {(str(HOST), 8080)}
