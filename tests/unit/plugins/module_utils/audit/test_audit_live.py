# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import iptables, nftables
from ansible_collections.daffathan.platform.plugins.module_utils._audit.daemon import Configuration, Daemon
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import (
    Binding,
    Container,
    Engine,
    Network,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.filter import Filter
from ansible_collections.daffathan.platform.plugins.module_utils._audit.interfaces import Interface
from ansible_collections.daffathan.platform.plugins.module_utils._audit.iptables_rule import RuleError
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge import judge
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import failing
from ansible_collections.daffathan.platform.plugins.module_utils._audit.owners import Owner
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Loop
from ansible_collections.daffathan.platform.plugins.module_utils._audit.ufw import Ufw
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import Policy

from tests.support.audit_values import HOST4, HOST6, ROUTES, engine, host, ids, inner, listener, reached


@pytest.mark.parametrize(
    ("port", "open_to"),
    [(22, True), (80, True), (9005, True), (9011, False), (5432, True), (6379, False), (8000, False), (139, False)],
)
def test_first_match_through_the_chains_of_ufw(port: int, open_to: bool) -> None:
    assert ("ipv4", port, "input") in reached(host(listener(port))) or not open_to
    assert (("ipv4", port, "input") in reached(host(listener(port)))) == open_to


def test_every_address_that_answers_is_told() -> None:
    second = ipaddress.ip_address("10.231.0.99")
    one, both = listener(22, str(HOST4)), listener(80)
    subject = host(one, both, interfaces=[Interface("eth0", 2, (HOST4, second))])
    told = {(item["address"], item["port"]) for item in judge(subject, ()).reachable}
    assert told == {(str(HOST4), 22), (str(HOST4), 80), (str(second), 80)}


def test_a_source_restriction_is_told() -> None:
    entry = next(item for item in judge(host(listener(5432)), ()).reachable if item["port"] == 5432)
    assert "only from 10.0.0.0/8" in entry["why"]


def test_a_match_that_is_not_understood_is_unknown_and_not_passed() -> None:
    found = ids(host(listener(7000)))
    assert found["port-not-evaluated"] == "unknown"
    assert failing(judge(host(listener(7000)), ()).findings, "high")


def test_a_published_port_is_judged_by_the_translation_and_not_by_input() -> None:
    subject = host(listener(8080, inode=2), guard=False, engine=engine(Binding("0.0.0.0", 8080, "tcp", 80)))
    assert reached(subject) == {("ipv4", 8080, "nat")}
    assert ids(subject)["published-port"] == "critical"


def test_the_guard_table_closes_what_is_published() -> None:
    subject = host(listener(8080, inode=2), guard=True, engine=engine(Binding("0.0.0.0", 8080, "tcp", 80)))
    assert reached(subject) == set()
    assert set(ids(subject)) == {"published-port-blocked"}


def test_loopback_publish_and_direct_routing_without_the_guard() -> None:
    loopback = engine(Binding("127.0.0.1", 8081, "tcp", 80))
    assert {"direct-routing", "loopback-publish-routed", "guard-missing"} <= set(
        ids(host(engine=loopback, guard=False))
    )
    assert set(ids(host(engine=loopback, guard=True))) == set()


def test_nothing_is_forwarded_where_the_kernel_does_not_forward() -> None:
    subject = host(guard=False, engine=engine(Binding("0.0.0.0", 8080, "tcp", 80)), forwarding={4: False, 6: False})
    assert reached(subject) == set()


def test_an_empty_rule_set_is_an_inactive_firewall() -> None:
    subject = host(listener(8000), rules="", ufw=Ufw(Policy(enabled=True)))
    finding = next(item for item in judge(subject, ()).findings if item.id == "firewall-inactive")
    assert finding.severity == "critical" and "although ufw.conf says ENABLED=yes" in finding.evidence


def test_ipv6_is_judged_by_its_own_rules() -> None:
    both = [Interface("eth0", 2, (HOST4, HOST6))]
    assert ("ipv6", 8000, "input") in reached(host(listener(8000, "::"), interfaces=both))
    assert ("ipv6", 8000, "input") not in reached(host(listener(8000), interfaces=both))
    only6 = reached(host(listener(80, "::", only_v6=True), interfaces=both))
    assert ("ipv6", 80, "input") in only6 and ("ipv4", 80, "input") not in only6


def test_listeners_that_nobody_outside_reaches() -> None:
    items = [listener(80, "127.0.0.1"), listener(80, "127.0.0.53"), listener(443, interface="lo")]
    assert reached(host(*items)) == set() and ids(host(*items)) == {}


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({"port": 22}, set()),
        ({"port": 22, "process": "sshd"}, set()),
        ({"port": 22, "process": "nginx"}, {"undeclared-listener"}),
        ({"port": 22, "container": "shop"}, {"undeclared-listener"}),
        ({"port": 22, "proto": "udp"}, {"undeclared-listener", "declaration-unused"}),
        ({"port": 22, "expires": "2026-06-01"}, set()),
        ({"port": 22, "expires": "2026-05-31"}, {"undeclared-listener"}),
    ],
)
def test_declarations(entry: dict[str, Any], found: set[str]) -> None:
    assert set(ids(host(listener(22)), (entry,))) == found


def test_a_client_of_dhcp_is_no_open_port_where_only_answers_get_to_it() -> None:
    def judged(process: str, **more: Any) -> dict[str, str]:
        return ids(host(listener(68, str(HOST4), "udp"), owner=lambda inode: Owner(process, 7), **more))

    assert judged("systemd-network") == {"dhcp-client": "low"}
    assert judged("nc") == {"undeclared-listener": "high"}
    assert judged("systemd-network", rules="")["undeclared-listener"] == "high"


def test_a_stopped_container_that_publishes_at_boot() -> None:
    stopped = engine(Binding("", 8080, "tcp", 80), running=False, starts_at_boot="always")
    assert ids(host(engine=stopped, guard=True)) == {"latent-publish": "high"}
    assert ids(host(engine=engine(Binding("", 8080, "tcp", 80), running=False), guard=True)) == {}


def test_rules_that_could_not_be_read_never_pass() -> None:
    subject = host(filter=None, engine=engine(Binding("0.0.0.0", 8080, "tcp", 80)))
    assert ids(subject) == {"published-port": "critical"}


def test_the_engine_and_its_settings() -> None:
    weak = Engine(
        [
            Container("b" * 64, "flat", True, networks=("lan",), mounts=("/var/run",)),
            Container("c" * 64, "wide", True, host_network=True),
        ],
        {
            "lan": Network("lan", "macvlan"),
            "open": Network("open", "bridge", "br-1", "127.0.0.1", gateway_modes=("nat-unprotected",)),
        },
        swarm=True,
    )
    options = {"host": ("tcp://0.0.0.0:2375",), "iptables": ("false",), "allow-direct-routing": ("true",)}
    daemon = Daemon((Configuration("dockerd", True, options),))
    assert ids(host(engine=weak, daemon=daemon, guard=True)) == {
        **{
            "l2-network": "critical",
            "engine-socket-mounted": "high",
            "host-network": "medium",
            "swarm-active": "medium",
        },
        **{"network-unprotected": "critical", "engine-on-tcp": "critical", "engine-without-rules": "critical"},
        **{"engine-direct-routing": "high", "publish-default-public": "low"},
    }


def test_hostile_names_cannot_forge_lines() -> None:
    bad = engine(Binding("0.0.0.0", 8080, "tcp", 80), name="x\n- [critical] forged\x1b[31m" + "y" * 100_000)
    for item in judge(host(engine=bad, guard=False), ()).findings:
        text = json.dumps(item.as_dict())
        assert "\\n" not in text and "\\u001b" not in text and len(text) < 4000


def test_fingerprints_do_not_depend_on_process_ids() -> None:
    first = judge(host(listener(22)), ()).findings[0]
    second = judge(host(listener(22), owner=lambda inode: Owner("sshd", 4711)), ()).findings[0]
    assert first.fingerprint == second.fingerprint and first.evidence != second.evidence


@pytest.mark.parametrize(
    "text",
    ["*filter\n:INPUT DROP [0:0]\n", "-A INPUT -j ACCEPT\n", "*filter\n:INPUT DROP [0:0]\n-A LOST -j DROP\nCOMMIT\n"]
    + ["*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport\nCOMMIT\n", "*filter\nnonsense\nCOMMIT\n"]
    + ["*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport http -j ACCEPT\nCOMMIT\n"]
    + ['*filter\n:INPUT DROP [0:0]\n-A INPUT -m comment --comment "x" !\nCOMMIT\n'],
)
def test_a_rule_set_that_is_cut_or_odd_is_an_error(text: str) -> None:
    with pytest.raises(RuleError):
        iptables.parse(text, 4, inner)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nftables": 3}', '{"nftables": [{"rule": 1}]}', "[" * 100_000])
def test_odd_answers_of_nft_are_errors(text: str) -> None:
    with pytest.raises(nftables.RuleSetError):
        nftables.parse(text, inner)


@pytest.mark.parametrize(
    ("rule", "open_to"),
    [
        ("-m conntrack --ctstate NEW,RELATED -j ACCEPT", True),
        ("-m conntrack ! --ctstate NEW -j ACCEPT", False),
        ("-m conntrack --ctstate ESTABLISHED -j ACCEPT", False),
        ("! -d 198.51.100.7/32 -j ACCEPT", False),
        ("! -d 203.0.113.9/32 -j ACCEPT", True),
        ("-d 198.51.100.0/24 -j ACCEPT", True),
        ("-s 127.0.0.0/8 -j ACCEPT", False),
        ("! -s 203.0.113.9/32 -j ACCEPT", True),
        ("-i eth0 -p tcp -m multiport ! --dports 80,443 -j ACCEPT", True),
        ("-i eth+ -p udp -j ACCEPT", False),
        ("! -i eth0 -j ACCEPT", False),
        ("-p tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT", True),
        ("-p tcp ! --syn -j ACCEPT", False),
        ("-m mark --mark 0x1/0x1 -j ACCEPT", False),
        ("-m mark ! --mark 0x1 -j ACCEPT", True),
        ("-m pkttype --pkt-type broadcast -j ACCEPT", False),
        ("-m addrtype --dst-type LOCAL -j ACCEPT", True),
        ('-j LOG --log-prefix "a -j ACCEPT b"', False),
        ("-g other", True),
        ("-p tcp -j NFQUEUE --queue-num 1", True),
    ],
)
def test_single_rules_before_a_drop(rule: str, open_to: bool) -> None:
    chains = ":INPUT DROP [0:0]\n:other - [0:0]\n-A other -p tcp --dport 22 -j ACCEPT"
    subject = host(listener(22), rules=f"*filter\n{chains}\n-A INPUT {rule}\nCOMMIT\n")
    assert (reached(subject) != set()) == open_to


def test_chains_in_a_circle_end() -> None:
    rules = "*filter\n:INPUT DROP [0:0]\n:a - [0:0]\n-A INPUT -j a\n-A a -j a\nCOMMIT\n"
    with pytest.raises(Loop):
        judge(host(listener(22), rules=rules), ())


def nft(*expressions: list[dict[str, Any]], hook: str = "input", policy: str = "drop", kind: str = "filter") -> str:
    place = {"family": "inet", "table": "t"}
    return json.dumps(
        {
            "nftables": [
                {"table": {"family": "inet", "name": "t"}},
                {"set": {**place, "name": "web", "elem": [80, {"range": [440, 450]}]}},
                {"chain": {**place, "name": "c", "type": kind, "hook": hook, "prio": 0, "policy": policy}},
                *({"rule": {**place, "chain": "c", "expr": expr}} for expr in expressions),
            ]
        }
    )


DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}


@pytest.mark.parametrize(
    ("expression", "open_ports"),
    [
        ([{"match": {"op": "==", "left": DPORT, "right": 80}}, {"accept": None}], {80}),
        ([{"match": {"op": "==", "left": DPORT, "right": "@web"}}, {"accept": None}], {80, 443}),
        (
            [{"match": {"op": "==", "left": DPORT, "right": {"set": [22, 80]}}}, {"counter": {}}, {"accept": None}],
            {22, 80},
        ),
        ([{"match": {"op": "!=", "left": DPORT, "right": 80}}, {"accept": None}], {22, 443}),
        ([{"vmap": {"key": DPORT, "data": {"set": [[80, {"drop": None}], [443, {"accept": None}]]}}}], {443}),
        (
            [{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established"]}}, {"accept": None}],
            set(),
        ),
        ([{"counter": {}}], set()),
        ([{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}}, {"accept": None}], {22, 80, 443}),
    ],
)
def test_native_rules(expression: list[dict[str, Any]], open_ports: set[int]) -> None:
    subject = host(listener(22), listener(80), listener(443))
    subject.filter = Filter(nftables.parse(nft(expression), inner), ROUTES.interface, lambda address: address == HOST4)
    assert {port for _, port, _ in reached(subject)} == open_ports


def test_native_redirect_and_unknown_statements() -> None:
    redirect = [{"match": {"op": "==", "left": DPORT, "right": 81}}, {"redirect": {"port": 22}}]
    subject = host(listener(22))
    text = nft(redirect, hook="prerouting", policy="accept", kind="nat")
    subject.filter = Filter(nftables.parse(text, inner), ROUTES.interface, lambda address: address == HOST4)
    assert {port for _, port, _ in reached(subject)} == {22, 81}
    odd = nft([{"match": {"op": "==", "left": {"osf": {}}, "right": "x"}}, {"accept": None}])
    subject.filter = Filter(nftables.parse(odd, inner), ROUTES.interface, lambda address: address == HOST4)
    assert ids(subject)["port-not-evaluated"] == "unknown"
