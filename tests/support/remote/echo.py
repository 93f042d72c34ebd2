# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Type a line into an SSH session every 20 ms, and read it back from the other end.

Runs on the neighbour host, until the stop file appears or the time is up.
Arguments: address, key, seconds, stop file. Prints JSON: how many lines came back (`echoed`), after how long the
slowest did (`slowest`, in seconds), and how often TCP had to send something again (`retransmitted`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

TICK = 0.02
SSH = (
    *("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"),
    *("-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
)


def main(address: str, key: str, seconds: float, stop: str) -> None:
    session = subprocess.Popen(
        [*SSH, "-i", key, f"root@{address}", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert session.stdin and session.stdout
    echoed, slowest = 0, 0.0
    # The first line waits for the login.
    session.stdin.write(b"\n")
    session.stdout.read(1)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not os.path.exists(stop):
        sent = time.monotonic()
        session.stdin.write(b"\n")
        if session.stdout.read(1) != b"\n":
            raise SystemExit("the session ended")
        echoed, slowest = echoed + 1, max(slowest, time.monotonic() - sent)
        time.sleep(TICK)
    peer = f"[{address}]" if ":" in address else address
    tcp = subprocess.run(
        ["ss", "-Htni", *f"state established dst {peer} dport = :22".split()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    again = sum(int(count) for count in re.findall(r"retrans:\d+/(\d+)", tcp))
    session.stdin.close()
    session.wait()
    print(json.dumps({"echoed": echoed, "slowest": round(slowest, 3), "retransmitted": again}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4])
