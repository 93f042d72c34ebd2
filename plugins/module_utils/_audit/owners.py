# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Who holds a socket."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import clean

_CONTAINER = re.compile(r"(?:docker[-/]|libpod-|cri-containerd-|/)([0-9a-f]{64})(?:\.scope)?(?:/|$)", re.MULTILINE)
# Where the second hierarchy of control groups is, alone or beside the first.
_GROUPS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
# That of processes nobody put into another one.
_ROOT_GROUP = 1
_SOCKET = "socket:["


@dataclass(frozen=True)
class Owner:
    process: str = ""
    pid: int = 0
    container: str = ""

    @property
    def text(self) -> str:
        return f"{self.process} (pid {self.pid})" if self.pid else self.process


def container_of(cgroup: str) -> str:
    """The container id in /proc/PID/cgroup; empty for a process of the host."""
    match = _CONTAINER.search(cgroup)
    return match[1] if match else ""


def _read(path: str, limit: int = 65536) -> str:
    with open(path, encoding="utf-8", errors="replace") as handle:
        return handle.read(limit)


class Owners:
    """Who holds a socket, found for all of them on the first question.

    A process can hold tens of thousands of files. So the processes of a socket's control group are looked at first,
    and the others only for what was not found there.

    :param groups: the control groups of the sockets that will be asked for; 0 where the kernel does not tell.
    """

    def __init__(self, groups: Mapping[int, int] | None = None, root: str = "/proc", mounts: Iterable[str] = _GROUPS):
        self.groups = dict(groups or {})
        self.root = root
        self.mounts = tuple(mounts)
        self.complete = True
        self._pids: dict[int, int] = {}
        self._wanted: set[int] = set()
        self._processes: dict[int, Owner] = {}
        self._walked = False

    def of(self, inode: int) -> Owner:
        """The owner, "[kernel]" for a socket no process holds, "" where that cannot be seen."""
        if inode and inode not in self._pids and not self._walked:
            self._find({inode} if self._wanted else {inode, *self.groups})
        pid = self._pids.get(inode, 0)
        if not pid:
            return Owner("[kernel]" if self.complete and inode else "")
        if pid not in self._processes:
            process = container = ""
            with contextlib.suppress(OSError):
                process = clean(_read(f"{self.root}/{pid}/comm").strip(), 32)
                container = container_of(_read(f"{self.root}/{pid}/cgroup"))
            self._processes[pid] = Owner(process, pid, container)
        return self._processes[pid]

    def _find(self, inodes: set[int]) -> None:
        self._wanted |= inodes
        seen: set[int] = set()
        for pid in self._likely({self.groups.get(inode, 0) for inode in inodes} - {0, _ROOT_GROUP}):
            seen.add(pid)
            self._look(pid)
        if self._wanted <= self._pids.keys():
            return
        self._walked = True
        for pid in sorted(int(name) for name in os.listdir(self.root) if name.isdigit()):
            if pid not in seen:
                self._look(pid)

    def _likely(self, groups: set[int]) -> Iterator[int]:
        """The processes of some control groups, which the kernel names by the inodes of their directories."""
        mount = next((path for path in self.mounts if os.path.exists(f"{path}/cgroup.procs")), "")
        waiting = [mount] if mount else []
        while waiting and groups:
            path = waiting.pop()
            with contextlib.suppress(OSError), os.scandir(path) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        continue
                    waiting.append(entry.path)
                    if entry.inode() in groups:
                        groups.discard(entry.inode())
                        yield from (int(word) for word in _read(f"{entry.path}/cgroup.procs").split() if word != "0")

    def _look(self, pid: int) -> None:
        """The sockets of one process."""
        try:
            directory = os.open(f"{self.root}/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY)
        except PermissionError:
            self.complete = False
            return
        except OSError:
            return
        try:
            for name in os.listdir(directory):
                with contextlib.suppress(OSError, ValueError):
                    target = os.readlink(name, dir_fd=directory)
                    if target.startswith(_SOCKET):
                        self._pids.setdefault(int(target[len(_SOCKET) : -1]), pid)
        except OSError:
            return
        finally:
            os.close(directory)
