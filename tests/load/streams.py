# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections that are held for the whole run: server-sent events and a WebSocket.

A server may end one properly (the terminating chunk; a close frame with 1000, 1001 or 1012); the client is back at
once, as a browser would be, and that must work at the first attempt. Anything else is a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import aiohttp

from tests.load.client import classify
from tests.load.http2 import Exchange, Http2
from tests.load.report import PROTOCOL, STATUS, TRUNCATED, WRONG_BODY, Outcome, Recorder

PROPER_CLOSES = (1000, 1001, 1012)
PAUSE_AFTER_FAILURE = 0.2
PING_SECONDS = 0.2
Client = TypeVar("Client")


class Broken(Exception):
    """A held connection did not go as it should."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


@dataclass
class Stream(Generic[Client]):
    """Keeps one connection open until the task is cancelled; opened is set once the first message came."""

    name: str
    path: str
    session: Client
    recorder: Recorder
    silence: float
    opened: asyncio.Event
    left: float = 0.0  # when the request for the present connection left

    async def run(self) -> None:
        count = self.recorder.stream(self.name)
        ended: float | None = None
        while True:
            count.connections += 1
            first = count.messages
            begun = time.monotonic()
            self.left = self.recorder.now()
            try:
                await self.hold(ended)
                if count.messages == first:
                    raise Broken(Outcome(TRUNCATED, "ended before its first message"))
                self.recorder.stream_ended(self.name)
                ended = time.monotonic()
            except Exception as error:
                outcome = error.outcome if isinstance(error, Broken) else classify(error, begun=True)
                held = round(time.monotonic() - begun, 3)
                self.recorder.stream_failed(self.name, outcome, path=self.path, held=held, reconnect=ended is not None)
                ended = None
                await asyncio.sleep(PAUSE_AFTER_FAILURE)

    async def hold(self, ended: float | None) -> None:
        """Open the connection and use it; return when the server ended it properly."""
        raise NotImplementedError

    def received(self, version: str | None, ended: float | None) -> None:
        count = self.recorder.stream(self.name)
        count.messages += 1
        self.recorder.saw(version, self.left)
        self.opened.set()
        if ended is not None:
            took = round((time.monotonic() - ended) * 1000, 1)
            count.slowest_reconnect_ms = max(count.slowest_reconnect_ms, took)


class Events(Stream[Client]):
    """Server-sent events, each connection counted from 0."""

    async def follow(self, parts: AsyncIterator[bytes], ended: float | None) -> None:
        expected, buffer = 0, b""
        async for data in parts:
            *events, buffer = (buffer + data).split(b"\n\n")
            for event in events:
                version = check_event(event, expected)
                self.received(version, ended if expected == 0 else None)
                expected += 1
        if buffer:
            raise Broken(Outcome(TRUNCATED, f"ended within an event: {buffer[:200]!r}"))


class EventStream(Events[aiohttp.ClientSession]):
    async def hold(self, ended: float | None) -> None:
        timeout = aiohttp.ClientTimeout(total=None, connect=self.silence, sock_read=self.silence)
        headers = {"Accept": "text/event-stream"}
        async with self.session.get(self.path, timeout=timeout, headers=headers, allow_redirects=False) as answer:
            if answer.status != 200:
                raise Broken(Outcome(STATUS, (await answer.text())[:200], answer.status))
            # Without chunks the end of the connection is the end of the stream: a cut could not be told from it.
            if "chunked" not in answer.headers.get("Transfer-Encoding", "").lower():
                raise Broken(Outcome(PROTOCOL, "event stream without Transfer-Encoding: chunked", answer.status))
            await self.follow(answer.content.iter_any(), ended)


class Http2EventStream(Events[Http2]):
    """The end of the stream is part of its frames: a cut shows as a reset."""

    async def hold(self, ended: float | None) -> None:
        headers = {"Accept": "text/event-stream"}
        opening = self.session.request("GET", self.path, headers, fresh=True)
        async with within(self.silence, opening) as answer:
            if answer.status != 200:
                raise Broken(Outcome(STATUS, (await answer.read())[:200].decode(errors="replace"), answer.status))
            await self.follow(answer.chunks(self.silence), ended)


@asynccontextmanager
async def within(seconds: float, opening: AbstractAsyncContextManager[Exchange]) -> AsyncIterator[Exchange]:
    """What is opened within a time and then held for any."""
    async with contextlib.AsyncExitStack() as stack:
        async with asyncio.timeout(seconds):
            exchange = await stack.enter_async_context(opening)
        yield exchange


def check_event(event: bytes, expected: int) -> str:
    """The version of an event; each connection counts its events from 0."""
    fields = dict(line.partition(": ")[::2] for line in event.decode(errors="replace").splitlines())
    try:
        data = json.loads(fields["data"])
        count, version = data["count"], str(data["version"])
    except (ValueError, KeyError, TypeError):
        raise Broken(Outcome(WRONG_BODY, f"not an event of the service: {event[:200]!r}")) from None
    if count != expected:
        raise Broken(Outcome(WRONG_BODY, f"event {count} instead of {expected}"))
    return version


class WebSocket(Stream[aiohttp.ClientSession]):
    async def hold(self, ended: float | None) -> None:
        timeout = aiohttp.ClientWSTimeout(ws_close=1.0)
        try:
            # wait_for would lose a cancellation that meets the end of the attempt (python/cpython#86296).
            async with asyncio.timeout(self.silence):
                socket = await self.session.ws_connect(self.path, timeout=timeout)
        except aiohttp.WSServerHandshakeError as error:
            raise Broken(Outcome(STATUS, error.message, error.status)) from error
        try:
            await self.talk(socket, ended)
        finally:
            await socket.close()

    async def talk(self, socket: aiohttp.ClientWebSocketResponse, ended: float | None) -> None:
        number = 0
        while True:
            sent = f"message {number}"
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):  # what arrived before the end says how
                await socket.send_str(sent)
            message = await socket.receive(timeout=self.silence)
            if message.type == aiohttp.WSMsgType.CLOSE:
                if message.data in PROPER_CLOSES:
                    return
                raise Broken(Outcome(TRUNCATED, f"close frame with code {message.data}"))
            if message.type != aiohttp.WSMsgType.TEXT:
                # An end without a close frame shows as CLOSED, whatever close code the library makes up for it.
                raise Broken(Outcome(TRUNCATED, f"{message.type.name} without a close frame: {message.data!r}"))
            if message.data != sent:
                raise Broken(Outcome(WRONG_BODY, f"sent {sent!r}, received {message.data[:200]!r}"))
            self.received(None, ended if number == 0 else None)
            number += 1
            await asyncio.sleep(PING_SECONDS)
