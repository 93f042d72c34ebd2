# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Begin all the connections that are asked for at once, and tell what became of each.

Runs on the neighbour host. Argument: JSON list of [source address, address, port], where an empty source is any; prints
a JSON list of `connected`, `refused` or `silent`.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import sys
import time

# A SYN that was lost, rather than dropped, is sent again after 1 s.
PATIENCE = 1.6


def start(source: str, address: str, port: int) -> socket.socket:
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    connection.setblocking(False)
    if source:
        connection.bind((source, 0))
    if connection.connect_ex((address, port)) not in (0, errno.EINPROGRESS):
        raise SystemExit(f"cannot connect from {source} to {address} at all")
    return connection


def main(wanted: list[tuple[str, str, int]]) -> None:
    connections = [start(*each) for each in wanted]
    outcomes = ["silent"] * len(connections)
    end = time.monotonic() + PATIENCE
    while (waiting := [n for n, outcome in enumerate(outcomes) if outcome == "silent"]) and time.monotonic() < end:
        _read, written, _failed = select.select([], [connections[n] for n in waiting], [], end - time.monotonic())
        for connection in written:
            error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            outcomes[connections.index(connection)] = "refused" if error else "connected"
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
