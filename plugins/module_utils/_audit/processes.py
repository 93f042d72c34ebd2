# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""One pass over the process table: who runs, and in which network namespace."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """A process; an empty namespace is one that may not be looked at."""

    pid: int
    name: str
    namespace: str


def namespace(pid: int | str, root: str = "/proc") -> str:
    """The network namespace of a process, as the kernel names it; empty where that cannot be seen."""
    try:
        return os.readlink(f"{root}/{pid}/ns/net")
    except OSError:
        return ""


def scan(root: str = "/proc") -> list[Process]:
    """Every process. One that vanishes meanwhile is none."""
    found = []
    for name in os.listdir(root):
        if name.isdigit():
            # There are hundreds: the plain calls take a third of the time of a text file.
            try:
                handle = os.open(f"{root}/{name}/comm", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                command = os.read(handle, 64).decode("utf-8", "replace").strip()
            except OSError:
                continue
            finally:
                os.close(handle)
            found.append(Process(int(name), command, namespace(name, root)))
    return found


def arguments(pid: int, root: str = "/proc") -> list[str]:
    """The command line of a process, its own name first."""
    try:
        with open(f"{root}/{pid}/cmdline", "rb") as handle:
            data = handle.read(1 << 20)
    except OSError:
        return []
    return [word.decode("utf-8", "replace") for word in data.split(b"\0") if word]


def started(pid: int, root: str = "/proc") -> float:
    """When a process was started, in seconds since the epoch; 0 where that cannot be told."""
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        with open(f"{root}/{pid}/stat", encoding="utf-8", errors="replace") as handle:
            ticks = int(handle.read().rpartition(")")[2].split()[19])
        with open(f"{root}/stat", encoding="ascii") as handle:
            boot = next(int(line.split()[1]) for line in handle.read().splitlines() if line.startswith("btime "))
        return boot + ticks / os.sysconf("SC_CLK_TCK")
    return 0.0
