# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accept TCP connections and echo UDP datagrams. Runs on a VPS, as a unit of Type=notify, or in a container there.

Arguments: PROTO,ADDRESS,PORT[,OPTION]. Without the option an IPv6 wildcard serves IPv4 as well; `v6only` ends that,
`device=NAME` binds to an interface. The environment variable READY names a file that is made once all sockets are open.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
from pathlib import Path

SO_BINDTODEVICE = 25


def opened(text: str) -> socket.socket:
    proto, address, port, *options = text.split(",")
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, "v6only" in options)
    for option in options:
        if option.startswith("device="):
            sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, option[len("device=") :].encode() + b"\0")
    sock.bind(socket.getaddrinfo(address, int(port), type=kind)[0][4])
    if proto == "tcp":
        sock.listen(64)
    return sock


def main(texts: list[str]) -> None:
    with selectors.DefaultSelector() as waiting:
        for text in texts:
            waiting.register(opened(text), selectors.EVENT_READ)
        if "READY" in os.environ:
            Path(os.environ["READY"]).touch()
        if "NOTIFY_SOCKET" in os.environ:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
        while True:
            for key, _events in waiting.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock.type == socket.SOCK_STREAM:
                    sock.accept()[0].close()
                else:
                    data, peer = sock.recvfrom(2048)
                    sock.sendto(data, peer)


if __name__ == "__main__":
    main(sys.argv[1:])
