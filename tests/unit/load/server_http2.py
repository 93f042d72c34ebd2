# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP/2 side of the rude server: without TLS, for clients that begin with the preface."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError

PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
FRAME = 16_384


@dataclass
class Request:
    """A request that came over HTTP/2, and the stream it came on."""

    session: Session
    stream: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.headers[":path"].partition("?")[0]

    def head(self, length: int | None = None, sha: str = "", status: int = 200) -> None:
        headers = [(":status", str(status)), ("x-version", "1.0.0"), ("x-body-sha256", sha)]
        headers += [("content-length", str(length))] if length is not None else []
        self.session.h2.send_headers(self.stream, headers)
        self.session.flush()

    def data(self, body: bytes, *, end: bool = False) -> None:
        parts = [body[start : start + FRAME] for start in range(0, len(body), FRAME)] or [b""]
        for number, part in enumerate(parts):
            self.session.h2.send_data(self.stream, part, end_stream=end and number == len(parts) - 1)
        self.session.flush()

    def answer(self, body: bytes) -> None:
        self.head(len(body), hashlib.sha256(body).hexdigest())
        self.data(body, end=True)

    def reset(self, code: int) -> None:
        self.session.h2.reset_stream(self.stream, code)
        self.session.flush()


Behaviour = Callable[[Request], Awaitable[None]]


async def answer(request: Request) -> None:
    if request.path == "/echo":
        request.answer(request.body)
    elif request.path == "/big":
        request.answer(b"b" * int(request.headers[":path"].partition("bytes=")[2]))
    elif request.path == "/stream":
        request.head()
        for count in range(10**6):
            request.data(event(count))
            await asyncio.sleep(0.03)
    else:
        request.answer(b"hello")


def event(count: int) -> bytes:
    return f"data: {json.dumps({'count': count, 'version': '1.0.0'})}\n\n".encode()


@dataclass
class Session:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    behave: Behaviour
    number: int
    requests: dict[int, Request] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    most_at_once: int = 0
    # The last request before a GOAWAY.
    gone: int = 0

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def go_away(self, last: int) -> None:
        """GOAWAY; the requests up to the last one may still be answered."""
        self.h2.close_connection(last_stream_id=last)
        self.flush()
        self.h2.state_machine.state = ConnectionState.SERVER_OPEN

    async def serve(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.receive_data(PREFACE)
        self.flush()
        try:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    if isinstance(event, RequestReceived):
                        headers = {str(name): str(value) for name, value in event.headers}
                        self.requests[event.stream_id] = Request(self, event.stream_id, headers)
                    elif isinstance(event, DataReceived):
                        self.requests[event.stream_id].body += event.data
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, StreamEnded):
                        self.begin(self.requests[event.stream_id])
                self.flush()
        finally:
            for task in self.tasks:
                task.cancel()

    def begin(self, request: Request) -> None:
        async def work() -> None:
            with contextlib.suppress(ProtocolError):  # the client gave the stream up
                await self.behave(request)

        task = asyncio.create_task(work())
        self.tasks.add(task)
        self.most_at_once = max(self.most_at_once, len(self.tasks))
        task.add_done_callback(self.tasks.discard)
