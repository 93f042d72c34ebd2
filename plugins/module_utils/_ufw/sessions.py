# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""SSH sessions of a host, from the text of files in /proc.

A session is an established TCP connection that a process holds and that came in: its local port is one that listens.
Ours is held by an ancestor of this process, whatever the program is called. Where no ancestor holds one (the module
was started by a timer, or runs detached), nobody can tell which session it is for, and each of them is taken for ours.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._ufw.guard import Peer, parse_connection, peer_of

DAEMONS = ("sshd", "sshd-session", "dropbear")
_ESTABLISHED, _LISTEN = "01", "0A"


@dataclass(frozen=True)
class Process:
    name: str
    parent: int


@dataclass(frozen=True)
class Socket:
    """A TCP socket; the addresses are plain, those of IPv4 in IPv6 clothes included."""

    inode: int
    local: str
    port: int
    remote: str
    listens: bool


@dataclass(frozen=True)
class Holder:
    """What is known of a process that may hold a session."""

    inodes: frozenset[int] = frozenset()
    title: str = ""
    connection: str = ""
    children: bool = False


def parse_stat(text: str) -> Process | None:
    """The content of /proc/PID/stat; the name may hold anything, brackets and blanks too."""
    head, _bracket, rest = text.rpartition(")")
    fields = rest.split()
    if len(fields) < 2 or not fields[1].isdigit():
        return None
    return Process(head.partition("(")[2], int(fields[1]))


def parse_tcp(text: str) -> list[Socket]:
    """The established and listening sockets of /proc/net/tcp or tcp6."""
    found = []
    for fields in (line.split() for line in text.splitlines()[1:]):
        if len(fields) > 9 and fields[3] in (_ESTABLISHED, _LISTEN):
            (local, port), (remote, _port) = (_endpoint(field) for field in fields[1:3])
            found.append(Socket(int(fields[9]), local, port, remote, fields[3] == _LISTEN))
    return found


def _endpoint(field: str) -> tuple[str, int]:
    raw, _colon, port = field.partition(":")
    # Each word of the address is a number in the byte order of the machine.
    words = (int(raw[start : start + 8], 16) for start in range(0, len(raw), 8))
    address = ipaddress.ip_address(b"".join(struct.pack("=I", word) for word in words))
    return str(getattr(address, "ipv4_mapped", None) or address), int(port, 16)


def ancestors(processes: Mapping[int, Process], pid: int) -> list[int]:
    """A process and those it descends from, without the first of the host: that one listens for others."""
    found: list[int] = []
    while pid > 1 and pid in processes and pid not in found:
        found.append(pid)
        pid = processes[pid].parent
    return found


def is_daemon(name: str) -> bool:
    return name.strip() in DAEMONS


def daemons(processes: Mapping[int, Process]) -> list[int]:
    return [pid for pid, process in processes.items() if is_daemon(process.name)]


def find(
    processes: Mapping[int, Process],
    pid: int,
    holders: Mapping[int, Holder],
    sockets: Iterable[Socket],
    interfaces: Iterable[tuple[str, str]],
) -> tuple[list[Peer], list[Peer]]:
    """The peers of the session that a process runs in, and those of all other sessions.

    :param processes: the process, its ancestors and the daemons; `holders` is what is known of each.
    """
    interfaces = list(interfaces)
    by_inode = {socket.inode: socket for socket in sockets}
    own: dict[Peer, None] = {}
    for ancestor in ancestors(processes, pid):
        holder = holders.get(ancestor, Holder())
        said = parse_connection(holder.connection, interfaces)
        if said is not None:
            own[said] = None
        forks = processes[ancestor].name in DAEMONS
        own.update(dict.fromkeys(_peers(holder, by_inode, interfaces, forks=forks)))
    others: dict[Peer, None] = {}
    for daemon in daemons(processes):
        holder = holders.get(daemon, Holder())
        if _logged_in(processes[daemon], holder):
            others.update(dict.fromkeys(_peers(holder, by_inode, interfaces, forks=True)))
    if not own:
        return list(others), []
    return list(own), [peer for peer in others if peer not in own]


def _peers(
    holder: Holder, sockets: Mapping[int, Socket], interfaces: list[tuple[str, str]], *, forks: bool
) -> Iterator[Peer]:
    held = [sockets[inode] for inode in sorted(holder.inodes) if inode in sockets]
    listening = {socket.port for socket in sockets.values() if socket.listens}
    # A daemon that forks leaves listening to its parent: what a session listens on is a forwarded port.
    forwarded = {socket.port for socket in held if socket.listens} if forks else set()
    for socket in held:
        if not socket.listens and socket.port in listening - forwarded:
            yield peer_of(socket.remote, socket.local, socket.port, interfaces)


def _logged_in(process: Process, holder: Holder) -> bool:
    """Whether somebody is logged in: whoever guesses passwords has a connection too.

    sshd says so in its title, where `[priv]` and `[net]` stand until then; the others only start a shell.
    """
    if process.name == "dropbear":
        return holder.children
    return re.match(r"sshd(-session)?: [^\[]+$", holder.title) is not None
