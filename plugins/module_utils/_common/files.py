# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Crash-safe files and a lock that dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from types import TracebackType


class LockTimeout(Exception):
    """The lock was held by somebody else for the whole time allowed."""


def read_text(path: str) -> str | None:
    """The content of a text file, or None where there is none."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


def fsync_directory(path: str) -> None:
    """Make a rename in this directory survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: str, data: str | bytes, *, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Replace a file so that every reader, and a host that loses power, sees the old or the new content whole.

    Two writers of one file need a lock between them: the new content waits under a fixed name, so that what a killed
    writer left there is taken over by the next.

    :param mode: permission bits, for example 0o600; set before the content can be read.
    :param uid: numeric owner, -1 keeps the writer's.
    """
    directory, name = os.path.split(path)
    directory = directory or "."
    temporary = os.path.join(directory, f".{name}.new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            os.fchmod(handle.fileno(), mode)
            os.fchown(handle.fileno(), uid, gid)
            handle.write(data.encode("utf-8") if isinstance(data, str) else data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    fsync_directory(directory)


class FileLock:
    """An exclusive lock on a file; the kernel releases it when the holder dies, whatever the way.

    :param timeout: seconds to wait for another holder before LockTimeout.
    :param posix: use a POSIX record lock (lockf), as ufw does on its own lock file, instead of flock.
    :param holder: who holds it, written into the file for the message of those that wait in vain.
    """

    def __init__(self, path: str, *, timeout: float, posix: bool = False, holder: str = "") -> None:
        self.path = path
        self.timeout = timeout
        self.holder = holder
        self._take = fcntl.lockf if posix else fcntl.flock
        self._descriptor = -1

    @property
    def descriptor(self) -> int:
        """A process that has it open holds the flock as well, also when this one is gone."""
        return self._descriptor

    def __enter__(self) -> FileLock:
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                # Who held it removed the directory as well.
                os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
                continue
            try:
                self._wait(deadline)
                if self._is_current():
                    self._note()
                    return self
            except BaseException:
                os.close(self._descriptor)
                raise
            # Who held it removed the file: the next one to come would lock another.
            os.close(self._descriptor)

    def _wait(self, deadline: float) -> None:
        while True:
            try:
                self._take(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if time.monotonic() >= deadline:
                    said = os.pread(self._descriptor, 1000, 0).decode("utf-8", "replace").strip()
                    raise LockTimeout(
                        f"{self.path} is still locked by {said or 'another process'} after {self.timeout} s"
                    ) from None
                # Neither flock nor lockf can wait with a deadline without a signal.
                time.sleep(0.05)

    def _is_current(self) -> bool:
        """Whether the file that is locked is the one that others find."""
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        return False

    def _note(self) -> None:
        if self.holder:
            # A full disk keeps nobody from working.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, self.holder.encode(), 0)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
