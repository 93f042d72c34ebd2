# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The queue before the gateway, and the lock that it stands beside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import FileLock, LockTimeout
from ansible_collections.daffathan.platform.plugins.module_utils._docker.process import Process, process
from ansible_collections.daffathan.platform.plugins.module_utils._docker.reloads import Queue

WORKERS = [Process(4, "44"), Process(5, "55")]


def test_wish_that_another_run_grants_is_answered(tmp_path: Path) -> None:
    leader, follower = Queue(str(tmp_path)), Queue(str(tmp_path))
    leader.ask("a", "text of a")
    ticket = follower.ask("b", "text of b")
    assert follower.answer("b", ticket) is None
    wishes = leader.claim("a")
    assert {app: wish.text for app, wish in wishes.items()} == {"b": "text of b"}
    leader.grant(wishes, WORKERS)
    assert follower.answer("b", ticket) == WORKERS
    follower.clear("b")
    leader.clear("a")
    assert os.listdir(tmp_path) == []


def test_answer_to_an_earlier_wish_is_none(tmp_path: Path) -> None:
    queue = Queue(str(tmp_path))
    queue.ask("b", "first")
    queue.grant(queue.claim("a"), WORKERS)
    assert queue.answer("b", queue.ask("b", None)) is None
    assert queue.claim("a")["b"].text is None


def test_wish_can_be_withdrawn_until_it_is_claimed(tmp_path: Path) -> None:
    queue = Queue(str(tmp_path))
    assert queue.withdraw("b")
    queue.ask("b", "text")
    assert queue.withdraw("b") and queue.claim("a") == {}
    queue.ask("b", "text")
    wishes = queue.claim("a")
    assert not queue.withdraw("b")
    queue.give_back(wishes)
    assert queue.withdraw("b")


def test_wish_of_a_run_that_was_killed_does_not_come_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    monkeypatch.setattr(os, "getpid", lambda: child.pid)
    queue.ask("b", "text")
    queue.ask("c", "text")
    assert set(queue.claim("c")) == {"b"}
    child.communicate(b"\n")
    assert process(child.pid) is None
    assert queue.claim("b") == {}


def test_who_waits_in_vain_is_told_by_whom(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    said = pytest.raises(LockTimeout, match=r"locked by process 4711 \(`state: present`\) after 0.1 s")
    with FileLock(path, timeout=0, holder="process 4711 (`state: present`)"), said:
        FileLock(path, timeout=0.1).__enter__()
    with FileLock(path, timeout=0, holder="me"):
        assert Path(path).read_text() == "me"


def test_lock_whose_file_was_removed_by_its_holder_is_taken_on_the_new_one(tmp_path: Path) -> None:
    directory = tmp_path / "app"
    directory.mkdir()
    path = directory / "lock"
    taken = threading.Event()

    def wait() -> None:
        with FileLock(str(path), timeout=20):
            taken.set()
            with pytest.raises(LockTimeout):
                FileLock(str(path), timeout=0).__enter__()

    with FileLock(str(path), timeout=0):
        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.2)
        path.unlink()
        directory.rmdir()
        assert not taken.is_set()
    waiter.join()
    assert taken.is_set() and path.exists()
