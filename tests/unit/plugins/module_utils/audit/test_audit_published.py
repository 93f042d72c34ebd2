# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports that an engine publishes, or will: by address, by engine, by swarm, and against declarations."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit.daemon import Configuration, Daemon
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import (
    Binding,
    Container,
    Engine,
    Network,
    Service,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.interfaces import Interface
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge import judge
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import parse_expected, unknown
from ansible_collections.daffathan.platform.plugins.module_utils._audit.owners import Owner

from tests.support.audit_values import HOST4, HOST6, engine, found, host, ids, listener, reached

PRIVATE = "10.1.2.3"


@pytest.mark.parametrize(
    ("address", "severity"),
    [
        ("0.0.0.0", "critical"),
        ("::", "critical"),
        ("", "critical"),
        ("1.2.3.4", "critical"),
        ("2a00::5", "critical"),
        (PRIVATE, "high"),
        ("192.168.1.5", "high"),
        ("100.64.1.5", "high"),
        ("fd00::5", "high"),
        ("127.0.0.1", None),
        ("127.0.0.2", None),
        ("::1", None),
        ("nonsense", "unknown"),
    ],
)
def test_the_address_decides(address: str, severity: str | None) -> None:
    """Cases 1 to 9, where the packet filter cannot be read: the word of the engine alone."""
    published = ids(host(filter=None, engine=engine(Binding(address, 8080, "tcp", 80)))).get("published-port")
    assert published == severity


@pytest.mark.parametrize("proto", ["tcp", "udp", "sctp"])
def test_every_protocol(proto: str) -> None:
    """Cases 13 and 14."""
    rule = f"-A DOCKER ! -i docker0 -p {proto} -m {proto} --dport 8080 -j DNAT --to-destination 172.17.0.2:80"
    rules = f"*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -j DOCKER\n{rule}\nCOMMIT\n"
    item = found(host(engine=engine(Binding("0.0.0.0", 8080, proto, 80)), rules=rules, guard=False), "published-port")
    assert (item.proto, item.port, item.severity, item.container) == (proto, 8080, "critical", "shop")


def test_a_port_nobody_chose() -> None:
    """Cases 10 and 11."""
    rules = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 49153 -j DOCKER\n:DOCKER - [0:0]\n"
    rules += "-A DOCKER -p tcp -m tcp --dport 49153 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n"
    subject = host(engine=engine(Binding("0.0.0.0", 49153, "tcp", 80)), rules=rules, guard=False)
    assert "another one after each start" in found(subject, "published-port").evidence


def test_a_range_that_is_declared_in_part() -> None:
    """Case 12."""
    ports = range(8080, 8083)
    rules = "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -j DOCKER\n" + "".join(
        f"-A DOCKER -p tcp -m tcp --dport {port} -j DNAT --to-destination 172.17.0.2:80\n" for port in ports
    )
    subject = host(
        engine=engine(*(Binding("0.0.0.0", port, "tcp", 80) for port in ports)), rules=f"{rules}COMMIT\n", guard=False
    )
    items = judge(subject, parse_expected([{"port": 8080}, {"port": 8082}])).findings
    assert [item.port for item in items if item.id == "published-port"] == [8081]


def test_a_declaration_for_one_container_does_not_cover_another_on_the_same_port() -> None:
    """Case 15: 443 is the proxy's, at its own address; somebody else has taken it at the other one."""
    proxy = Container("a" * 64, "proxy", True, bindings=(Binding(str(HOST4), 443, "tcp", 443),))
    other = Container("b" * 64, "other", True, bindings=(Binding("::", 443, "tcp", 443),))
    subject = host(
        listener(443, str(HOST4), inode=2),
        listener(443, str(HOST6), inode=2),
        engine=Engine([other, proxy]),
        rules="*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n",
        interfaces=[Interface("eth0", 2, (HOST4, HOST6))],
    )
    item = found(subject, "published-port", ({"port": 443, "container": "proxy"},))
    assert item.container == "other" and "declared for container proxy, served by other" in item.evidence


ORIGINS = {
    "podman": "-A NETAVARK-DN-1d8721804f16f",
    "CNI": "-A CNI-DN-3a7b11a8a7b1c",
    "Kubernetes": "-A KUBE-SEP-XYZ",
    "libvirt": "-A LIBVIRT_PRT",
    "swarm": "-A DOCKER-INGRESS",
}


@pytest.mark.parametrize(("origin", "rule"), list(ORIGINS.items()))
def test_what_other_engines_publish_is_theirs(origin: str, rule: str) -> None:
    """Cases 29 and 38, from the packet filter alone: no socket is needed."""
    chain = rule.split()[1]
    rules = f"*nat\n:PREROUTING ACCEPT [0:0]\n:{chain} - [0:0]\n-A PREROUTING -j {chain}\n"
    rules += f"{rule} -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.88.0.2:80\nCOMMIT\n"
    item = found(host(rules=rules, guard=False), "published-port")
    assert item.severity == "critical" and f"published by {origin} " in item.evidence
    assert "undeclared-forward" not in ids(host(rules=rules, guard=False))


def test_a_translation_by_hand_is_no_engines() -> None:
    """Case 37, DNAT by hand; the rule of Docker that lets it pass says nothing of it."""
    rules = "*nat\n:PREROUTING ACCEPT [0:0]\n"
    rules += "-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n"
    rules += "*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n-A FORWARD -j DOCKER\n"
    rules += "-A DOCKER -d 172.17.0.2/32 -j ACCEPT\nCOMMIT\n"
    item = found(host(rules=rules, guard=False, engine=engine()), "undeclared-forward")
    assert item.severity == "high" and item.container == "shop"


def swarm(**more: Any) -> Engine:
    service = Service(
        "web", ((Binding("0.0.0.0", 8080, "tcp", 80), "ingress"), (Binding("0.0.0.0", 53, "udp", 53), "host"))
    )
    return Engine(swarm=True, manager=True, services=[service], **more)


def test_a_service_of_a_swarm_is_open_on_every_node() -> None:
    """Case 29: the mesh translates to an address that is no container's."""
    rules = "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER-INGRESS - [0:0]\n-A PREROUTING -j DOCKER-INGRESS\n"
    rules += "-A DOCKER-INGRESS -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:8080\nCOMMIT\n"
    item = found(host(rules=rules, guard=False, engine=swarm()), "published-port")
    assert (item.severity, item.service) == ("critical", "web") and "on every node" in item.evidence
    blocked = [item for item in judge(host(engine=swarm()), ()).findings if item.id == "published-port-blocked"]
    assert {(item.port, item.proto, item.severity) for item in blocked} == {
        (8080, "tcp", "medium"),
        (53, "udp", "medium"),
    }


def test_a_service_that_is_declared_is_no_finding() -> None:
    declared = ({"port": 8080}, {"port": 53, "proto": "udp"})
    assert "published-port-blocked" not in ids(host(engine=swarm()), declared)


@pytest.mark.parametrize(("port", "proto"), [(2377, "tcp"), (7946, "tcp"), (7946, "udp"), (4789, "udp")])
def test_the_ports_between_the_nodes_of_a_swarm(port: int, proto: str) -> None:
    """4789 is a socket of the kernel: no process holds it."""
    owner = Owner("[kernel]") if port == 4789 else Owner("dockerd", 9)
    rules = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
    subject = host(listener(port, proto=proto), engine=swarm(), rules=rules, owner=lambda inode: owner)
    assert ids(subject)["swarm-port"] == "high" and "published-port" not in ids(subject)
    assert "swarm-port" not in ids(subject, ({"port": port, "proto": proto},))


def test_the_api_of_the_engine_is_no_published_port() -> None:
    """Row 28, from the listener: whatever the configuration says."""
    rules = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
    subject = host(listener(2375, "::"), engine=engine(), rules=rules, owner=lambda inode: Owner("dockerd", 9))
    assert ids(subject)["engine-on-tcp"] == "critical" and "published-port" not in ids(subject)


def stopped(*bindings: Binding, **more: Any) -> Engine:
    return engine(*bindings, **{"running": False, "starts_at_boot": "always", **more})


@pytest.mark.parametrize(
    ("binding", "expected", "severity"),
    [
        (Binding("", 8080, "tcp", 80), (), "high"),
        (Binding("127.0.0.1", 8080, "tcp", 80), (), None),
        (Binding("::", 8080, "udp", 80), (), "high"),
        (Binding("", 0, "tcp", 80), (), "high"),
        (Binding("", 8080, "tcp", 80), ({"port": 8080},), None),
        (Binding("", 8080, "tcp", 80, 8082), ({"port": 8080},), "high"),
        (Binding("", 8080, "tcp", 80, 8081), ({"port": 8080}, {"port": 8081}), None),
    ],
)
def test_what_a_stopped_container_opens_at_boot(binding: Binding, expected: Any, severity: str | None) -> None:
    """Cases 30 and 31."""
    assert ids(host(engine=stopped(binding)), expected).get("latent-publish") == severity


def test_a_container_between_two_attempts_to_start() -> None:
    evidence = found(
        host(engine=stopped(Binding("", 8080, "tcp", 80), starts_at_boot="restarting")), "latent-publish"
    ).evidence
    assert "started again and again" in evidence and "0.0.0.0:8080/tcp" in evidence


def test_what_a_rootless_engine_publishes_is_a_listener_like_any_other() -> None:
    """Case 38: no translation, so INPUT decides and UFW holds."""
    rootless = engine(Binding("0.0.0.0", 8000, "tcp", 80), rootless=True, name="uid 1000/web")
    subject = host(listener(8000), engine=rootless, owner=lambda inode: Owner("rootlessport", 9))
    assert ids(subject) == {"listener-behind-firewall": "low"}
    subject = host(listener(80), engine=rootless, owner=lambda inode: Owner("rootlessport", 9))
    assert ids(subject)["undeclared-listener"] == "high"


def test_addresses_of_a_rootless_engine_are_not_those_of_the_host() -> None:
    """Its network is its own: 172.17.0.2 in there is another machine's than 172.17.0.2 here."""
    binding = Binding("127.0.0.1", 8081, "tcp", 80)
    routed = {"direct-routing", "loopback-publish-routed"}
    assert routed <= set(ids(host(engine=engine(binding), guard=False)))
    assert not routed & set(ids(host(engine=engine(binding, rootless=True), guard=False)))


def test_the_address_that_counts_is_that_of_the_container() -> None:
    other = Container("b" * 64, "other", True, bindings=(Binding("1.2.3.4", 8080, "tcp", 80),))
    own = Container("a" * 64, "own", True, bindings=(Binding("10.1.2.3", 8080, "tcp", 80),))
    rules = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
    address = ipaddress.ip_address("10.1.2.3")
    subject = host(
        listener(8080, "10.1.2.3", inode=2),
        **{"engine": Engine([other, own]), "rules": rules, "interfaces": [Interface("eth0", 2, (address,))]},
    )
    assert subject.filter is not None
    subject.filter.local = lambda item: item == address
    assert (found(subject, "published-port").container, found(subject, "published-port").severity) == ("own", "high")


def test_declarations_that_nothing_needs() -> None:
    entries = ({"port": 22}, {"port": 9443, "reason": "old panel"}, {"port": 9444, "expires": "2026-01-01"})
    subject = host(listener(22))
    assert ids(subject, entries) == {"declaration-unused": "low", "declaration-expired": "low"}
    blind = host(problems=[unknown("sockets-not-examined", "no", "root")])
    assert ids(blind, entries) == {"sockets-not-examined": "unknown"}
    assert "old panel" in found(subject, "declaration-unused", entries).evidence
    assert "2026-01-01" in found(subject, "declaration-expired", entries).evidence


def test_two_containers_on_one_port_at_two_addresses() -> None:
    first = Container("a" * 64, "first", True, bindings=(Binding("127.0.0.1", 8080, "tcp", 80),))
    second = Container("b" * 64, "second", True, bindings=(Binding(str(HOST4), 8080, "tcp", 80),))
    rules = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
    subject = host(listener(8080, str(HOST4), inode=2), engine=Engine([first, second]), rules=rules)
    assert found(subject, "published-port").container == "second"


def test_the_default_of_networks() -> None:
    """Row 30 and case 32: a network keeps the default it was made with."""
    networks = {
        "bridge": Network("bridge", "bridge", "docker0", "127.0.0.1"),
        "new": Network("new", "bridge", "br-1", "127.0.0.1"),
        "old": Network("old", "bridge", "br-2"),
        "wide": Network("wide", "bridge", "br-3", "0.0.0.0"),
        "inside": Network("inside", "bridge", "br-4", internal=True),
        "docker_gwbridge": Network("docker_gwbridge", "bridge", "docker_gwbridge"),
        "podman": Network("podman", "bridge", "podman0", engine="podman"),
        "host": Network("host", "host"),
    }
    item = found(host(engine=Engine(networks=networks), guard=False), "publish-default-public")
    assert item.severity == "medium" and "open to all on: old, wide." in item.evidence
    assert ids(host(engine=Engine(networks=networks)))["publish-default-public"] == "low"


def test_networks_made_from_now_on() -> None:
    """Row 30: the option is looked at where the engine runs with it, not where it only will."""
    option = "bridge=com.docker.network.bridge.host_binding_ipv4="

    def evidence(*values: str, running: bool = True, **networks: Network) -> str:
        options = {"default-network-opt": tuple(option + value for value in values)}
        subject = host(engine=Engine(networks=networks), daemon=Daemon((Configuration("x", running, options),)))
        return " ".join(item.evidence for item in judge(subject, ()).findings if item.id == "publish-default-public")

    assert "made from now on" in evidence() and "made from now on" in evidence("0.0.0.0")
    assert evidence("127.0.0.1") == "" and evidence(running=False) == ""
    old = Network("old", "bridge", "br-2")
    assert "older than default-network-opts" in evidence("127.0.0.1", old=old)
    assert "older than default-network-opts" not in evidence(old=old)


def test_nothing_is_reachable_of_all_this_behind_the_guard() -> None:
    assert reached(host(engine=swarm())) == set()
