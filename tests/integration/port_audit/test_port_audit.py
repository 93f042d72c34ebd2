# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit of a real VPS against what a neighbour really reaches there."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.ansible import Run, module
from tests.support.audited import (
    IMAGE,
    RESET,
    SERVE,
    SSH,
    audit,
    firewall,
    guard,
    ids,
    listen,
    mend,
    publish,
    reachable,
    shell,
)
from tests.support.lab import Host, LabError, attacker
from tests.support.scan import open_ports, udp_answer

UDP_ECHO = """
import socket
echo = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
echo.bind(("::", 9200))
while True:
    data, peer = echo.recvfrom(64)
    echo.sendto(data, peer)
"""


def truth(host: Host, result: dict[str, Any], *, tcp: str = "1-10000") -> None:
    """A sweep finds what the audit calls reachable, neither more nor less.

    All that these tests open lies below 10 000. The tests of a host without and with a firewall sweep everything (`-`),
    so that what nobody opened would be seen there.
    """
    # A closed firewall keeps nmap waiting, not working: both families at once take half the time.
    with ThreadPoolExecutor() as pool:
        four, six = pool.map(functools.partial(open_ports, tcp=tcp), (host.address, host.address6))
    assert four == reachable(result, "ipv4"), result["reachable"]
    assert six == reachable(result, "ipv6"), result["reachable"]


def test_bare_host_without_firewall(vps: Host) -> None:
    result = audit(vps)
    assert result["failed"] and "firewall-inactive" in ids(result)
    assert "ufw_policy" in result["msg"]
    truth(vps, result, tcp="-")


def test_clean_host_passes(vps: Host) -> None:
    firewall(vps)
    guard(vps)
    publish(vps, "inside", "127.0.0.1:8081:3000")
    result = audit(vps)
    assert not result["failed"], result["msg"]
    assert reachable(result, "ipv4") == {22} and "published-port" not in ids(result)
    truth(vps, result, tcp="-")


def test_published_port_passes_ufw(vps: Host) -> None:
    firewall(vps, "deny 8080/tcp")
    publish(vps, "shop", "8080:3000")
    result = audit(vps)
    finding = next(item for item in result["findings"] if item["id"] == "published-port")
    assert (finding["severity"], finding["port"], finding["container"]) == ("critical", 8080, "shop")
    assert result["failed"] and "127.0.0.1:8080" in result["msg"]
    # IPv6 ends at docker-proxy, which UFW does cover.
    assert reachable(result, "ipv4") == {22, 8080} and reachable(result, "ipv6") == {22}
    truth(vps, result)


def test_guard_closes_the_published_port(vps: Host) -> None:
    firewall(vps)
    guard(vps)
    publish(vps, "shop", "8080:3000")
    result = audit(vps)
    assert not result["failed"], result["msg"]
    assert "published-port-blocked" in ids(result)
    truth(vps, result)


def test_guard_holds_without_ufw(vps: Host) -> None:
    guard(vps)
    publish(vps, "shop", "8080:3000", "127.0.0.1:8081:3000")
    result = audit(vps)
    assert "firewall-inactive" in ids(result) and "direct-routing" not in ids(result)
    assert reachable(result, "ipv4") == {22}
    truth(vps, result)


def test_published_everywhere_without_ufw(vps: Host) -> None:
    publish(vps, "both", "8080-8082:3000")
    publish(vps, "six", "[::]:8090:3000")
    publish(vps, "address", f"{vps.address}:8091:3000")
    result = audit(vps)
    assert reachable(result, "ipv6") >= {22, 8090}
    truth(vps, result)


def test_host_listeners_allowed_blocked_and_declared(vps: Host) -> None:
    for port, address in ((9001, "0.0.0.0"), (9002, "::"), (9003, "0.0.0.0"), (9004, "127.0.0.1"), (9005, "::")):
        listen(vps, port, address)
    firewall(vps, "allow 9001/tcp", "allow 9002/tcp", "limit 9005/tcp", "allow from 10.231.0.0/24 to any port 9006")
    result = audit(vps, expected=[SSH, {"port": 9002, "process": "python3"}, {"port": 9005, "process": "nginx"}])
    undeclared = {item["port"]: item for item in result["findings"] if item["id"] == "undeclared-listener"}
    assert set(undeclared) == {9001, 9005} and undeclared[9001]["owner"] == "python3"
    assert "declared for process nginx" in undeclared[9005]["evidence"]
    behind = {item["port"] for item in result["findings"] if item["id"] == "listener-behind-firewall"}
    assert behind == {9003}
    truth(vps, result)


def test_kernel_open_although_ufw_says_enabled(vps: Host) -> None:
    listen(vps, 9001, "::")
    firewall(vps)
    shell(vps, "for t in iptables ip6tables; do $t -P INPUT ACCEPT; $t -F INPUT; done")
    try:
        assert "Status: active" in vps.run("ufw", "status")
        result = audit(vps)
        evidence = [item["evidence"] for item in result["findings"] if item["id"] == "firewall-inactive"]
        assert len(evidence) == 2 and all("although ufw.conf says ENABLED=yes" in text for text in evidence)
        truth(vps, result)
    finally:
        mend(vps)


def test_ipv6_left_open(vps: Host) -> None:
    listen(vps, 9001, "::")
    firewall(vps)
    shell(vps, "ip6tables -P INPUT ACCEPT; ip6tables -F INPUT")
    try:
        result = audit(vps)
        assert {item["host_ip"] for item in result["findings"] if item["id"] == "firewall-inactive"} == {"::"}
        assert reachable(result, "ipv4") == {22} and reachable(result, "ipv6") == {22, 9001}
        truth(vps, result)
    finally:
        mend(vps)


def test_ufw_without_ipv6_closes_it(vps: Host) -> None:
    listen(vps, 9001, "::")
    shell(vps, "sed -i 's/^IPV6=.*/IPV6=no/' /etc/default/ufw")
    try:
        firewall(vps)
        result = audit(vps)
        assert reachable(result, "ipv4") == {22} and reachable(result, "ipv6") == set()
        truth(vps, result)
    finally:
        shell(vps, f"{RESET}; sed -i 's/^IPV6=.*/IPV6=yes/' /etc/default/ufw")


def test_translation_by_hand(vps: Host) -> None:
    listen(vps, 9001, "0.0.0.0")
    firewall(vps, "allow 9001/tcp")
    shell(
        vps,
        "nft add table ip handmade; nft 'add chain ip handmade pre { type nat hook prerouting priority -150; }'; "
        "nft add rule ip handmade pre tcp dport 9100 redirect to :9001",
    )
    result = audit(vps)
    assert reachable(result, "ipv4") == {22, 9001, 9100}
    truth(vps, result)


def test_udp_listener(vps: Host) -> None:
    vps.run("systemd-run", "--unit=test-udp", "--collect", "python3", "-c", UDP_ECHO)
    shell(vps, "for i in $(seq 50); do ss -Hlun 'sport = :9200' | grep -q . && exit; sleep 0.1; done; exit 1")
    firewall(vps)
    assert udp_answer(vps.address, 9200) == "silent"
    assert reachable(audit(vps), "ipv4", "udp") == set()
    shell(vps, "ufw allow 9200/udp")
    result = audit(vps)
    assert udp_answer(vps.address, 9200) == "ping" and udp_answer(vps.address6, 9200) == "ping"
    assert reachable(result, "ipv4", "udp") == reachable(result, "ipv6", "udp") == {9200}


def test_neighbour_routes_to_a_container(vps: Host) -> None:
    """What the audit says of direct routing is what a neighbour can do, and the guard table ends it."""
    publish(vps, "shop", "127.0.0.1:8081:3000")
    container = vps.run("docker", "inspect", "--format", "{{.NetworkSettings.IPAddress}}", "shop").strip()
    fetch = ("curl", "--silent", "--max-time", "3", "--output", "/dev/null", f"http://{container}:3000/")
    try:
        attacker("ip", "route", "replace", f"{container}/32", "via", vps.address)
        assert ids(audit(vps)) >= {"direct-routing", "loopback-publish-routed", "guard-missing"}
        attacker(*fetch)
        guard(vps)
        assert not ids(audit(vps)) & {"direct-routing", "loopback-publish-routed", "guard-missing"}
        with pytest.raises(LabError):
            attacker(*fetch)
    finally:
        attacker("ip", "route", "del", f"{container}/32", "via", vps.address, check=False)


def test_what_waits_to_be_opened(vps: Host) -> None:
    firewall(vps)
    guard(vps)
    publish(vps, "sleeper", "8080:3000", restart="always")
    publish(vps, "forgotten", "8088:3000")
    vps.run("docker", "stop", "--time", "1", "sleeper", "forgotten")
    vps.run("docker", "run", "--detach", "--name", "root", "--volume", "/var/run:/host", IMAGE, *SERVE)
    vps.run("docker", "run", "--detach", "--name", "flat", "--network", "host", IMAGE, "sleep", "600")
    result = audit(vps)
    found = {(item["id"], item["container"]) for item in result["findings"]}
    assert {("latent-publish", "sleeper"), ("engine-socket-mounted", "root"), ("host-network", "flat")} <= found
    assert ("latent-publish", "forgotten") not in found


def test_without_root_nothing_passes(vps: Host) -> None:
    firewall(vps)
    result = Run("ansible", *module(vps, "port_audit", {"expected": [SSH]})).result()
    assert result.returncode != 0
    assert "rules-not-examined" in result.stdout and "engine-not-examined" in result.stdout


def test_engine_that_does_not_answer(vps: Host) -> None:
    firewall(vps)
    guard(vps)
    pid = vps.run("cat", "/run/docker.pid").strip()
    vps.run("kill", "-STOP", pid)
    try:
        result = audit(vps, engine_timeout=1)
    finally:
        vps.run("kill", "-CONT", pid)
    assert result["failed"] and "engine-not-examined" in ids(result)


def test_audit_playbook(vps: Host) -> None:
    firewall(vps, "allow 9001/tcp")
    guard(vps)
    listen(vps, 9001, "0.0.0.0")
    arguments = ("--tags", "live")
    failed = vps.play("audit", *arguments, port_audit_expected=[SSH])
    assert failed.rc != 0 and "9001/tcp is reachable" in failed.output
    passed = vps.play("audit", *arguments, port_audit_expected=[SSH, {"port": 9001, "reason": "test"}])
    assert passed.rc == 0 and "reachable: 22/tcp 9001/tcp (ipv4 only)" in passed.output, passed.output
    undeclared = vps.play("audit", *arguments)
    assert undeclared.rc != 0 and "no ports are declared" in undeclared.output
