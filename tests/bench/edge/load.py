# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load of h2load on one port of this machine, and what each request took."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.lab import PROJECT

H2LOAD = PROJECT / ".build" / "bench" / "h2load"
SITE = "labs.example.com"
# As many requests are under way in both: over HTTP/2 some share a connection.
CLIENTS = {"http1": (32, 1), "http2": (4, 8)}
# Seconds, before what is measured.
WARM_UP = 1
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Run:
    """Seconds that each request took in turn, and requests in a second."""

    latencies: list[float]
    rate: float


def load(port: int, protocol: str, seconds: int, *, rate: int | None = None, alone: bool = False) -> Run:
    """All that is answered in so many seconds after some to warm up.

    :param rate: requests in a second, however fast they are answered; else the next follows the answer
    :param alone: one request at a time
    """
    clients, streams = (1, 1) if alone else CLIENTS[protocol]
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "requests")
        argv = [str(H2LOAD), f"--clients={clients}", f"--max-concurrent-streams={streams}", f"--duration={seconds}"]
        argv += [f"--warm-up-time={WARM_UP}", f"--log-file={log}", f"--connect-to=127.0.0.1:{port}"]
        argv += [f"--rps={rate / clients:g}"] if rate is not None else []
        argv += ["--h1"] if protocol == "http1" else []
        argv.append(f"https://{SITE}/api/x")
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60 + seconds, check=False)
        said = done.stdout + done.stderr
        rows = [line.split("\t") for line in log.read_text().splitlines()]
    measured = re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", said)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout\n.* (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
    if done.returncode or measured is None or failed is None or any(map(int, failed.groups())):
        raise RuntimeError(f"{' '.join(argv)}:\n{said[-2000:]}")
    # Of what began while it warmed up h2load has forgotten the status.
    latencies = [int(took) / 1e6 for _start, status, took, *_rest in rows if status == "200"]
    return Run(latencies, float(measured[1]))


def processor_seconds(pid: int) -> float:
    """What a process and its children have used so far."""
    used = 0
    for each in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / _TICKS
