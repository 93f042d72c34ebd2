# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The size of bodies and how long is waited, by service, as a real nginx keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timezone

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.traffic import Traffic

from tests.unit.roles.gateway.served import SITE, WEB, app, served

KIB = 1024


async def pieces(count: int) -> AsyncIterator[bytes]:
    """A body whose length nobody says beforehand."""
    for _ in range(count):
        yield b"x" * KIB


def test_a_body_is_as_large_as_its_service_allows() -> None:
    async def play() -> None:
        async with served(app({"max_body_size": "8k"}), gateway_max_body_size="16k") as edge:
            for size, status in ((8, 200), (9, 413)):
                for body in (b"x" * size * KIB, pieces(size)):
                    assert (await edge.ask("POST", "/api/x", data=body)).status == status, size
            assert (await edge.ask("POST", "/", data=b"x" * 16 * KIB)).status == 200, "the gateway's own for another"
            assert (await edge.ask("POST", "/", data=b"x" * 17 * KIB)).status == 413
            request = f"POST /api/x HTTP/1.0\r\nHost: api\r\nContent-Length: {9 * KIB}\r\n\r\n{'x' * 9 * KIB}"
            assert " 413 " in (await edge.inside(request, me=WEB)).splitlines()[0], "nor by another container"
            await edge.reload(app({"max_body_size": 0}))
            assert (await edge.ask("POST", "/api/upload", data=pieces(2000))).status == 200
            assert edge.body == str(2000 * KIB).encode()

    asyncio.run(play())


def test_a_request_that_is_given_up_on_its_way_says_nothing_of_the_release() -> None:
    async def play() -> None:
        async with served(app({"max_body_size": "8k", "body_timeout": 1})) as edge:
            traffic = Traffic("labs", datetime(2026, 1, 1, tzinfo=timezone.utc), drawn=False)
            assert (await edge.ask("POST", "/api/upload", data=pieces(4))).status == 200
            reader, writer = await asyncio.open_unix_connection(f"{edge.directory}/public/http.sock")
            writer.write(f"POST /api/upload HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: 9\r\n\r\nx".encode())
            assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()

            async def growing() -> AsyncIterator[bytes]:
                edge.upstream.received = 0
                yield b"x" * KIB
                await edge.until(lambda: edge.upstream.received == KIB)
                yield b"x" * 8 * KIB

            assert (await edge.ask("POST", "/api/upload", data=growing())).status == 413
            seen = [(entry["status"], entry["upstream_status"]) for entry in await edge.logged(3)]
            assert seen == [(200, "200"), (408, "-"), (413, "-")]
            traffic.feed((edge.directory / "access.log").read_bytes().splitlines())
            assert [(pool.requests, pool.errors) for pool in traffic.pools().values()] == [(1, 0)]

    asyncio.run(play())


def test_an_upload_reaches_the_app_as_it_comes() -> None:
    async def play() -> None:
        async with served(app({"max_body_size": "1g", "body_timeout": 30})) as edge:
            more = asyncio.Event()

            async def body() -> AsyncIterator[bytes]:
                yield b"x" * 64 * KIB
                await more.wait()
                yield b"x"

            answer = asyncio.create_task(edge.ask("POST", "/api/upload", data=body()))
            await edge.until(lambda: edge.upstream.received == 64 * KIB)
            more.set()
            assert (await answer).status == 200

    asyncio.run(play())


def test_a_silent_service_is_given_up_and_a_stream_is_not() -> None:
    async def play() -> None:
        async with served(app({"read_timeout": 1})) as edge:
            assert (await edge.get("/api/silent")).status == 504
            async with edge.client.get(f"http://{SITE}/api/stream?type=text/event-stream") as response:
                for number in range(3):
                    # Longer than the timeout in all: what counts is the silence.
                    await asyncio.sleep(0.5)
                    edge.upstream.part.release()
                    line = await response.content.readuntil(b"\n\n")
                    assert line.startswith(f"data: {number}".encode())

    asyncio.run(play())


def test_a_client_that_sends_nothing_more_is_given_up() -> None:
    async def play() -> None:
        async with served(app({"body_timeout": 1})) as edge:
            reader, writer = await asyncio.open_unix_connection(f"{edge.directory}/public/http.sock")
            writer.write(f"POST /api/upload HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: 9\r\n\r\nx".encode())
            assert await asyncio.wait_for(reader.read(), 20) == b"", "cut off"
            writer.close()
            assert [entry["status"] for entry in await edge.logged(1)] == [408]

    asyncio.run(play())
