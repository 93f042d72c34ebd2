# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kill -9 the rollout of an app at a line of its journal, or hold it there. Runs on the VPS.

Usage: kill_at_line.py APP LINE after|next|SECONDS|hold

LINE is the number of a line of the run, 0 for its begin, or EVENT:STEP for the first line of that kind. A lease on the
journal has the kernel stop whoever opens it for writing, in the middle of that system call, and tell us. So the rollout
is left as it is and dies at the line itself: `after`, as soon as the line is on the disk; `next`, when all that follows
is done and the next line is not written; or so many SECONDS behind the line. `hold` has it wait before the next line
until this process ends.

Prints `watching`, then {"lines": [...]} with all lines of the run at that time; nothing when the run ended before.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time

app, wanted, when = sys.argv[1:4]
directory = f"/var/lib/daffathan/apps/{app}"
DEADLINE = time.monotonic() + 180
# Seconds between looks at what takes some microseconds.
PAUSE = 0.00002


def holder() -> int | None:
    """The process that holds the app's lock, by the inode of its open file."""
    try:
        inode = str(os.stat(f"{directory}/lock").st_ino)
    except FileNotFoundError:
        return None
    with open("/proc/locks") as handle:
        for line in handle:
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
                return int(fields[4])
    return None


def lease() -> None:
    """Taken as soon as nobody has the journal open for writing: before it is opened again."""
    while time.monotonic() < DEADLINE:
        try:
            fcntl.fcntl(journal, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            return
        except BlockingIOError:
            pass


def opened() -> bool:
    """True when a line is about to be written, False when the run has ended."""
    seen = False
    while time.monotonic() < DEADLINE:
        if signal.sigtimedwait({signal.SIGIO}, 0.1):
            return True
        running = holder() is not None
        if (seen or lines()) and not running:
            return False
        seen = seen or running
    return False


def lines() -> list[dict[str, object]]:
    with open(f"{directory}/journal.ndjson") as handle:
        handle.seek(start)
        return [json.loads(line) for line in handle]


def reached() -> bool:
    """Whether the line is written."""
    if wanted.isdigit():
        return len(lines()) >= int(wanted)
    return wanted in [f"{line['event']}:{line['step']}" for line in lines()]


def tell() -> None:
    print(json.dumps({"lines": lines()}), flush=True)


def end() -> None:
    pid = holder()
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        tell()


# Between two lines there is little time to take the lease again.
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
# The first run of an app has none yet.
os.makedirs(directory, mode=0o700, exist_ok=True)
journal = os.open(f"{directory}/journal.ndjson", os.O_RDONLY | os.O_CREAT, 0o600)
start = os.fstat(journal).st_size
lease()
print("watching", flush=True)
while opened():
    if when in ("next", "hold") and reached():
        if when == "next":
            end()
        else:
            tell()
            sys.stdin.read()
        break
    size = os.fstat(journal).st_size
    fcntl.fcntl(journal, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    while os.fstat(journal).st_size == size and time.monotonic() < DEADLINE:
        time.sleep(PAUSE)
    lease()
    if when not in ("next", "hold") and reached():
        time.sleep(0 if when == "after" else float(when))
        end()
        break
