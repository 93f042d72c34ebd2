# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Waiting until nobody asks the containers of a release any more."""

from __future__ import annotations

import contextlib
import ipaddress
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._docker.process import Process, alive
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import LABEL, Release
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.progress import Tell, silent, undrained

ESTABLISHED = "01"
FAMILIES = {"tcp": "sockstat", "tcp6": "sockstat6"}
PAUSE = 0.1
# For so many seconds after the switch nobody looks, and the engine is not asked either: the gateway has just been
# reloaded, and the service needs the processor; most connections end by themselves meanwhile, each of which would make
# for another look.
# Together with the time that follows it is longer than any request the gateway took before the switch can be on its
# way without a connection to the app, and puts off the end of containers, which is work for the host as well.
SETTLE = 1.0
QUIET = 0.5
# An end and a begin at the same time leave the number of sockets as it was.
AGAIN = 2.0


class Connections:
    """Those from elsewhere to the containers of a release.

    The kernel finds them by a walk through the sockets of all containers and of the host, which takes a core for some
    10 ms per container and family of addresses. How many there are it knows: only another number makes it worth a walk.

    :param watched: name of the service, a process of the container, and port
    :param names: what the addresses are called that may hold a connection
    """

    def __init__(self, watched: Sequence[tuple[str, int, int]], names: Mapping[str, str]) -> None:
        self.watched, self.names = watched, names
        self.held: dict[str, list[str]] = {}
        self._sockets: list[int | None] = []
        self._looked: float | None = None

    def count(self, *, sure: bool = False) -> int:
        """How many there are. :param sure: look in any case"""
        now, sockets = time.monotonic(), [in_use(pid) for _service, pid, _port in self.watched]
        if sure or self._looked is None or now - self._looked >= AGAIN or None in sockets or sockets != self._sockets:
            self.held = {}
            for service, pid, port in self.watched:
                others = [self.names.get(other, other) for other in holders(pid, port)]
                self.held.setdefault(service, []).extend(others)
            # Of before the walk: what came or went during it makes for another one.
            self._sockets, self._looked = sockets, now
        return sum(map(len, self.held.values()))


def settle(workers: Collection[Process], since: float) -> None:
    """Wait until the old workers are gone, or nobody minds being looked at any more. :param since: the switch"""
    while alive(workers) and time.monotonic() - since < SETTLE:
        time.sleep(PAUSE)


def wait_drained(
    containers: Collection[Any],
    release: Release,
    workers: Collection[Process],
    names: Mapping[str, str],
    tell: Tell = silent,
    since: float | None = None,
) -> Mapping[str, Any]:
    """Wait until the old workers are gone, or no connection to the release is left for a while, or its time is over.

    :param names: what the addresses are called that may hold a connection
    :param since: the switch, as `time.monotonic` told it; None where this run saw none
    """
    started = time.monotonic()
    settled = SETTLE if since is None else SETTLE - (started - since)
    limit = max((service.drain_timeout for service in release.services.values()), default=0)
    watched = []
    for container in containers:
        service = release.services.get(container.labels.get(f"{LABEL}.service", ""))
        if service is not None and service.port is not None and container.attrs["State"]["Running"]:
            watched.append((container.labels[f"{LABEL}.service"], int(container.attrs["State"]["Pid"]), service.port))
    connections = Connections(watched, names)
    quiet_since: float | None = None
    while True:
        elapsed = time.monotonic() - started
        # After an interruption nobody knows the workers any more: then the connections decide alone.
        if workers and not alive(workers):
            how = "workers"
            break
        if elapsed >= limit:
            how = "timeout"
            break
        if elapsed >= settled:
            quiet = quiet_since is not None and elapsed - quiet_since >= QUIET
            if connections.count(sure=quiet):
                quiet_since = None
                tell(undrained, connections.held, limit - elapsed)
            elif quiet:
                how = "connections"
                break
            elif quiet_since is None:
                quiet_since = elapsed
        time.sleep(PAUSE)
    return {
        "by": how,
        "ms": round((time.monotonic() - started) * 1000),
        "open": 0 if how == "connections" else connections.count(sure=True),
        "forced": how == "timeout",
    }


def in_use(pid: int) -> int | None:
    """How many TCP sockets there are in the network namespace of a process, in any direction; None: it ended."""
    found = [count for count in (_in_use(pid, family) for family in FAMILIES) if count is not None]
    return sum(found) if found else None


def _in_use(pid: int, family: str) -> int | None:
    counter, path = f"{family.upper()}:", f"/proc/{pid}/net/{FAMILIES[family]}"
    # Where the host knows no IPv6 there is none of the second.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(path, encoding="ascii") as handle:
        for fields in map(str.split, handle):
            if fields[:2] == [counter, "inuse"]:
                return int(fields[2])
    return None


def holders(pid: int, port: int) -> list[str]:
    """The addresses behind the connections from elsewhere to a port in the network namespace of a process."""
    found = []
    # A walk goes through the sockets of all, also where there are none to be found.
    for family in [each for each in FAMILIES if _in_use(pid, each) != 0]:
        for local, remote, state in _sockets(f"/proc/{pid}/net/{family}"):
            if state == ESTABLISHED and int(local.rsplit(":", 1)[1], 16) == port and not _is_loopback(remote):
                found.append(_address(remote))
    return found


def _sockets(path: str) -> Iterator[tuple[str, str, str]]:
    try:
        with open(path, encoding="ascii") as handle:
            next(handle, None)
            for line in handle:
                fields = line.split()
                yield fields[1], fields[2], fields[3]
    except (FileNotFoundError, ProcessLookupError):
        return


def _address(remote: str) -> str:
    digits = remote.rpartition(":")[0]
    # The kernel writes each word in the byte order of the host.
    words = b"".join(bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8))
    address = ipaddress.ip_address(words)
    return str(getattr(address, "ipv4_mapped", None) or address)


def _is_loopback(remote: str) -> bool:
    address = remote.rsplit(":", 1)[0]
    # The kernel writes each word in the byte order of the host: 127.0.0.1 ends in 7F, mapped or not.
    return (address.endswith("7F") and len(address) in (8, 32)) or address == "0" * 24 + "01000000"
