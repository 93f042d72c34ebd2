# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Held connections: a proper end with an immediate return is no failure, everything else is one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.load.report import Recorder
from tests.load.streams import WebSocket
from tests.unit.load.server import Behaviour, Loader, Request, Server, reset, stream, upgrade, websocket


def first(rude: Behaviour, then: Behaviour) -> Behaviour:
    """One behaviour for the first connection, another for all later ones."""
    seen: list[int] = []

    async def behave(server: Server, request: Request, reader: Any, writer: Any) -> None:
        seen.append(1)
        await (rude if len(seen) == 1 else then)(server, request, reader, writer)

    return behave


async def bad_gateway(server: Server, request: Request, reader: Any, writer: Any) -> None:
    server.answer(writer, b"", "502 Bad Gateway")


async def reset_stream(server: Server, request: Request, reader: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    data = b'data: {"count": 0, "version": "1"}\n\n'
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))
    await writer.drain()
    await asyncio.sleep(0.1)
    reset(writer)


async def unframed_stream(server: Server, request: Request, reader: Any, writer: Any) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: {"count": 0, "version": "1"}\n\n')
    writer.close()


async def skipping_stream(server: Server, request: Request, reader: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for count in (0, 2):
        data = b'data: {"count": %d, "version": "1"}\n\n' % count
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))
    await asyncio.sleep(5)


async def reset_socket(server: Server, request: Request, reader: Any, writer: Any) -> None:
    await upgrade(request, writer)
    await reader.read(10)
    reset(writer)


@pytest.mark.parametrize("behaviour", [stream(5), stream(1)])
def test_a_proper_end_of_events_is_ended(load: Loader, behaviour: Behaviour) -> None:
    report = load(Server({"/stream": first(behaviour, stream(10**6))}), sent={"/stream": 10})
    assert report.passed, report.describe()
    sse = report.streams["sse"]
    assert (sse["ended"], sse["failed"], sse["connections"]) == (1, {}, 2)
    assert 0 < sse["slowest_reconnect_ms"] < 500


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (stream(5, b""), "truncated"),
        (stream(5, None), "truncated"),
        (reset_stream, "reset"),
        (stream(0), "truncated"),
        (unframed_stream, "protocol"),
        (skipping_stream, "wrong_body"),
        (bad_gateway, "status"),
    ],
)
def test_a_cut_of_events_is_a_failure(load: Loader, behaviour: Behaviour, kind: str) -> None:
    report = load(Server({"/stream": first(behaviour, stream(10**6))}), sent={"/stream": 15})
    assert report.streams["sse"]["failed"] == {kind: 1}, report.describe()
    assert report.streams["sse"]["ended"] == 0
    assert report.streams["sse"]["messages"] > 3, "no new connection after the failure"
    assert report.failed == 1
    assert not report.passed


def test_a_return_that_fails_is_a_failure(load: Loader) -> None:
    report = load(Server({"/stream": first(stream(5), first(bad_gateway, stream(10**6)))}), sent={"/stream": 10})
    assert report.streams["sse"]["ended"] == 1
    assert report.streams["sse"]["failed"] == {"status": 1}
    assert report.first_failures[0]["reconnect"] is True


@pytest.mark.parametrize("code", [1000, 1001, 1012])
def test_a_proper_close_of_a_websocket_is_ended(load: Loader, code: int) -> None:
    report = load(Server({"/ws": first(websocket(2, code), websocket(10**6))}), sent={"/ws": 5})
    assert report.passed, report.describe()
    assert (report.streams["ws"]["ended"], report.streams["ws"]["connections"]) == (1, 2)


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (websocket(2, None), "truncated"),
        (websocket(2, 1011), "truncated"),
        (websocket(1, garble=True), "wrong_body"),
        (reset_socket, "truncated"),
        (bad_gateway, "status"),
    ],
)
def test_a_cut_of_a_websocket_is_a_failure(load: Loader, behaviour: Behaviour, kind: str) -> None:
    report = load(Server({"/ws": first(behaviour, websocket(10**6))}), sent={"/ws": 6})
    assert report.streams["ws"]["failed"] == {kind: 1}, report.describe()
    assert report.streams["ws"]["ended"] == 0
    assert report.streams["ws"]["messages"] > 1
    assert not report.passed


def test_silence_on_a_stream_is_a_timeout(load: Loader) -> None:
    async def silent(server: Server, request: Request, reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        data = b'data: {"count": 0, "version": "1"}\n\n'
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await asyncio.sleep(5)

    report = load(Server({"/stream": first(silent, stream(10**6))}), seconds=1.8, rate=20)
    assert report.streams["sse"]["failed"] == {"timeout": 1}, report.describe()


class Refusing:
    """A session none of whose attempts to connect succeeds."""

    async def ws_connect(self, path: str, *, timeout: object) -> None:
        await asyncio.sleep(0)
        raise ConnectionRefusedError(path)


@pytest.mark.parametrize("ticks", range(12))
def test_a_held_connection_ends_when_it_is_told_to(ticks: int) -> None:
    """Also at the moment at which an attempt to connect fails."""

    async def end() -> bool:
        stream = WebSocket("ws", "/ws", Refusing(), Recorder(1.0), 5.0, asyncio.Event())  # type: ignore[arg-type]
        task = asyncio.create_task(stream.run())
        for _tick in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=2)
        ended = task.done()
        task.cancel()
        return ended

    assert asyncio.run(end())
