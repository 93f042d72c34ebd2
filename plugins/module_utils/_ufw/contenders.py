# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The programs that wait for UFW's lock.

`ufw` reads the rules before it asks for the lock (`/usr/sbin/ufw` of 0.36.2 makes its UFWFrontend first), so what waits
for it while a policy is written will then write the rules of before, and the policy is lost from the files.
"""

from __future__ import annotations

import os
import time

PAUSE = 0.05


def parse(locks: str, file: str) -> list[int]:
    """The processes of /proc/locks that wait for a file.

    :param locks: the text, as proc_locks(5) describes it: `1: -> POSIX  ADVISORY  WRITE 1234 00:1a:567 0 EOF`.
    :param file: major and minor number of the device in hexadecimal, and the inode, as they stand there.
    """
    rows = (line.split() for line in locks.splitlines())
    return [int(row[5]) for row in rows if len(row) == 9 and row[1] == "->" and row[6] == file]


def waiting(path: str) -> list[int]:
    """The processes that wait in the kernel for the lock on the file."""
    status = os.stat(path)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with open("/proc/locks", encoding="ascii") as handle:
        return parse(handle.read(), file)


def outlast(processes: list[int], timeout: float) -> None:
    """Wait until the processes have ended, for `timeout` seconds at most."""
    deadline = time.monotonic() + timeout
    while any(os.path.exists(f"/proc/{pid}") for pid in processes) and time.monotonic() < deadline:
        time.sleep(PAUSE)
