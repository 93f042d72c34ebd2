# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of an app, and its lock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import FileLock, LockTimeout
from ansible_collections.daffathan.platform.plugins.module_utils._docker import app_files


class Killed(BaseException):
    pass


def test_what_a_removal_finds_the_rest_by_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before any of its steps, it can be done again as long as there is anything but the lock."""
    monkeypatch.setattr(app_files, "APPS", str(tmp_path))
    for name in ("state.json", "lock", "key", "journal.ndjson", "secrets/db/PASSWORD", "releases/r1/meta.json"):
        path = tmp_path / "labs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    unlink, removed, dies_at = os.unlink, [], [0]

    def one(path: str, **options: int) -> None:
        removed.append(os.path.basename(path))
        if len(removed) in dies_at:
            raise Killed
        unlink(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "unlink", one)
    for number in (1, 2, 1, 2, 1):
        removed.clear()
        dies_at[0] = number
        with pytest.raises(Killed):
            app_files.erase("labs")
        assert app_files.known_apps() == ["labs"]
    removed.clear()
    dies_at.clear()
    app_files.erase("labs")
    assert removed[-2:] == ["state.json", "lock"]
    assert list(tmp_path.iterdir()) == []
    app_files.erase("labs")


RUN = """
import sys
from ansible_collections.daffathan.platform.plugins.module_utils._common import command
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import FileLock
with FileLock(sys.argv[1], timeout=0) as lock:
    print(flush=True)
    command.run(["cat", sys.argv[2]], pass_fds=[lock.descriptor])
"""


def test_the_lock_is_held_until_what_a_killed_run_started_has_ended(tmp_path: Path) -> None:
    lock, waits = str(tmp_path / "lock"), tmp_path / "waits"
    os.mkfifo(waits)
    argv = [sys.executable, "-c", RUN, lock, str(waits)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}) as run:
        assert run.stdout is not None and run.stdout.readline()
        # It can be opened when the command reads from it.
        with waits.open("w"):
            run.kill()
            run.wait()
            with pytest.raises(LockTimeout), FileLock(lock, timeout=0):
                pass
        with FileLock(lock, timeout=10):
            pass
