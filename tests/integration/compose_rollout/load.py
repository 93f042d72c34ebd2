# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open-loop load on the gateway's own socket, run on the VPS itself: standard library only, never a retry.

Usage: load.py SECONDS RATE; prints one JSON object. A late request is sent late, never left out.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

SOCKET = "/run/daffathan/gateway/public/http.sock"
HOST = "labs.example.test"
BODY = bytes(range(256)) * 32


class Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def request(number: int) -> tuple[str, str | None, str]:
    """Kind of the request, what was wrong with it, the version that answered."""
    if number % 20 == 0:
        kind, method, path, body = "slow", "GET", "/api/slow?seconds=1.5", None
    elif number % 3 == 0:
        kind, method, path, body = "post", "POST", "/api/echo", BODY
    else:
        kind, method, path, body = "get", "GET", "/api/version", None
    connection = Connection(HOST, timeout=20)
    try:
        connection.request(method, path, body=body, headers={"Host": HOST, "Connection": "close"})
        answer = connection.getresponse()
        content = answer.read()
        version = answer.headers.get("X-Version", "?")
        if answer.status != 200:
            return kind, f"status {answer.status}", version
        if kind == "post" and content != BODY:
            return kind, f"{len(content)} bytes instead of {len(BODY)}", version
        return kind, None, version
    except Exception as error:
        return kind, repr(error), "?"
    finally:
        connection.close()


def main() -> None:
    seconds, rate = float(sys.argv[1]), float(sys.argv[2])
    total: dict[str, int] = {}
    failed: dict[str, int] = {}
    versions: dict[str, int] = {}
    lock = threading.Lock()

    def one(number: int) -> None:
        kind, wrong, version = request(number)
        with lock:
            total[kind] = total.get(kind, 0) + 1
            versions[version] = versions.get(version, 0) + 1
            if wrong is not None:
                failed[f"{kind}: {wrong}"] = failed.get(f"{kind}: {wrong}", 0) + 1

    started = time.monotonic()
    with ThreadPoolExecutor(128) as pool:
        for number in range(int(seconds * rate)):
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
            pool.submit(one, number)
    print(json.dumps({"requests": total, "failed": failed, "versions": versions}))


main()
