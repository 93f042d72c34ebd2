# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on a VPS: asks an app through the gateway's public socket at a steady rate until a file is gone.

Arguments: host name, path, requests per second, every how many a request takes a second (0: none), the file, and a JSON
text to send, in which NUMBER is the number of the request (empty: nothing, by GET). Prints one JSON object: how often
each answer came, as "<status> <version>"; "lost" is a request without an answer.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import threading
import time
from collections import Counter

SOCKET = "/run/daffathan/gateway/public/http.sock"


class Gateway(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(SOCKET)


def ask(host: str, path: str, body: str, answers: Counter[str], lock: threading.Lock) -> None:
    try:
        connection = Gateway(host)
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
    answers: Counter[str] = Counter()
    lock = threading.Lock()
    threads, number, begun = [], 0, time.monotonic()
    while os.path.exists(flag):
        path = "/api/slow?seconds=1" if slow and number % slow == 0 else usual
        threads.append(
            threading.Thread(target=ask, args=(host, path, body.replace("NUMBER", str(number)), answers, lock))
        )
        threads[-1].start()
        number += 1
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
    for thread in threads:
        thread.join()
    print(json.dumps(answers))


main()
