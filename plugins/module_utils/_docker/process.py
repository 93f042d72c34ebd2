# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Processes of the host as /proc has them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """A process that cannot be confused with a later one of the same number."""

    pid: int
    started: str

    def alive(self) -> bool:
        fields = stat(self.pid)
        return fields is not None and fields[19] == self.started and fields[0] != "Z"

    def waits(self) -> bool:
        """Whether it has nothing to do at this moment."""
        fields = stat(self.pid)
        return fields is not None and fields[19] == self.started and fields[0] == "S"


def alive(processes: Collection[Process]) -> list[Process]:
    return [process for process in processes if process.alive()]


def process(pid: int) -> Process | None:
    fields = stat(pid)
    return None if fields is None else Process(pid, fields[19])


def stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on: state, parent, ..., start time at 19."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as handle:
            return handle.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def program(pid: int) -> str | None:
    """That of the program which it executes, its first 15 characters."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as handle:
            return handle.read().rstrip("\n")
    except (FileNotFoundError, ProcessLookupError):
        return None
