# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Podman publishes on a real VPS, with and without the socket of its service."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.audited import IMAGE, audit, firewall, guard, reachable, shell
from tests.support.lab import Host
from tests.support.scan import open_ports

# A VPS of the lab is a container itself: overlays and the control groups of systemd are not to be had in there.
STORAGE = '[storage]\ndriver = "vfs"\ngraphroot = "/var/lib/docker/podman"\nrunroot = "/run/containers/storage"\n'
ENGINE = '[engine]\ncgroup_manager = "cgroupfs"\n'


@pytest.fixture(scope="module")
def podman_host(bare_host: Host) -> Host:
    shell(
        bare_host,
        "apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "
        "podman netavark crun iptables nftables >/dev/null; mkdir -p /etc/containers; "
        f"printf '{STORAGE}' > /etc/containers/storage.conf; printf '{ENGINE}' > /etc/containers/containers.conf",
    )
    shell(bare_host, "systemctl start podman.socket")
    # Root, because others may not enter the directory that the root of the container lies in.
    ports = ("--publish", "8080:3000", "--publish", "127.0.0.1:8081:3000")
    serve = ("python3", "-m", "http.server", "3000")
    bare_host.run("podman", "run", "--detach", "--user", "root", "--name", "web", *ports, IMAGE, *serve)
    return bare_host


def found(result: dict[str, Any], kind: str) -> list[tuple[str, int, str]]:
    return [(item["severity"], item["port"], item["container"]) for item in result["findings"] if item["id"] == kind]


def agreed(host: Host, result: dict[str, Any]) -> set[int]:
    """What the audit calls reachable, and a neighbour found the same."""
    ports = reachable(result, "ipv4")
    assert ports == open_ports(host.address, tcp="1-10000"), result["reachable"]
    return ports


def test_what_podman_publishes(podman_host: Host) -> None:
    """Its rules have a table of their own: UFW closes the port as long as it denies what is routed, and only then."""
    host = podman_host
    firewall(host)
    result = audit(host)
    assert agreed(host, result) == {22} and found(result, "published-port-blocked") == [("medium", 8080, "web")]
    shell(host, "ufw default allow routed")
    result = audit(host)
    assert agreed(host, result) == {22, 8080} and found(result, "published-port") == [("critical", 8080, "web")]
    shell(host, "systemctl stop podman.socket podman.service; rm -f /run/podman/podman.sock")
    result = audit(host)
    assert reachable(result, "ipv4") == {22, 8080} and found(result, "published-port") == [("critical", 8080, "")]
    assert "published by podman" in result["msg"] and found(result, "podman-not-asked")
    shell(host, "systemctl start podman.socket")
    guard(host)
    result = audit(host)
    assert agreed(host, result) == {22} and found(result, "published-port-blocked") == [("medium", 8080, "web")]
