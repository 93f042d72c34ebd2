# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reference system as it stands after site.yml: seen from the neighbour host and from inside."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from testinfra.host import Host as Inside

from tests.support import containers, outside
from tests.support.lab import Host, attacker, running, wait_until
from tests.support.scan import open_ports, speaks_quic, udp_answer

NAME = "molecule-site"
SITE = "labs.example.test"
ECHO = """
import socket
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
    server.bind(("::", 9999))
    server.settimeout(60)
    for _ in range(4):
        data, peer = server.recvfrom(64)
        server.sendto(b"pong", peer)
"""


@pytest.fixture(scope="module")
def vps() -> Host:
    return running(NAME)


@pytest.fixture(scope="module")
def authority(vps: Host) -> str:
    """The root certificate of the demo's internal authority, on the neighbour host."""
    return outside.trust(vps)


def curl(vps: Host, authority: str, path: str, *arguments: str, scheme: str = "https") -> str:
    return outside.curl(vps, authority, SITE, path, *arguments, scheme=scheme)


def test_only_ssh_and_http_answer_on_tcp(vps: Host) -> None:
    with ThreadPoolExecutor() as pool:
        four, six = pool.map(open_ports, (vps.address, vps.address6))
    assert (four, six) == ({22, 80, 443}, {22, 80, 443})


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_only_quic_answers_on_udp(vps: Host, family: str) -> None:
    address = vps.address if family == "IPv4" else vps.address6
    assert open_ports(address, udp=True) <= {443}
    assert speaks_quic(address)


def test_an_undeclared_udp_service_is_silent_from_outside(vps: Host, host: Inside) -> None:
    host.check_output("systemd-run --unit=udp-echo --collect /usr/bin/python3 -c %s", ECHO)
    assert wait_until(lambda: vps.run("ss", "-Huln", "sport = :9999"), seconds=10)
    inside = "import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); "
    inside += "s.sendto(b'ping', ('127.0.0.1', 9999)); print(s.recv(9).decode())"
    assert host.check_output("python3 -c %s", inside) == "pong", "the service itself must answer"
    assert udp_answer(vps.address, 9999) == "silent"
    assert udp_answer(vps.address6, 9999) == "silent"
    host.check_output("systemctl stop udp-echo")


@pytest.mark.parametrize(("path", "service"), [("/version", "ui"), ("/api/version", "api"), ("/ai/version", "ai")])
def test_all_three_services_answer_over_https_from_outside(vps: Host, authority: str, path: str, service: str) -> None:
    assert json.loads(curl(vps, authority, path))["service"] == service


def test_http_is_redirected_to_https(vps: Host, authority: str) -> None:
    status = curl(
        vps, authority, "/", "--output", "/dev/null", "--write-out", "%{http_code} %{redirect_url}", scheme="http"
    )
    assert status == f"308 https://{SITE}/"


def test_an_unknown_host_gets_no_content(vps: Host) -> None:
    body = attacker(
        *("curl", "--silent", "--insecure", "--max-time", "10", "--resolve", f"other.example.test:443:{vps.address}"),
        *("--output", "/dev/null", "--write-out", "%{size_download}", "https://other.example.test/"),
        check=False,
    )
    assert body == "0"


def test_no_container_publishes_beyond_loopback(host: Inside) -> None:
    names = host.check_output("docker ps --quiet").split()
    assert len(names) >= 5, "gateway, ui, api, ai and db must run"
    for container in json.loads(host.check_output(f"docker inspect {' '.join(names)}")):
        bindings = container["HostConfig"]["PortBindings"] or {}
        assert all(b["HostIp"].startswith("127.") for binding in bindings.values() for b in binding)
        assert container["HostConfig"]["NetworkMode"] != "host"


def test_the_firewall_is_active_in_the_kernel(host: Inside) -> None:
    for save in ("iptables-save", "ip6tables-save"):
        rules = host.check_output(save)
        assert ":INPUT DROP" in rules
        assert "-A INPUT -j ufw" in rules
    assert "hook forward" in host.check_output("nft list table inet daffathan_guard")


def test_sshd_takes_keys_only(host: Inside) -> None:
    options = dict(line.split(" ", 1) for line in host.check_output("sshd -T").splitlines() if " " in line)
    assert options["passwordauthentication"] == "no"
    assert options["permitrootlogin"] in {"no", "without-password", "prohibit-password"}
    assert options["x11forwarding"] == "no"


def test_containers_can_still_reach_the_network(vps: Host, host: Inside) -> None:
    api = host.check_output("docker ps --quiet --filter label=daffathan.service=api")
    assert containers.reaches_the_registry(vps, api)


@pytest.mark.parametrize(
    "unit",
    [
        *("caddy.service", "docker.service", "daffathan-guard.service", "daffathan-backup.timer"),
        "daffathan-gateway-logs.timer",
    ],
)
def test_units_start_at_boot(host: Inside, unit: str) -> None:
    assert host.service(unit).is_enabled
    assert host.service(unit).is_running


def test_requests_go_before_what_starts_containers(host: Inside) -> None:
    weight = {
        unit: host.check_output(f"systemctl show --property CPUWeight --value {unit}.service")
        for unit in ("caddy", "docker", "containerd")
    }
    assert weight == {"caddy": "1000", "docker": "[not set]", "containerd": "[not set]"}
    assert host.check_output("docker inspect --format '{{.HostConfig.CpuShares}}' daffathan-gateway") == "10240"


def test_a_dry_run_on_the_converged_host_plans_nothing(vps: Host) -> None:
    result = vps.play("site", "--check", "--diff")
    assert result.rc == 0, result.output[-4000:]
    assert result.changed(NAME) == 0, result.output[-4000:]
