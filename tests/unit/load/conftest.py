# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping

import pytest

from tests.load.report import Report
from tests.load.run import Plan, run
from tests.load.target import parse
from tests.unit.load.server import Loader, Server, serving


@pytest.fixture
def load() -> Loader:
    """Run load on a server; `during` runs beside it.

    With `sent` it goes on until the server has sent so many events and messages on a path, however slow the machine is.
    """

    def start(
        server: Server,
        during: Callable[[Server], Awaitable[None]] | None = None,
        tls: ssl.SSLContext | None = None,
        sent: Mapping[str, int] | None = None,
        **plan: object,
    ) -> Report:
        async def scenario() -> Report:
            async with serving(server, tls):
                target = parse(f"{server.scheme}://{server.host}:{server.port}", server.address, {})
                settings = {"rate": 100, "seconds": 20.0 if sent else 0.8, "timeout": 2.0, "lag_limit": 1.0, **plan}
                beside: list[asyncio.Task[None]] = []
                stop = asyncio.Event()

                async def watch(wanted: Mapping[str, int]) -> None:
                    while any(server.sent[path] < count for path, count in wanted.items()):
                        await asyncio.sleep(0.01)
                    stop.set()

                def started() -> None:
                    if during:
                        beside.append(asyncio.get_running_loop().create_task(during(server)))  # type: ignore[arg-type]

                watching = asyncio.create_task(watch(sent)) if sent else None
                report = await run(target, Plan(**settings), stop, started)  # type: ignore[arg-type]
                if watching is not None:
                    watching.cancel()
                for task in beside:
                    await task
                return report

        return asyncio.run(scenario())

    return start
