# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a neighbour notices while something happens on a VPS: a denied port that opens, a session that stalls."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.lab import Host, attacker

REMOTE = Path(__file__).parent / "remote"
# Of `denied` and `allowed`: how many connections were begun (`sent`), how many came about (`connected`).
Counts = dict[str, dict[str, int]]


def listen(host: Host, *ports: int, unit: str = "test-listen") -> None:
    """Accept connections on these ports of the VPS, over IPv4 and IPv6, until it is gone."""
    source = (REMOTE / "listen.py").read_text()
    notified = ("--property", "Type=notify")
    host.run("systemd-run", f"--unit={unit}", *notified, "--collect", "python3", "-c", source, *map(str, ports))


def outcomes(wanted: list[tuple[str, str, int]]) -> list[str]:
    """What becomes of connections (source address, address, port) of the neighbour: see remote/connect.py."""
    source = (REMOTE / "connect.py").read_text()
    return list(json.loads(attacker("python3", "-c", source, json.dumps(wanted))))


def reaches(address: str, *ports: int) -> bool:
    """Whether the neighbour can connect to all of the ports."""
    return set(outcomes([("", address, port) for port in ports])) == {"connected"}


def reaches_none(address: str, *ports: int) -> bool:
    return "connected" not in outcomes([("", address, port) for port in ports])


@contextmanager
def probe(address: str, *, denied: int, allowed: int, seconds: int = 60) -> Iterator[Future[Counts]]:
    """Connections from the neighbour for as long as the block runs; `seconds` bounds a block that never ends."""
    with meanwhile("probe.py", address, str(denied), str(allowed), seconds=seconds) as counts:
        yield counts


@contextmanager
def session(host: Host, *, seconds: int = 60) -> Iterator[Future[dict[str, float]]]:
    """An SSH session from the neighbour that is typed into for as long as the block runs; see remote/echo.py."""
    key = "/tmp/session-key"
    attacker("sh", "-c", f"test -e {key} || ssh-keygen -q -t ed25519 -N '' -f {key}")
    public = attacker("cat", f"{key}.pub").strip()
    host.run("sh", "-c", f"mkdir -p -m 700 /root/.ssh; echo '{public}' >> /root/.ssh/authorized_keys")
    with meanwhile("echo.py", host.address, key, seconds=seconds) as result:
        yield result
    host.run("sed", "-i", f"\\|{public}|d", "/root/.ssh/authorized_keys")


@contextmanager
def meanwhile(script: str, *arguments: str, seconds: int) -> Iterator[Future[Any]]:
    """Run a script of remote/ on the neighbour for as long as the block runs; its last arguments bound it."""
    stop = f"/tmp/stop-{time.monotonic_ns()}"
    argv = ("python3", "-c", (REMOTE / script).read_text(), *arguments, str(seconds), stop)
    with ThreadPoolExecutor() as pool:
        result = pool.submit(lambda: json.loads(attacker(*argv, timeout=seconds + 60)))
        time.sleep(1)
        try:
            yield result
        finally:
            attacker("touch", stop)
            result.result()
            attacker("rm", stop)
