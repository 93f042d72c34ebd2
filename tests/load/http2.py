# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP/2 as a browser speaks it: many requests at once over one connection, each sent once."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import InvalidBodyLengthError, ProtocolError
from h2.settings import SettingCodes, Settings
from multidict import CIMultiDict

from tests.load.report import Recorder
from tests.load.target import Target

CONNECTIONS = 2
FRAME_HEAD = 9
READ_BYTES = 1 << 16
# What a browser grants, so that a large body need not wait for its window.
STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = 1 << 24
CLOSE_SECONDS = 1.0


class Http2Error(Exception):
    """A request did not get its answer."""


class NotConnected(Http2Error):
    """No connection came about."""


class NotHttp2(Http2Error):
    """The other side does not speak the protocol."""


class Refused(Http2Error):
    """The server says that it did not process the request (RFC 9113, 6.8 and 8.7): a client may send it again."""


class Broken(Http2Error):
    """The stream was reset, or its connection ended under it."""


class Short(Http2Error):
    """The body has another length than its head says."""


class Exchange:
    """One request on a connection and what came back so far."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: CIMultiDict[str] = CIMultiDict()
        self._head = asyncio.get_running_loop().create_future()
        # The body in pieces; None is its end.
        self._parts: asyncio.Queue[bytes | Http2Error | None] = asyncio.Queue()
        self.done = False

    async def head(self) -> None:
        await self._head

    async def chunks(self, silence: float | None = None) -> AsyncIterator[bytes]:
        """The body as it comes. :param silence: seconds after which a pause is a timeout."""
        while True:
            # wait_for would lose a cancellation that meets the next part (python/cpython#86296).
            async with asyncio.timeout(silence):
                part = await self._parts.get()
            if part is None:
                return
            if isinstance(part, Http2Error):
                raise part
            yield part

    async def read(self) -> bytes:
        return b"".join([part async for part in self.chunks()])

    def answered(self, headers: Iterable[tuple[str, str]]) -> None:
        self.headers = CIMultiDict(headers)
        self.status = int(self.headers[":status"])
        if not self._head.done():
            self._head.set_result(None)

    def received(self, data: bytes) -> None:
        self._parts.put_nowait(data)

    def ended(self) -> None:
        self.done = True
        self._parts.put_nowait(None)

    def failed(self, error: Http2Error) -> None:
        if self.done:
            return
        self.done = True
        self._parts.put_nowait(error)
        if not self._head.done():
            self._head.set_exception(error)
            self._head.exception()  # nobody may be waiting any more


class Connection:
    """One connection and the requests that are under way on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._exchanges: dict[int, Exchange] = {}
        self._window = asyncio.Event()
        self._told_to_go = False
        self._h2.local_settings = Settings(
            client=True,
            initial_values={SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW},
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW)
        self._flush()
        self.task = asyncio.create_task(self._read())

    @property
    def takes_more(self) -> bool:
        """Whether another request may be sent here."""
        most = self._h2.remote_settings.max_concurrent_streams
        return not self._told_to_go and not self.task.done() and len(self._exchanges) < most

    @asynccontextmanager
    async def request(self, head: list[tuple[str, str]], body: bytes) -> AsyncIterator[Exchange]:
        """Between the look at `takes_more` and the first frame nothing else may run."""
        number, exchange = self._h2.get_next_available_stream_id(), Exchange()
        self._exchanges[number] = exchange
        try:
            self._h2.send_headers(number, head, end_stream=not body)
            self._flush()
            await self._upload(number, exchange, body)
            await exchange.head()
            yield exchange
        finally:
            del self._exchanges[number]
            if not exchange.done:
                with contextlib.suppress(ProtocolError):
                    self._h2.reset_stream(number, ErrorCodes.CANCEL)
                self._flush()

    async def _upload(self, number: int, exchange: Exchange, body: bytes) -> None:
        while body and not exchange.done:
            self._window.clear()
            room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            if room <= 0:
                await self._window.wait()
                continue
            part, body = body[:room], body[room:]
            self._h2.send_data(number, part, end_stream=not body)
            self._flush()

    async def close(self) -> None:
        if not self.task.done():
            with contextlib.suppress(ProtocolError):
                self._h2.close_connection()
            self._flush()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._writer.wait_closed()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._writer.is_closing():
            self._writer.write(data)

    async def _read(self) -> None:
        end: Http2Error = Broken("the server closed the connection")
        try:
            pending = b""
            while data := await self._reader.read(READ_BYTES):
                pending = self._frames(pending + data)
                self._flush()
        except ProtocolError as error:
            end = NotHttp2(repr(error))
        except OSError as error:
            end = Broken(repr(error))
        finally:
            for exchange in self._exchanges.values():
                exchange.failed(end)
            self._window.set()
            self._writer.close()

    def _frames(self, data: bytes) -> bytes:
        """Handle whole frames one by one, so that an error says whose it is; what is left waits for more."""
        start = 0
        while len(data) - start >= FRAME_HEAD:
            end = start + FRAME_HEAD + int.from_bytes(data[start : start + 3], "big")
            if len(data) < end:
                break
            stream = int.from_bytes(data[start + 5 : start + FRAME_HEAD], "big") & 0x7FFFFFFF
            try:
                events = self._h2.receive_data(data[start:end])
            except InvalidBodyLengthError as error:
                self._short(stream, error)
            else:
                for event in events:
                    self._handle(event)
            start = end
        return data[start:]

    def _short(self, stream: int, error: InvalidBodyLengthError) -> None:
        """For the library this ends the connection; by RFC 9113, 8.1.1 it is an error of the stream alone."""
        self._h2.clear_outbound_data_buffer()
        self._h2.state_machine.state = ConnectionState.CLIENT_OPEN
        self._fail(stream, Short(str(error)))
        with contextlib.suppress(ProtocolError):
            self._h2.reset_stream(stream, ErrorCodes.PROTOCOL_ERROR)

    def _handle(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self._go_away(event)
        elif isinstance(event, (WindowUpdated, RemoteSettingsChanged)):
            self._window.set()
        elif isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self._flush()
            if exchange := self._exchanges.get(event.stream_id):
                exchange.received(event.data)
        elif isinstance(event, ResponseReceived):
            if exchange := self._exchanges.get(event.stream_id):
                exchange.answered((str(name), str(value)) for name, value in event.headers)
        elif isinstance(event, StreamEnded):
            if exchange := self._exchanges.get(event.stream_id):
                exchange.ended()
        elif isinstance(event, StreamReset):
            name = getattr(event.error_code, "name", event.error_code)
            kind = Refused if event.error_code == ErrorCodes.REFUSED_STREAM else Broken
            self._fail(event.stream_id, kind(f"RST_STREAM {name}"))

    def _go_away(self, event: ConnectionTerminated) -> None:
        """GOAWAY: what the server has not begun is refused, the rest goes on, and nothing new is sent here."""
        self._told_to_go = True
        # For the library everything ends here; the server still answers what it has begun.
        self._h2.state_machine.state = ConnectionState.CLIENT_OPEN
        last = event.last_stream_id or 0
        name = getattr(event.error_code, "name", event.error_code)
        for number in [number for number in self._exchanges if number > last]:
            self._fail(number, Refused(f"GOAWAY {name}, last stream {last}, this is {number}"))

    def _fail(self, number: int, error: Http2Error) -> None:
        if exchange := self._exchanges.get(number):
            exchange.failed(error)
        self._window.set()


class Http2:
    """Requests to one origin over a few kept connections, or each over one of its own."""

    def __init__(self, target: Target, tls: ssl.SSLContext | bool, recorder: Recorder) -> None:
        self._target, self._recorder = target, recorder
        self._tls: ssl.SSLContext | None = None
        if isinstance(tls, ssl.SSLContext):
            self._tls = tls
            self._tls.set_alpn_protocols(["h2"])
        self._kept: list[Connection | None] = [None] * CONNECTIONS
        self._locks = [asyncio.Lock() for _ in range(CONNECTIONS)]
        self._all: set[Connection] = set()
        self._count = 0

    @asynccontextmanager
    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", *, fresh: bool = False
    ) -> AsyncIterator[Exchange]:
        """The answer, from its head on. The caller bounds the time."""
        host = self._target.origin.partition("://")[2]
        head = [(":method", method), (":authority", host), (":scheme", self._target.scheme), (":path", path)]
        head += [(name.lower(), value) for name, value in headers.items()]
        if body:
            head.append(("content-length", str(len(body))))
        connection = await self._connect() if fresh else await self._connection()
        try:
            async with connection.request(head, body) as exchange:
                yield exchange
        finally:
            if fresh:
                await connection.close()

    async def close(self) -> None:
        for connection in list(self._all):
            await connection.close()

    async def _connection(self) -> Connection:
        self._count += 1
        place = self._count % CONNECTIONS
        async with self._locks[place]:
            kept = self._kept[place]
            if kept is None or not kept.takes_more:
                kept = self._kept[place] = await self._connect()
            else:
                self._recorder.connections["http2_shared"] += 1
            return kept

    async def _connect(self) -> Connection:
        name = self._target.host if self._tls else None
        try:
            reader, writer = await asyncio.open_connection(
                self._target.address, self._target.port, ssl=self._tls, server_hostname=name
            )
        except OSError as error:
            raise NotConnected(repr(error)) from error
        chosen = writer.get_extra_info("ssl_object")
        if chosen is not None and chosen.selected_alpn_protocol() != "h2":
            writer.close()
            raise NotHttp2("the server does not choose h2 by ALPN")
        self._recorder.connections["http2_opened"] += 1
        connection = Connection(reader, writer)
        self._all.add(connection)
        connection.task.add_done_callback(lambda _task: self._all.discard(connection))
        return connection
