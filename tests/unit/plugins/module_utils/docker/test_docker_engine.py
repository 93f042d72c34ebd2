# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work on many containers leaves a core to the requests; waiting for them takes no longer than for the slowest."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._docker import engine as engine_of
from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import Engine


class Crowd:
    """Containers whose calls count how many of them are under way. No engine: its own pace would hide the count."""

    def __init__(self, count: int, wanted: int) -> None:
        self.most = self.done = self._now = 0
        self._wanted = wanted
        self._reached = threading.Event()
        self._lock = threading.Lock()
        self._together = threading.Barrier(count)
        self.containers = [self] * count

    def update(self, **_arguments: Any) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            if self._now == self._wanted:
                self._reached.set()
        self._reached.wait(timeout=20)
        # For one that should not have begun.
        time.sleep(0.02)
        with self._lock:
            self._now -= 1
            self.done += 1

    def stop(self, **_arguments: Any) -> None:
        self._together.wait(timeout=20)
        with self._lock:
            self.done += 1


@pytest.mark.parametrize(("cores", "most"), [(1, 1), (2, 1), (4, 3), (64, 6), (None, 1)])
def test_a_core_is_left_to_the_requests(monkeypatch: pytest.MonkeyPatch, cores: int | None, most: int) -> None:
    monkeypatch.setattr(engine_of.os, "cpu_count", lambda: cores)
    crowd = Crowd(6, most)
    Engine.each(object.__new__(Engine), crowd.containers, "update")
    assert (crowd.done, crowd.most) == (6, most)


@pytest.mark.parametrize(("cores", "pauses"), [(1, 5), (2, 5), (4, 1), (64, 0)])
def test_nobody_waits_for_the_end_of_another_but_ends_do_not_coincide(
    monkeypatch: pytest.MonkeyPatch, cores: int, pauses: int
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(engine_of.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(engine_of.time, "sleep", slept.append)
    crowd = Crowd(6, 6)
    Engine.each(object.__new__(Engine), crowd.containers, "stop")
    assert (crowd.done, slept) == (6, [engine_of.END_PAUSE] * pauses)
