# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kill -9 the rollout of an app right after it wrote its n-th line of the journal. Runs on the VPS.

Usage: kill_at_line.py APP N; prints `watching`, then the last line that was written; nothing when the run ended before.
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


def written() -> list[str]:
    with open(journal) as handle:
        handle.seek(start)
        return handle.read().splitlines()


start = os.path.getsize(journal)
print("watching")
deadline = time.monotonic() + 90
pid = None
while time.monotonic() < deadline:
    if pid is None:
        pid = holder()
    elif len(written()) >= wanted:
        os.kill(pid, signal.SIGSTOP)
        print(written()[-1])
        os.kill(pid, signal.SIGKILL)
        break
    elif holder() != pid:
        break
    time.sleep(0.001)
