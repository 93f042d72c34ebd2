# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sockets in numbers: `crowd.py listeners COUNT FIRST_PORT` or `crowd.py established COUNT`.

Says so to systemd when all are there, and holds them until it is ended.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

# A quarter each; `::` takes IPv4 as well, unless the socket says otherwise.
KINDS = (
    (socket.AF_INET, socket.SOCK_STREAM, "0.0.0.0"),
    (socket.AF_INET6, socket.SOCK_STREAM, "::"),
    (socket.AF_INET, socket.SOCK_DGRAM, "0.0.0.0"),
    (socket.AF_INET6, socket.SOCK_DGRAM, "::"),
)


def listeners(count: int, first: int) -> list[socket.socket]:
    held = []
    for number in range(count):
        family, kind, address = KINDS[number % len(KINDS)]
        item = socket.socket(family, kind)
        if family == socket.AF_INET6:
            item.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, number // len(KINDS) % 2)
        item.bind((address, first + number))
        if kind == socket.SOCK_STREAM:
            item.listen()
        held.append(item)
    return held


def established(count: int) -> list[socket.socket]:
    """Both ends of every connection count. The server is closed afterwards."""
    held = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(128)
        for _number in range(count // 2):
            held.append(socket.create_connection(server.getsockname()))
            held.append(server.accept()[0])
    return held


def main(what: str, *numbers: str) -> None:
    values = tuple(map(int, numbers))
    held = listeners(*values) if what == "listeners" else established(*values)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    signal.pause()
    del held


main(*sys.argv[1:])
