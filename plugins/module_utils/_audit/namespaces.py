# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What listens in other network namespaces of the host: those of containers, and those nobody speaks of."""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit import (
    interfaces,
    netlink,
    owners,
    processes,
    sctp,
    sockets,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.processes import Process
from ansible_collections.daffathan.platform.plugins.module_utils._audit.sockets import Listener

_CLONE_NEWNET = 0x40000000
# A host of containers that no engine speaks for may have thousands.
_MAXIMUM = 64
_NAMED = "/run/netns"


@dataclass(frozen=True)
class Namespace:
    """The sockets and the addresses of a network namespace."""

    listeners: tuple[Listener, ...]
    addresses: tuple[Address, ...]

    @property
    def open(self) -> list[Listener]:
        """What more than the namespace itself can reach."""
        outside = [address for address in self.addresses if not address.is_loopback]
        return [item for item in self.listeners if outside and not item.address.is_loopback]


@dataclass(frozen=True)
class Foreign:
    """A namespace that belongs to no container of a known engine, and whose it is."""

    owner: str
    space: Namespace


def _enter(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # os.setns came with Python 3.12.
        if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    finally:
        os.close(handle)


def _here() -> dict[str, Any]:
    """The sockets and addresses of the namespace this process is in, as JSON takes them."""
    found = [
        [item.proto, str(item.address), item.port, item.only_v6, item.interface, item.inode]
        for item in sockets.listeners() + sctp.listeners()
    ]
    return {
        "listeners": found,
        "addresses": [str(address) for group in interfaces.addresses().values() for address in group],
    }


def _parsed(answer: Mapping[str, Any]) -> Namespace:
    return Namespace(
        tuple(
            Listener(proto, ipaddress.ip_address(address), port, only_v6, interface, inode)
            for proto, address, port, only_v6, interface, inode in answer["listeners"]
        ),
        tuple(ipaddress.ip_address(text) for text in answer["addresses"]),
    )


def look(paths: Sequence[str]) -> dict[str, Namespace]:
    """The namespaces behind the paths; one that is gone, or may not be entered, is missing.

    A process of its own does it: one that has entered another namespace does not come back by itself.
    """
    if not paths:
        return {}
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Nothing may leave this branch: the child would go on as a second copy of the module.
        try:
            os.close(reader)
            answers = {}
            for path in paths:
                with contextlib.suppress(OSError, ValueError, sockets.SocketError, netlink.NetlinkError):
                    _enter(path)
                    answers[path] = _here()
            with os.fdopen(writer, "w") as pipe:
                json.dump(answers, pipe)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return {path: _parsed(answer) for path, answer in json.loads(text or "{}").items()}


def of_process(pid: int) -> str:
    return f"/proc/{pid}/ns/net"


def _container(pid: int) -> str | None:
    """The container a process is in, by its control group; empty for none, None where that cannot be seen."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as handle:
            return owners.container_of(handle.read(65536))
    except OSError:
        return None


def of_containers(table: Iterable[Process]) -> dict[str, str]:
    """The namespaces of containers: identity of a container -> path."""
    seen = {processes.namespace("self"), ""}
    found: dict[str, str] = {}
    for process in sorted(table, key=lambda item: item.pid):
        if process.namespace not in seen:
            seen.add(process.namespace)
            container = _container(process.pid)
            if container:
                found[container] = of_process(process.pid)
    return found


def foreign(table: Iterable[Process]) -> dict[str, str]:
    """Namespaces that are neither the host's nor a container's: path -> whose."""
    seen = {processes.namespace("self"), ""}
    found: dict[str, str] = {}
    for process in sorted(table, key=lambda item: item.pid):
        if process.namespace not in seen and len(found) < _MAXIMUM:
            seen.add(process.namespace)
            if _container(process.pid) == "":
                found[of_process(process.pid)] = f"{process.name} (pid {process.pid})"
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(_NAMED)):
            path = f"{_NAMED}/{name}"
            if f"net:[{os.stat(path).st_ino}]" not in seen and len(found) < _MAXIMUM:
                found[path] = f"the namespace {name}"
    return found
