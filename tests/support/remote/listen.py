# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accept connections on all the ports that are named, over IPv4 and IPv6. Runs on the VPS, as a unit of Type=notify."""

from __future__ import annotations

import os
import select
import socket
import sys

listeners = [
    socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
    for port in sys.argv[1:]
]
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
    manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    for listener in select.select(listeners, [], [])[0]:
        listener.accept()[0].close()
