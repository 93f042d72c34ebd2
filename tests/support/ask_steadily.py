# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on a host of the lab: asks an app at a steady rate until a file is gone, for half an hour at most.

Arguments: host name, path, requests per second, every how many a request takes a second (0: none), the file, and a JSON
text to send, in which NUMBER is the number of the request (empty: nothing, by GET). Then the gateway's public socket is
asked; or, with an address and the certificate of an authority behind them, whoever serves HTTPS there. Prints one JSON
object: how often each answer came, as "<status> <version>"; "lost" is a request without an answer.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

# Seconds.
LONGEST = 1800
SOCKET = "/run/daffathan/gateway/public/http.sock"


class Gateway(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(SOCKET)


class Site(http.client.HTTPSConnection):
    """A site under an address that no name server knows."""

    def __init__(self, host: str, address: str, context: ssl.SSLContext) -> None:
        super().__init__(host, context=context)
        self.address, self.context = address, context

    def connect(self) -> None:
        self.sock = self.context.wrap_socket(
            socket.create_connection((self.address, self.port), 20), server_hostname=self.host
        )


def ask(
    connect: Callable[[], http.client.HTTPConnection], path: str, body: str, answers: Counter[str], lock: threading.Lock
) -> None:
    try:
        connection = connect()
        connection.request("POST" if body else "GET", path, body or None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        seen = f"{answer.status} {answer.getheader('X-Version')}"
    except (OSError, http.client.HTTPException) as error:
        seen = f"lost {error!r}"
    with lock:
        answers[seen] += 1


def main() -> None:
    host, usual, flag, body = *sys.argv[1:3], *sys.argv[5:7]
    rate, slow = float(sys.argv[3]), int(sys.argv[4])
    connect: Callable[[], http.client.HTTPConnection] = functools.partial(Gateway, host)
    if len(sys.argv) > 7:
        connect = functools.partial(Site, host, sys.argv[7], ssl.create_default_context(cafile=sys.argv[8]))
    answers: Counter[str] = Counter()
    lock = threading.Lock()
    threads, number, begun = [], 0, time.monotonic()
    while os.path.exists(flag) and time.monotonic() - begun < LONGEST:
        path = "/api/slow?seconds=1" if slow and number % slow == 0 else usual
        threads.append(
            threading.Thread(target=ask, args=(connect, path, body.replace("NUMBER", str(number)), answers, lock))
        )
        threads[-1].start()
        number += 1
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
    for thread in threads:
        thread.join()
    print(json.dumps(answers))


main()
