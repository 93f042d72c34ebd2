# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The live audit of a crowded host, against reading the same from the command line.

The host is a lab VPS with 100 running containers in ten networks (half of their ports published on loopback, half on
all addresses), 500 listeners (TCP and UDP, IPv4 and IPv6), 15 000 established sockets, UFW with 30 rules, and the guard
table. `core_ms` is the median of one audit, reading and judging, within one Python process on the host: Ansible's own
start is left out. `core_cpu_ms` is the processor time of it and of the tools it starts, which other work on the machine
changes less. `cli_ratio` is the time of the command line divided by `core_ms`, in the same run and in turn: `ss
-Htulnp`, `docker ps -a`, `docker inspect` of each container, `iptables-save`, `ip6tables-save`, `nft -j list ruleset`;
nothing is judged there. For `cli_batch_ratio` one `docker inspect` is given all containers.

Then the static audit beside compose-lint and dclint, on compose files whose verdicts were written before any tool saw
them (`tests/unit/plugins/module_utils/audit/corpus`): how many of the `static_exposed` services each tool finds
(`..._recall`), and how many of those it names are exposed (`..._precision`). Each is started in the directory of a
project, as its documentation says, with the same variables. A service counts as named by its rules about ports and the
host's network (CL-0005, CL-0008; no-unbound-port-interfaces). Services that cannot be judged do not count.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from tests.bench import static_peers
from tests.support.containers import IMAGE, install_engine
from tests.support.lab import PROJECT, Host, inside, up

CONTAINERS, NETWORKS, LISTENERS, ESTABLISHED, RULES = 100, 10, 500, 15_000, 30
FIRST_PORT = 20_000
REPETITIONS = 15
REMOTE = Path(__file__).parent / "remote"
CODE = "/root/bench"
GUARD = """
table inet daffathan_guard {
  chain loopback {
    type filter hook prerouting priority -310; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 counter drop
  }
  chain forwarded {
    type filter hook forward priority -10; policy accept;
    ct state established,related accept
    iifname { "eth0" } counter drop
  }
}
"""


def ship(host: Host) -> None:
    """The collection's code and the scripts to the host."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        place = "ansible_collections/daffathan/platform/plugins/module_utils"
        archive.add(PROJECT / "plugins" / "module_utils", place, filter=_source)
        for name in ("crowd.py", "port_audit.py"):
            archive.add(REMOTE / name, name)
    host.run("mkdir", "-p", CODE)
    subprocess.run(inside(host.name, "tar", "-C", CODE, "-xf", "-"), input=held.getvalue(), check=True)


def _source(item: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in item.name else item


def populate(host: Host) -> None:
    """A bare host becomes the crowded one. Each step can be done again."""
    install_engine(host)
    host.run("docker", "pull", "--quiet", IMAGE)
    ship(host)
    for number in range(NETWORKS):
        host.run("sh", "-c", f"docker network inspect n{number} >/dev/null 2>&1 || docker network create n{number}")
    script = ["exists=$(docker ps -a --format '{{.Names}}')"]
    for number in range(CONTAINERS):
        address = ("127.0.0.1", "0.0.0.0")[number % 2]
        command = (
            *("docker", "run", "--detach", "--name", f"c{number}", "--network", f"n{number % NETWORKS}"),
            *("--publish", f"{address}:{10_000 + number}:3000", IMAGE, "sleep", "infinity"),
        )
        script.append(f'echo "$exists" | grep -qx c{number} || {" ".join(command)} >/dev/null')
    host.run("bash", "-euc", "\n".join(script), timeout=900)
    for name, *numbers in (("listeners", LISTENERS, FIRST_PORT), ("established", ESTABLISHED)):
        host.run("systemctl", "stop", f"bench-{name}.service", check=False)
        host.run(
            *("systemd-run", f"--unit=bench-{name}", "--collect", "--property=Type=notify"),
            *("--property=LimitNOFILE=20000", "python3", f"{CODE}/crowd.py", name, *map(str, numbers)),
        )
    rules = ["allow 22/tcp", *(f"allow {FIRST_PORT + 4 * n}/tcp" for n in range(10))]
    rules += [f"allow from 192.0.2.0/24 to any port {9000 + n}" for n in range(RULES - len(rules))]
    host.run("bash", "-euc", "\n".join([*(f"ufw {rule} >/dev/null" for rule in rules), "ufw --force enable"]))
    host.run(
        "bash", "-euc", f"nft delete table inet daffathan_guard 2>/dev/null || true; nft -f - <<'END'\n{GUARD}\nEND"
    )


def measure(host: Host, repetitions: int = REPETITIONS) -> dict[str, Any]:
    ship(host)
    argv = ("python3", f"{CODE}/port_audit.py", CODE, str(repetitions))
    return dict(json.loads(host.run(*argv, timeout=1800)))


def live() -> dict[str, float | int | str]:
    host = up("bench-audit")
    try:
        populate(host)
        found = measure(host)
    finally:
        host.down()
    counts = {"published-port-blocked": CONTAINERS // 2, "listener-behind-firewall": LISTENERS - 10}
    reached = {"22/tcp", *(f"{FIRST_PORT + 4 * n}/tcp" for n in range(10))}
    if found["reachable"] != sorted(reached) or any(found["findings"].get(key, 0) < n for key, n in counts.items()):
        raise RuntimeError(f"The audit did not find what is there: {found}")
    medians = found["medians"]
    return {
        "core_ms": round(medians["core"] * 1000, 1),
        "core_cpu_ms": round(medians["cpu"] * 1000, 1),
        "cli_ratio": round(medians["single"] / medians["core"], 1),
        "cli_batch_ratio": round(medians["batch"] / medians["core"], 1),
    }


def run() -> dict[str, float | int | str]:
    return {**live(), **static_peers.figures()}
