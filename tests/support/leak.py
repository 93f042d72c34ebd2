# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a denied port opens for a moment: connections from the neighbour while something happens on a VPS."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.support.lab import Host, attacker

REMOTE = Path(__file__).parent / "remote"
# Of `denied` and `allowed`: how many connections were begun (`sent`), how many came about (`connected`).
Counts = dict[str, dict[str, int]]


def listen(host: Host, *ports: int) -> None:
    """Accept connections on these ports of the VPS, over IPv4 and IPv6, until it is gone."""
    source = (REMOTE / "listen.py").read_text()
    host.run("systemd-run", "--unit=test-listen", "--collect", "python3", "-c", source, *map(str, ports))


@contextmanager
def probe(address: str, *, denied: int, allowed: int, seconds: int = 60) -> Iterator[Future[Counts]]:
    """Connections from the neighbour for as long as the block runs; `seconds` bounds a block that never ends."""
    stop = f"/tmp/probe-{time.monotonic_ns()}"
    source = (REMOTE / "probe.py").read_text()

    def run() -> Counts:
        return json.loads(
            attacker(
                "python3", "-c", source, address, str(denied), str(allowed), str(seconds), stop, timeout=seconds + 60
            )
        )

    with ThreadPoolExecutor() as pool:
        counts = pool.submit(run)
        time.sleep(1)
        try:
            yield counts
        finally:
            attacker("touch", stop)
            counts.result()
            attacker("rm", stop)
