# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connect to a denied port every 3 ms, and to an allowed one every 15 ms, and count what should not happen.

Runs on the neighbour host, until the stop file appears or the time is up.
Arguments: address, denied port, allowed port, seconds, stop file. Prints JSON.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import sys
import time
from collections import deque

TICK = 0.003
# A SYN is sent again after 1 s; a port that opens for a moment answers the one that meets the moment.
PATIENCE = {"denied": 0.3, "allowed": 3.0}


def start(address: str, port: int) -> socket.socket:
    probe = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    probe.setblocking(False)
    # Closing with a reset leaves no TIME_WAIT behind, and so no lack of local ports.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if probe.connect_ex((address, port)) not in (0, errno.EINPROGRESS):
        raise SystemExit(f"cannot connect to {address} at all")
    return probe


def outcome(probe: socket.socket) -> str:
    _read, written, _failed = select.select([], [probe], [], 0)
    if not written:
        return "waiting"
    return "connected" if probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 else "refused"


def main(address: str, denied: int, allowed: int, seconds: float, stop: str) -> None:
    ports = {"denied": denied, "allowed": allowed}
    counts = {name: {"sent": 0, "connected": 0} for name in ports}
    pending: deque[tuple[str, float, socket.socket]] = deque()
    end = time.monotonic() + seconds
    tick = 0
    while time.monotonic() < end and not os.path.exists(stop):
        for name in ["denied"] + ["allowed"] * (tick % 5 == 0):
            pending.append((name, time.monotonic(), start(address, ports[name])))
            counts[name]["sent"] += 1
        tick += 1
        time.sleep(TICK)
        judge(pending, counts)
    while pending:
        time.sleep(TICK)
        judge(pending, counts)
    print(json.dumps(counts))


def judge(pending: deque[tuple[str, float, socket.socket]], counts: dict[str, dict[str, int]]) -> None:
    for _entry in range(len(pending)):
        name, since, probe = pending.popleft()
        state = outcome(probe)
        if state == "waiting" and time.monotonic() - since < PATIENCE[name]:
            pending.append((name, since, probe))
            continue
        counts[name]["connected"] += state == "connected"
        probe.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
