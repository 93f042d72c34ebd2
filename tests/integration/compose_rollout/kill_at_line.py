# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kill -9 the rollout of an app right after it wrote its n-th line of the journal. Runs on the VPS.

Usage: kill_at_line.py APP N; prints the line, or exits with status 1 when the run ended before.
"""

from __future__ import annotations

import os
import signal
import sys
import time

app, wanted = sys.argv[1], int(sys.argv[2])
directory = f"/var/lib/daffathan/apps/{app}"
journal = f"{directory}/journal.ndjson"


def holder() -> int | None:
    """The process that holds the app's lock, by the inode of its open file."""
    inode = str(os.stat(f"{directory}/lock").st_ino)
    with open("/proc/locks") as handle:
        for line in handle:
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
                return int(fields[4])
    return None


start = os.path.getsize(journal)
deadline = time.monotonic() + 90
while time.monotonic() < deadline:
    with open(journal) as handle:
        handle.seek(start)
        lines = handle.read().splitlines()
    if len(lines) >= wanted:
        pid = holder()
        if pid is None:
            sys.exit("the run ended before")
        os.kill(pid, signal.SIGKILL)
        print(lines[wanted - 1])
        sys.exit(0)
    time.sleep(0.001)
sys.exit("no such line")
