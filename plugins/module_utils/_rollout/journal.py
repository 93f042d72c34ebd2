# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""One fsynced line before and one after every side effect, and how long each phase took."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.progress import Progress

# A journal of this size is put aside, once: enough for some hundred deploys.
ROTATE_BYTES = 1_000_000


class Journal:
    """Appends to `path`; `path` None keeps the lines in memory only (a dry run, a test)."""

    def __init__(
        self,
        path: str | None,
        on_line: Callable[[dict[str, Any]], None] | None = None,
        redact: Callable[[str], str] = str,
        progress: Progress | None = None,
    ) -> None:
        self.path = path
        self.redact = redact
        self.progress = progress or Progress()
        self.run = uuid.uuid4().hex[:8]
        self.timings: dict[str, int] = {}
        self.lines: list[dict[str, Any]] = []
        # Why lines are missing in the file.
        self.lost: str | None = None
        self._on_line = on_line

    def write(self, event: str, step: str, **detail: Any) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        safe = {key: self.redact(value) if isinstance(value, str) else value for key, value in detail.items()}
        line = {"at": now, "run": self.run, "event": event, "step": step, **safe}
        self.lines.append(line)
        if self.path is not None:
            try:
                _append(self.path, json.dumps(line, sort_keys=True) + "\n")
            except OSError as error:
                # It is read by people only: on a full disk, what has to be undone is undone without it.
                self.lost = str(error)
        if self._on_line is not None:
            self._on_line(line)

    @contextlib.contextmanager
    def step(self, name: str, **detail: Any) -> Iterator[dict[str, Any]]:
        """Bracket a phase. What the body puts into the mapping it gets is written with the closing line."""
        self.write("begin", name, **detail)
        before = self.timings.get(name, 0)
        outcome: dict[str, Any] = {}
        event = "fail"
        try:
            with self.phase(name, **detail):
                yield outcome
            event = "done"
        finally:
            self.write(event, name, ms=self.timings[name] - before, **detail, **outcome)

    @contextlib.contextmanager
    def phase(self, name: str, **detail: Any) -> Iterator[None]:
        """Time and show a phase that needs no lines: it has no effect."""
        begun = self.progress.elapsed
        try:
            with self.progress.phase(name, detail):
                yield
        finally:
            self.timings[name] = self.timings.get(name, 0) + self.progress.elapsed - begun


def _append(path: str, text: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if os.stat(path).st_size > ROTATE_BYTES:
            os.replace(path, f"{path}.1")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        data = text.encode()
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, data) < len(data):
            # Half a line would spoil the next one.
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
