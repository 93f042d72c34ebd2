# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A VPS for the port audit: Docker, containers, listeners, firewalls, and what the module says of them."""

from __future__ import annotations

from typing import Any

from tests.support.ansible import Run, answer, module
from tests.support.lab import Host

IMAGE = "registry.lab:5000/daffathan/api:1.0.0"
SERVE = ("python3", "-m", "http.server", "3000", "--bind", "::")
SSH = {"port": 22, "reason": "administration"}
# UFW keeps the old files under a name with the second in it, and refuses a second reset within it.
RESET = "rm -f /etc/ufw/*.rules.2*; ufw --force reset >/dev/null"
GUARD = """
table inet daffathan_guard {
  chain forward {
    type filter hook forward priority -10; policy accept;
    ct state established,related accept
    iifname "eth0" counter drop
  }
}
"""


def audit(host: Host, **options: Any) -> dict[str, Any]:
    """The result of the module on a host; `failed` tells whether it failed."""
    return answer(Run("ansible", *module(host, "port_audit", {"expected": [SSH], **options}), "--become").result())


def ids(result: dict[str, Any]) -> set[str]:
    return {finding["id"] for finding in result["findings"]}


def reachable(result: dict[str, Any], family: str, proto: str = "tcp") -> set[int]:
    return {item["port"] for item in result["reachable"] if (item["family"], item["proto"]) == (family, proto)}


def shell(host: Host, script: str) -> None:
    host.run("bash", "-euc", script)


def publish(host: Host, name: str, *ports: str, restart: str = "no") -> None:
    options = [word for port in ports for word in ("--publish", port)]
    host.run("docker", "run", "--detach", "--name", name, "--restart", restart, *options, IMAGE, *SERVE)


def listen(host: Host, port: int, address: str) -> None:
    unit = f"--unit=test-{port}"
    host.run("systemd-run", unit, "--collect", "python3", "-m", "http.server", str(port), "--bind", address)
    shell(host, f"for i in $(seq 50); do ss -Htln 'sport = :{port}' | grep -q . && exit; sleep 0.1; done; exit 1")


def firewall(host: Host, *rules: str) -> None:
    shell(host, "; ".join(["ufw allow 22/tcp", *(f"ufw {rule}" for rule in rules), "ufw --force enable"]))


def guard(host: Host) -> None:
    shell(host, f"nft -f - <<'END'\n{GUARD}\nEND")


def mend(host: Host) -> None:
    """An empty packet filter: ufw itself does not put back jumps that are missing."""
    shell(host, f"{RESET}; /usr/lib/ufw/ufw-init flush-all; systemctl restart docker")


def install_docker(host: Host, *packages: str) -> None:
    """Docker as the distribution has it, and the image that the containers of these tests run."""
    shell(
        host,
        "apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "
        f"docker.io docker-cli iptables nftables {' '.join(packages)} >/dev/null; docker pull -q {IMAGE}",
    )


def clean(host: Host) -> None:
    """No container, listener, guard table, rule set by hand and UFW any more."""
    shell(
        host,
        "docker ps -aq | xargs -r docker rm -f >/dev/null; systemctl stop 'test-*' || true; "
        f"{RESET}; "
        "nft delete table inet daffathan_guard 2>/dev/null || true; nft delete table ip handmade 2>/dev/null || true",
    )
