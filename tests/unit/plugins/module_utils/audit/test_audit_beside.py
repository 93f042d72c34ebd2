# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes around the packet filter of the host: other networks, other namespaces, the engine's own socket."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import namespaces, processes
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import (
    Binding,
    Container,
    Engine,
    Network,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge import judge
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import parse_expected
from ansible_collections.daffathan.platform.plugins.module_utils._audit.namespaces import Foreign, Namespace
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import Host

from tests.support.audit_values import engine, found, host, ids, listener

LOCAL, OWN, OWN6 = (ipaddress.ip_address(text) for text in ("127.0.0.1", "192.0.2.9", "2001:db8::9"))
SPACE = Namespace(
    (
        listener(80),
        listener(443, "::"),
        listener(9000, "127.0.0.1"),
        listener(53, "192.0.2.9", "udp"),
        listener(1, "192.0.2.8"),
    ),
    (LOCAL, OWN, OWN6),
)


def beside(driver: str = "macvlan", space: Namespace | None = SPACE, **more: Any) -> Host:
    container = Container(**{"id": "b" * 64, "name": "flat", "running": True, "networks": ("lan",), **more})
    return host(engine=Engine([container], {"lan": Network("lan", driver, parent="eth0")}), inside=lambda item: space)


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
def test_a_container_with_an_address_of_its_own(driver: str) -> None:
    """Cases 17 and 18: which port answers at which address."""
    report = judge(beside(driver), ())
    entries = {(item["address"], item["port"], item["proto"], item["path"]) for item in report.reachable}
    assert entries == {
        (str(OWN), 80, "tcp", "l2"),
        (str(OWN), 443, "tcp", "l2"),
        (str(OWN), 53, "udp", "l2"),
        (str(OWN6), 443, "tcp", "l2"),
    }
    critical = {(item.host_ip, item.port) for item in report.findings if item.id == "l2-listener"}
    assert critical == {(str(OWN), 80), (str(OWN), 443), (str(OWN), 53), (str(OWN6), 443)}
    assert {item.severity for item in report.findings if item.id == "l2-listener"} == {"critical"}
    assert ids(beside(driver))["l2-network"] == "medium"


def test_a_namespace_that_could_not_be_entered_is_no_pass() -> None:
    assert ids(beside(space=None)) == {"l2-network": "critical"}


def test_a_declaration_for_the_host_does_not_cover_the_address_of_a_container() -> None:
    names = {"port": 80, "container": "flat"}
    assert {item.port for item in judge(beside(), ()).findings if item.id == "l2-listener"} == {80, 443, 53}
    assert found_ports(beside(), {"port": 80}) == {80, 443, 53}
    assert found_ports(beside(), names) == {443, 53}
    assert found_ports(beside(), {**names, "expires": "2026-01-01"}) == {80, 443, 53}


def found_ports(subject: Host, *expected: dict[str, Any]) -> set[int]:
    return {item.port for item in judge(subject, parse_expected(expected)).findings if item.id == "l2-listener"}


def test_a_stopped_container_on_such_a_network() -> None:
    assert ids(beside(running=False, starts_at_boot="always")) == {"l2-network": "high"}
    assert ids(beside(running=False)) == {}


def test_the_network_of_the_host() -> None:
    """Case 16; a stopped one counts if it will be started."""
    for more in ({"running": True}, {"running": False, "starts_at_boot": "always"}):
        assert ids(host(engine=engine(host_network=True, **more))) == {"host-network": "medium"}
    assert ids(host(engine=engine(host_network=True, running=False))) == {}


@pytest.mark.parametrize(
    ("network", "severity"),
    [
        (Network("x", "bridge", "br-1", "127.0.0.1", ("nat-unprotected",)), "critical"),
        (Network("x", "bridge", "br-1", "127.0.0.1", ("nat", "routed")), "high"),
        (Network("x", "bridge", "br-1", "127.0.0.1", trusted="eth1"), "high"),
        (Network("x", "bridge", "br-1", "127.0.0.1", ("nat", "isolated")), None),
    ],
)
def test_networks_that_open_their_containers(network: Network, severity: str | None) -> None:
    """Cases 19, 20 and 21."""
    assert ids(host(engine=Engine(networks={"x": network}))).get("network-unprotected") == severity


def test_rules_that_the_engine_was_told_to_leave_out() -> None:
    """Row 15."""
    told = Engine(warnings=("WARNING: DOCKER_INSECURE_NO_IPTABLES_RAW is set",))
    assert ids(host(engine=told, guard=False))["engine-without-raw-rules"] == "critical"
    assert ids(host(engine=told))["engine-without-raw-rules"] == "medium"


DOCKER28 = """*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
-A PREROUTING -d 127.0.0.1/32 ! -i lo -p tcp -m tcp --dport 8081 -j DROP
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -d 172.17.0.2/32 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -d 127.0.0.1/32 ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80
COMMIT
"""


def test_raw_rules_are_judged_by_what_they_do() -> None:
    """Cases 23, 24 and 25: not by the version of the engine."""
    loopback = engine(Binding("127.0.0.1", 8081, "tcp", 80))
    routed = {"direct-routing", "loopback-publish-routed"}
    assert not routed & set(ids(host(engine=loopback, rules=DOCKER28, guard=False)))
    flushed = DOCKER28[DOCKER28.index("*filter") :]
    assert routed <= set(ids(host(engine=loopback, rules=flushed, guard=False)))


MOUNTS = ["/var/run/docker.sock", "/run/docker.sock", "/run", "/var/run/", "/", "/run/../run/docker.sock", "//run"]
MOUNTS += ["/run/containerd/containerd.sock", "/run/containerd", "/run/podman/podman.sock", "/run/podman"]


@pytest.mark.parametrize("source", MOUNTS)
def test_the_socket_of_the_engine_in_a_container(source: str) -> None:
    """Case 36."""
    assert ids(host(engine=engine(mounts=(source,)))) == {"engine-socket-mounted": "high"}
    served = engine(Binding("0.0.0.0", 2375, "tcp", 2375), mounts=(source,))
    assert ids(host(engine=served))["engine-socket-mounted"] == "critical"


@pytest.mark.parametrize(
    ("source", "severity"), [("/proc", "medium"), ("/proc/1", "medium"), ("/srv", None), ("", None)]
)
def test_the_processes_of_the_host_in_a_container(source: str, severity: str | None) -> None:
    assert ids(host(engine=engine(mounts=(source,)))).get("host-proc-mounted") == severity


def test_other_namespaces_are_told() -> None:
    """Row 35."""
    assert ids(host(foreign=[Foreign("lxc (pid 9)", SPACE)])) == {"namespace-listener": "low"}
    item = found(host(foreign=[Foreign("lxc (pid 9)", SPACE)]), "namespace-listener")
    assert "80/tcp" in item.evidence and "9000/tcp" not in item.evidence
    alone = Namespace((listener(80),), (LOCAL,))
    assert ids(host(foreign=[Foreign("unit (pid 9)", alone)])) == {}


def test_a_namespace_is_looked_at_from_a_process_of_its_own() -> None:
    """Ours stays ours, whatever was entered, and what cannot be entered is missing."""
    before = processes.namespace("self")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        own = namespaces.of_process(os.getpid())
        answers = namespaces.look([own, "/proc/0/ns/net", "/nonexistent"])
        port = server.getsockname()[1]
    if os.geteuid() == 0:
        assert set(answers) == {own}
        assert any((item.port, str(item.address)) == (port, "127.0.0.1") for item in answers[own].listeners)
        assert LOCAL in answers[own].addresses
    else:
        assert answers == {}
    assert processes.namespace("self") == before and namespaces.look([]) == {}
