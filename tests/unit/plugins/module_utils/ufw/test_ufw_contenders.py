# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who waits for UFW's lock: in a sample of /proc/locks, and in this kernel's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from ansible_collections.daffathan.platform.plugins.module_utils._common.files import FileLock
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import contenders

LOCKS = """\
1: POSIX  ADVISORY  WRITE 400 00:1a:567 0 EOF
1: -> POSIX  ADVISORY  WRITE 401 00:1a:567 0 EOF
1: -> POSIX  ADVISORY  WRITE 402 00:1a:567 0 EOF
2: FLOCK  ADVISORY  WRITE 403 00:1a:5678 0 EOF
2: -> FLOCK  ADVISORY  WRITE 404 00:1a:5678 0 EOF
3: OFDLCK ADVISORY  READ -1 00:05:567 0 0
4: LEASE  ACTIVE    READ 405 fe:01:567 0 EOF
"""
BLOCKED = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'w'), fcntl.LOCK_EX)"


def test_those_that_wait_for_the_file_are_found() -> None:
    assert contenders.parse(LOCKS, "00:1a:567") == [401, 402]
    assert contenders.parse("", "00:1a:567") == []


def test_a_process_that_waits_is_seen_until_it_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with FileLock(str(path), timeout=1, posix=True):
        assert contenders.waiting(str(path)) == []
        child = subprocess.Popen([sys.executable, "-c", BLOCKED, str(path)])
        deadline = time.monotonic() + 20
        while contenders.waiting(str(path)) != [child.pid]:
            assert time.monotonic() < deadline, "the process never waited for the lock"
            time.sleep(0.05)
        contenders.outlast([child.pid], 0.2)
        assert child.poll() is None
    # As init does in the lab: who has ended is no longer listed once somebody asked for its end.
    assert child.wait(20) == 0
    contenders.outlast([child.pid, os.getpid()], 0.2)
    assert contenders.waiting(str(path)) == []
