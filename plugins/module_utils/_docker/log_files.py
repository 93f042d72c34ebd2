# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The files of the gateway's access log, read on over their rotation."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import BinaryIO, Generic, TypeVar

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.access_log import Lines, Reader
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import RolloutError

DIRECTORY = "/var/log/daffathan/gateway"
ACCESS_LOG = f"{DIRECTORY}/access.log"
ERROR_LOG = f"{DIRECTORY}/error.log"
# What is read at once.
PIECE = 256 * 1024

AnyReader = TypeVar("AnyReader", bound=Reader)


class _File:
    """One file, whatever name it has by now."""

    def __init__(self, handle: BinaryIO) -> None:
        self.handle = handle
        self.lines = Lines()
        self.identity = _identity(handle)

    def read(self) -> Iterator[list[bytes]]:
        """What was added, in pieces."""
        if os.fstat(self.handle.fileno()).st_size < self.handle.tell():
            # Somebody has emptied it.
            self.handle.seek(0)
            self.lines = Lines()
        while piece := self.handle.read(PIECE):
            yield self.lines.split(piece)

    def begin(self, reader: Reader, end: int, now: float) -> bool:
        """Go to where the reader's window begins; whether that is certain, or may be in an older file.

        :param end: the size of the file at `now`, or before
        """
        first, at, found = 0, end, False
        # In steps from the end: most windows have just begun.
        while at > 0 and not found:
            at = max(0, at - PIECE)
            self.handle.seek(at)
            if at:
                # The rest of a line.
                self.handle.readline()
            first = self.handle.tell()
            found = reader.past(self.handle.readline(), now)
        self.handle.seek(first)
        before = reader.begin(self._whole(end), now)
        self.handle.seek(first + before)
        return before > 0

    def _whole(self, end: int) -> Iterator[bytes]:
        """The whole lines from here on, up to a place."""
        while self.handle.tell() < end and (line := self.handle.readline()).endswith(b"\n"):
            yield line


class LogFiles(Generic[AnyReader]):
    """Gives the lines of the log to a reader: one window, each line once."""

    def __init__(self, reader: AnyReader, path: str = ACCESS_LOG) -> None:
        self.reader = reader
        self.path = path
        # From old to new.
        self._files: list[_File] = []
        self._begun = False

    def read(self, now: Callable[[], datetime]) -> AnyReader:
        """The reader, which has been given all that is written by now."""
        named = self._open()
        if self._begun:
            self._go_on(named)
        else:
            self._begin(named, now)
        for file in self._files:
            for lines in file.read():
                self.reader.feed(lines)
        # One that has lost its names was left by all workers when the next one was rotated at the latest.
        kept = {file.identity for file in named}
        self.close([file for file in self._files if file.identity not in kept])
        self._files = [file for file in self._files if file.identity in kept]
        return self.reader

    def _open(self) -> list[_File]:
        """The log and the one before it, from old to new."""
        found: dict[tuple[int, int], _File] = {}
        # In this order, so that none is missed that is renamed meanwhile.
        for path in (self.path, f"{self.path}.1"):
            with contextlib.suppress(FileNotFoundError):
                file = _File(open(path, "rb"))  # noqa: SIM115
                found.setdefault(file.identity, file)
        return list(found.values())[::-1]

    def _begin(self, named: list[_File], now: Callable[[], datetime]) -> None:
        if not named:
            raise RolloutError(
                f"gateway: there is no access log at {self.path}, so nobody knows how requests were answered. "
                "Run role daffathan.platform.gateway, which has the gateway write it."
            )
        ends = [file.handle.seek(0, os.SEEK_END) for file in named]
        # Behind that: a line that is written meanwhile is not one of the future.
        moment = now().timestamp()
        certain = False
        for file, end in reversed(list(zip(named, ends))):
            # Of an older file nothing counts then but what a worker writes that has not left it yet.
            certain = certain or file.begin(self.reader, end, moment)
        self._files, self._begun = named, True

    def _go_on(self, named: list[_File]) -> None:
        known = {file.identity for file in self._files}
        for file in named:
            if file.identity in known:
                file.handle.close()
            else:
                self._files.append(file)

    def close(self, files: Iterable[_File] | None = None) -> None:
        for file in self._files if files is None else files:
            file.handle.close()


def _identity(handle: BinaryIO) -> tuple[int, int]:
    status = os.fstat(handle.fileno())
    return status.st_dev, status.st_ino
