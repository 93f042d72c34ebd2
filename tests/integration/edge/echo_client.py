# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Holds one upgraded connection: each line of standard input goes through it, and what comes back is printed.

Arguments: address of the host, name of the site, file of the root certificate.
"""

from __future__ import annotations

import socket
import ssl
import sys

address, site, authority = sys.argv[1:]
tls = ssl.create_default_context(cafile=authority)
with tls.wrap_socket(socket.create_connection((address, 443), timeout=30), server_hostname=site) as connection:
    connection.sendall(
        f"GET /echo HTTP/1.1\r\nHost: {site}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode()
    )
    stream = connection.makefile("rb")
    while line := stream.readline().strip():
        print(line.decode(), flush=True)
    for said in sys.stdin:
        connection.sendall(said.encode())
        print(stream.readline().decode().strip() or "closed", flush=True)
