# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a real nginx tells of itself, and to whom."""

from __future__ import annotations

import asyncio
import re

from tests.unit.roles.gateway.served import SITE, app, served


def test_connections_are_counted_for_the_host_alone() -> None:
    async def play() -> None:
        async with served(app()) as edge, edge.client.ws_connect(f"http://{SITE}/api/socket"):
            told = await edge.admin("/metrics")
            found = dict(re.findall(r"^(nginx_connections_\w+) (\d+)$", told, re.MULTILINE))
            # The one that is held, and the one that asks.
            assert found == {
                "nginx_connections_active": "2",
                "nginx_connections_reading": "0",
                "nginx_connections_writing": "2",
                "nginx_connections_waiting": "0",
            }
            assert len(re.findall(r"^# TYPE nginx_connections_\w+ gauge$", told, re.MULTILINE)) == len(found)
            assert re.search(r"^Active connections: 2 \nserver accepts", await edge.admin("/status"), re.MULTILINE)
            for path in ("/metrics", "/status", "/mark", "/generation"):
                assert (await edge.get(path)).status == 200 and b"nginx_connections" not in edge.body, "the app's own"
                assert (await edge.get(path, host="localhost")).status == 421

    asyncio.run(play())
