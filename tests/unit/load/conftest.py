# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import pytest

from tests.load.report import Report
from tests.load.run import Plan, run
from tests.load.target import parse
from tests.unit.load.server import Loader, Server, serving


@pytest.fixture
def load() -> Loader:
    """Run load on a server; `during` runs beside it."""

    def start(
        server: Server,
        during: Callable[[Server], Awaitable[None]] | None = None,
        tls: ssl.SSLContext | None = None,
        **plan: object,
    ) -> Report:
        async def scenario() -> Report:
            async with serving(server, tls):
                target = parse(f"{server.scheme}://{server.host}:{server.port}", server.address, {})
                settings = {"rate": 100, "seconds": 0.8, "timeout": 2.0, "lag_limit": 1.0, **plan}
                beside: list[asyncio.Task[None]] = []

                def started() -> None:
                    if during:
                        beside.append(asyncio.get_running_loop().create_task(during(server)))  # type: ignore[arg-type]

                report = await run(target, Plan(**settings), asyncio.Event(), started)  # type: ignore[arg-type]
                for task in beside:
                    await task
                return report

        return asyncio.run(scenario())

    return start
