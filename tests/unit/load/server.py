# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real HTTP/1.1 server on loopback that can be told to misbehave; on bare sockets, so that it can be rude enough."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from tests.load.report import Report
from tests.unit.load import server_http2 as http2

WEBSOCKET_KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


Behaviour = Callable[["Server", Request, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Hangup(Exception):
    """The behaviour is done with the connection."""


@dataclass
class Server:
    """Answers like the sample service, except where a behaviour is set for a path."""

    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    # Events and messages, by path.
    sent: Counter[str] = field(default_factory=Counter)
    version: str = "1.0.0"
    connections: int = 0
    port: int = 0
    scheme: str = "http"
    host: str = "127.0.0.1"
    address: str | None = None
    listener: asyncio.Server | None = None
    http2: http2.Behaviour = http2.answer
    http2_sessions: list[http2.Session] = field(default_factory=list)

    def ids(self, path: str = "") -> list[str]:
        """Request ids of the load in order of arrival, repeated ones included."""
        found = [r for r in self.requests if r.path.startswith(path) and "x-request-id" in r.headers]
        return [r.headers["x-request-id"] for r in found]

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=tls)
        self.port = self.listener.sockets[0].getsockname()[1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        with contextlib.suppress(Hangup, ConnectionError, asyncio.IncompleteReadError):
            while True:
                raw = await reader.readuntil(b"\r\n\r\n")
                if raw == http2.PREFACE:
                    self.http2_sessions.append(http2.Session(reader, writer, self.http2, number))
                    await self.http2_sessions[-1].serve()
                    break
                head = raw.decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                request = Request(method, path, headers, body, number)
                self.requests.append(request)
                key = path.partition("?")[0]
                await self.behaviours.get(key, DEFAULTS.get(key, hello))(self, request, reader, writer)
                if headers.get("connection") == "close":
                    break
        writer.close()

    def answer(
        self,
        writer: asyncio.StreamWriter,
        body: bytes,
        status: str = "200 OK",
        length: int | None = None,
        sha: str = "",
    ) -> None:
        size = len(body) if length is None else length
        digest = sha or hashlib.sha256(body).hexdigest()
        head = f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nX-Version: {self.version}\r\nX-Body-SHA256: {digest}"
        writer.write(f"{head}\r\n\r\n".encode() + body)


async def hello(server: Server, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    server.answer(writer, b"hello")


async def echo(server: Server, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    server.answer(writer, request.body)


async def big(server: Server, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    server.answer(writer, b"b" * int(request.path.partition("bytes=")[2]))


def stream(events: int, end: bytes | None = b"0\r\n\r\n") -> Behaviour:
    """So many events, then what ends the stream; None: a cut inside a chunk."""

    async def behave(
        server: Server, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for count in range(events):
            data = f"data: {json.dumps({'count': count, 'version': server.version})}\n\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            await writer.drain()
            server.sent[request.path] += 1
            await asyncio.sleep(0.03)
        writer.write(b"ff\r\ndata: half" if end is None else end)
        raise Hangup

    return behave


async def upgrade(request: Request, writer: asyncio.StreamWriter) -> None:
    key = request.headers["sec-websocket-key"] + WEBSOCKET_KEY
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    writer.write("\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", "", ""]).encode())


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    assert size < 126
    mask, data = await reader.readexactly(4), await reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def frame(opcode: int, data: bytes) -> bytes:
    return bytes([0x80 | opcode, len(data)]) + data


def websocket(messages: int, close: int | None = 1001, garble: bool = False) -> Behaviour:
    """Echo so many messages, then a close frame with the code; None: cut without one."""

    async def behave(
        server: Server, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await upgrade(request, writer)
        for _ in range(messages):
            opcode, data = await read_frame(reader)
            if opcode != 1:
                raise Hangup
            writer.write(frame(1, b"garbled" if garble else data))
            server.sent[request.path] += 1
        if close is not None:
            writer.write(frame(8, struct.pack("!H", close)))
            with contextlib.suppress(asyncio.IncompleteReadError):
                while (await read_frame(reader))[0] != 8:
                    pass
        raise Hangup

    return behave


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST instead of FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    raise Hangup


DEFAULTS: dict[str, Behaviour] = {"/echo": echo, "/big": big, "/stream": stream(10**6), "/ws": websocket(10**6)}


@contextlib.asynccontextmanager
async def serving(server: Server, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    await server.start(tls)
    try:
        yield server
    finally:
        assert server.listener is not None
        server.listener.close()


Loader = Callable[..., Report]
