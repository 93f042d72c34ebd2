# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Questions that wait for others, asked side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Task(Generic[T]):
    """A call that runs while its caller does something else."""

    def __init__(self, action: Callable[[], T]) -> None:
        self._action = action
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value.append(self._action())
        except BaseException as error:  # pylint: disable=broad-exception-caught  # raised again by result()
            self._error = error

    def wait(self) -> None:
        """Until the call has ended, in whatever way."""
        self._thread.join()

    def result(self) -> T:
        """What the call returned; what it raised is raised here."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._value[0]


def results(tasks: Iterable[Task[T]]) -> list[T]:
    """What all of them returned. None runs any more when one of them raises: who forks must be alone."""
    known = list(tasks)
    for task in known:
        task.wait()
    return [task.result() for task in known]
