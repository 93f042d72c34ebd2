# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways in that no packet filter of a real VPS shows: other networks, a swarm, the engine's settings, the next boot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.audited import IMAGE, SERVE, audit, firewall, guard, ids, listen, publish, shell
from tests.support.lab import Host, attacker, wait_until

# Not used by any VPS: those get the addresses from .20 on, one after the other.
BESIDE = "10.231.0.240"


def findings(result: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item for item in result["findings"] if item["id"] == kind]


def severities(result: dict[str, Any]) -> dict[str, str]:
    return {item["id"]: item["severity"] for item in result["findings"]}


def test_a_container_beside_the_firewall(vps: Host) -> None:
    """The audit names the port and the address that a neighbour reaches, though firewall and guard table are up."""
    firewall(vps)
    guard(vps)
    shell(vps, "docker network create -d macvlan --subnet 10.231.0.0/24 -o parent=eth0 lan")
    try:
        vps.run("docker", "run", "-d", "--name", "flat", "--network", "lan", "--ip", BESIDE, IMAGE, *SERVE)
        assert wait_until(lambda: attacker("curl", "-sS", "--max-time", "2", f"http://{BESIDE}:3000/"), seconds=30)
        result = audit(vps)
        entries = [item for item in result["reachable"] if item["path"] == "l2"]
        assert [(item["address"], item["port"], item["proto"]) for item in entries] == [(BESIDE, 3000, "tcp")]
        found = findings(result, "l2-listener")
        assert [(item["severity"], item["host_ip"], item["port"], item["container"]) for item in found] == [
            ("critical", BESIDE, 3000, "flat")
        ]
        declared = [{"port": 22}, {"port": 3000, "container": "flat"}]
        found_again = ids(audit(vps, expected=declared))
        assert "l2-listener" not in found_again
        assert "namespace-listener" not in found_again, "the namespace of a container is not somebody else's"
    finally:
        shell(vps, "docker rm -f flat; docker network rm lan")


def test_a_namespace_of_somebody_else(vps: Host) -> None:
    shell(
        vps,
        "ip netns add other; ip link add test-veth type veth peer name inner netns other; "
        "ip -n other addr add 192.0.2.9/24 dev inner; ip -n other link set inner up",
    )
    try:
        vps.run(
            *("systemd-run", "--unit=test-other", "--collect", "--property=NetworkNamespacePath=/run/netns/other"),
            *("python3", "-m", "http.server", "9100", "--bind", "0.0.0.0"),
        )
        shell(vps, "for i in $(seq 50); do ip netns exec other ss -Htln | grep 9100 && exit; sleep 0.1; done; exit 1")
        evidence = [item["evidence"] for item in findings(audit(vps, fail_on="none"), "namespace-listener")]
        assert len(evidence) == 1 and "192.0.2.9" in evidence[0] and "9100/tcp" in evidence[0]
    finally:
        shell(vps, "systemctl stop test-other; ip netns del other; ip link del test-veth 2>/dev/null || true")


def test_a_swarm(vps: Host) -> None:
    """The ports between the nodes, and a service that publishes on the node it runs on."""
    firewall(vps, "allow 2377/tcp")
    shell(vps, f"docker swarm init --advertise-addr {vps.address} >/dev/null")
    try:
        shell(
            vps,
            f"docker service create --quiet --detach --name web --publish mode=host,target=3000,published=8080 {IMAGE} "
            f"{' '.join(SERVE)}",
        )
        assert wait_until(lambda: vps.run("docker", "ps", "-q"), seconds=60)
        found = severities(audit(vps))
        assert found["swarm-active"] == "medium" and found["swarm-port"] == "high"
        assert found["published-port"] == "critical"
        guard(vps)
        assert severities(audit(vps))["published-port-blocked"] == "medium"
    finally:
        shell(vps, "docker swarm leave --force >/dev/null; docker network rm docker_gwbridge >/dev/null 2>&1 || true")


@contextmanager
def set_up(host: Host, path: str, content: str) -> Iterator[None]:
    """A file that belongs to the engine's configuration, without a restart of the engine."""
    shell(host, f"mkdir -p $(dirname {path}); cat > {path} <<'END'\n{content}\nEND\nsystemctl daemon-reload")
    try:
        yield
    finally:
        shell(host, f"rm {path}; systemctl daemon-reload")


def test_settings_of_the_engine(vps: Host) -> None:
    """None of them is active yet: they are what the next start makes."""
    firewall(vps)
    guard(vps)
    assert not {"engine-on-tcp", "daemon-file-not-read", "engine-without-rules"} & ids(audit(vps))
    with set_up(vps, "/etc/systemd/system/docker.socket.d/tcp.conf", "[Socket]\nListenStream=2375"):
        assert severities(audit(vps))["engine-on-tcp"] == "critical"
    drop_in = "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// -H tcp://0.0.0.0:2375 --iptables=false"
    with set_up(vps, "/etc/systemd/system/docker.service.d/tcp.conf", drop_in):
        found = severities(audit(vps))
        assert (found["engine-on-tcp"], found["engine-without-rules"]) == ("critical", "critical")
    with set_up(vps, "/etc/default/docker", "DOCKER_OPTS='-H tcp://127.0.0.1:2375'"):
        assert severities(audit(vps))["engine-on-tcp"] == "high"
    with set_up(vps, "/etc/docker/daemon.json", '{"ip": "127.0.0.1",}'):
        assert severities(audit(vps))["daemon-file-not-read"] == "unknown"
    with set_up(vps, "/etc/docker/daemon.json", '{"ip": "127.0.0.1"}'):
        assert severities(audit(vps))["daemon-file-newer"] == "low"


def test_an_engine_that_is_stopped_is_not_started(vps: Host) -> None:
    firewall(vps)
    shell(vps, "systemctl stop docker.service 2>/dev/null")
    try:
        assert vps.run("systemctl", "is-active", "docker.socket").strip() == "active"
        assert severities(audit(vps))["engine-not-examined"] == "unknown"
        assert vps.rc("systemctl", "is-active", "--quiet", "docker.service") != 0
    finally:
        vps.run("systemctl", "start", "docker.service")


def test_what_the_next_boot_starts(vps: Host) -> None:
    """What the audit says of each stopped container is what a restart of the engine does."""
    firewall(vps)
    guard(vps)
    for port, (name, policy) in enumerate(
        [("always", "always"), ("by-hand", "unless-stopped"), ("failed", "on-failure"), ("no", "no")], 8081
    ):
        publish(vps, name, f"{port}:3000", restart=policy)
    publish(vps, "inside", "127.0.0.1:8090:3000", restart="always")
    vps.run("docker", "create", "--name", "fresh", "--restart", "always", "--publish", "8091:3000", IMAGE)
    vps.run("docker", "stop", "--time", "1", "always", "by-hand", "failed", "no", "inside")
    result = audit(vps, fail_on="none")
    latent = {item["container"] for item in findings(result, "latent-publish")}
    vps.run("systemctl", "restart", "docker.service")
    running = set(vps.run("docker", "ps", "--format", "{{.Names}}").split())
    assert latent == running - {"inside"} and "always" in latent and "inside" in running


def test_the_firewall_beside_its_files(vps: Host) -> None:
    listen(vps, 9001, "0.0.0.0")
    firewall(vps, "allow 9006")
    shell(vps, "iptables -I INPUT -p tcp --dport 9001 -j ACCEPT; systemctl disable -q ufw")
    try:
        found = severities(audit(vps))
        assert found["firewall-differs"] == "high" and found["accept-before-ufw"] == "high"
        assert found["firewall-not-at-boot"] == "high" and found["undeclared-rule"] == "medium"
        shell(vps, "systemctl enable -q ufw; iptables -D INPUT -p tcp --dport 9001 -j ACCEPT; ufw delete allow 9006")
        found = severities(audit(vps))
        wrong = {"firewall-differs", "accept-before-ufw", "firewall-not-at-boot", "undeclared-rule"}
        assert not wrong & set(found)
    finally:
        shell(vps, "systemctl enable -q ufw; iptables -D INPUT -p tcp --dport 9001 -j ACCEPT 2>/dev/null || true")
