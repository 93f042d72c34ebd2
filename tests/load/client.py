# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One request, sent once: what came back, or how it broke."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.load.http2 import Broken, Http2, Http2Error, NotConnected, Refused, Short
from tests.load.mix import Shot
from tests.load.report import (
    CONNECT,
    HTTP1,
    HTTP2,
    OK,
    PROTOCOL,
    REFUSED,
    RESET,
    STATUS,
    TIMEOUT,
    TRUNCATED,
    WRONG_BODY,
    Outcome,
    Recorder,
)
from tests.load.target import Target, UsageError

# A stalled service makes as many connections as requests are under way; used in turn, none of them would ever be idle
# for the usual 15 seconds.
KEPT_SECONDS = 5.0


class Cut(Exception):
    """The connection broke before the answer began. No ClientError, so that aiohttp does not send the request again."""


async def send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Client middleware against the built-in retry of idempotent requests on a kept connection that was closed."""
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, asyncio.TimeoutError):
        raise  # never retried
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Cut(repr(error)) from error


class Fixed(AbstractResolver):
    """Every name is the one address of the target."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [
            ResolveResult(
                hostname=host, host=self._address, port=port, family=found, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class Sessions:
    """Kept connections as browsers and proxies have them, and connections for one request each."""

    kept: aiohttp.ClientSession
    fresh: aiohttp.ClientSession
    http2: Http2


class Answer(Protocol):
    """What both versions of the protocol have of an answer."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def read(self) -> bytes: ...


def tls_context(target: Target, ca: str | None) -> ssl.SSLContext | bool:
    """:raises UsageError: the file cannot be used."""
    try:
        return ssl.create_default_context(cafile=ca) if target.scheme == "https" else True
    except (OSError, ValueError) as error:
        raise UsageError(f"--ca {ca}: {error}") from None


@asynccontextmanager
async def sessions(target: Target, ca: str | None, recorder: Recorder) -> AsyncIterator[Sessions]:
    tls = tls_context(target, ca)

    def session(close: bool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=tls,
            resolver=Fixed(target.address),
            ttl_dns_cache=None,
            limit=0,
            force_close=close,
            keepalive_timeout=None if close else KEPT_SECONDS,
            family=socket.AF_UNSPEC,
        )
        return aiohttp.ClientSession(
            target.origin,
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(send_once,),
            trace_configs=[_trace(recorder)],
            auto_decompress=False,
        )

    async with session(False) as kept, session(True) as fresh:
        # The protocol is chosen with the context: each has its own.
        http2 = Http2(target, tls_context(target, ca), recorder)
        try:
            yield Sessions(kept, fresh, http2)
        finally:
            await http2.close()


def _trace(recorder: Recorder) -> aiohttp.TraceConfig:
    """Count connections, and mark a request that went over one that had been used before."""
    trace = aiohttp.TraceConfig()

    async def created(_session: aiohttp.ClientSession, _context: SimpleNamespace, _params: Any) -> None:
        recorder.connections["opened"] += 1

    async def reused(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
        recorder.connections["reused"] += 1
        if context.trace_request_ctx is not None:
            context.trace_request_ctx["reused"] = True

    trace.on_connection_create_end.append(created)
    trace.on_connection_reuseconn.append(reused)
    return trace


def classify(error: BaseException, begun: bool) -> Outcome:
    """The kind of a failure; begun: the head of the answer had arrived."""
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, asyncio.TimeoutError):
        return Outcome(TIMEOUT, detail)
    if isinstance(error, Http2Error):
        return Outcome(_http2_kind(error, begun), detail)
    if isinstance(error, (aiohttp.ClientConnectorError, ssl.SSLError)):
        return Outcome(CONNECT, detail)
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    # aiohttp keeps the reset behind an incomplete body in the text of the error alone.
    if any(isinstance(link, (ConnectionResetError, BrokenPipeError)) for link in chain) or "ConnectionReset" in detail:
        return Outcome(RESET, " <- ".join(repr(link) for link in chain))
    if isinstance(error, Cut):
        return Outcome(RESET, detail)
    if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, OSError)):
        return Outcome(TRUNCATED if begun else RESET, detail)
    return Outcome(PROTOCOL, detail)


def _http2_kind(error: Http2Error, begun: bool) -> str:
    if isinstance(error, Refused):
        return REFUSED
    if isinstance(error, NotConnected):
        return CONNECT
    if isinstance(error, Short):
        return TRUNCATED
    if isinstance(error, Broken):
        return TRUNCATED if begun else RESET
    return PROTOCOL


def echo_body(number: int, size: int, noise: bytes) -> bytes:
    """A body of about this size that no other request of the run has."""
    start = number * 31 % max(len(noise) - size, 1)
    return b"%d:" % number + noise[start : start + size]


def check(shot: Shot, answer: Answer, body: bytes, sent: bytes | None) -> Outcome:
    """Whether a complete answer is the right one."""
    if answer.status != 200:
        return Outcome(STATUS, body[:200].decode(errors="replace"), answer.status)
    digest = hashlib.sha256(body).hexdigest()
    if shot.kind == "echo" and body != sent:
        return Outcome(WRONG_BODY, f"sent {len(sent or b'')} bytes, {len(body)} other bytes came back", answer.status)
    if shot.kind in ("echo", "big") and digest != answer.headers.get("X-Body-SHA256"):
        said = answer.headers.get("X-Body-SHA256")
        return Outcome(WRONG_BODY, f"body has SHA-256 {digest}, X-Body-SHA256 is {said}", answer.status)
    if shot.kind == "big" and len(body) != shot.size:
        return Outcome(TRUNCATED, f"{len(body)} of {shot.size} bytes", answer.status)
    if not body:
        return Outcome(WRONG_BODY, "empty", answer.status)
    return Outcome(OK, status=answer.status)


@dataclass
class Sender:
    """Sends the requests of a run."""

    sessions: Sessions
    recorder: Recorder
    timeout: float
    run_id: str
    noise: bytes

    async def send(self, shot: Shot, number: int, due: float) -> None:
        """Send one request and record its outcome; latency counts from the scheduled time."""
        loop = asyncio.get_running_loop()
        left = self.recorder.now()
        self.recorder.left(loop.time() - due)
        sent = echo_body(number, shot.size, self.noise) if shot.method == "POST" else None
        context: dict[str, bool] = {"reused": False}
        request_id = f"load-{self.run_id}-{number}"
        begun = False
        version: str | None = None
        try:
            async with self._answer(shot, sent, request_id, context) as answer:
                begun, version = True, answer.headers.get("X-Version")
                outcome = check(shot, answer, await answer.read(), sent)
        except Exception as error:
            outcome = classify(error, begun)
        self.recorder.saw(version, left)
        about = {"method": shot.method, "path": shot.path, "request_id": request_id, "version": version}
        protocol = HTTP2 if shot.http2 else HTTP1
        self.recorder.answered(shot.kind, protocol, outcome, loop.time() - due, fresh=shot.fresh, **about, **context)

    @asynccontextmanager
    async def _answer(
        self, shot: Shot, sent: bytes | None, request_id: str, context: dict[str, bool]
    ) -> AsyncIterator[Answer]:
        headers = {"X-Request-Id": request_id}
        if shot.http2:
            # Connecting included, as below.
            async with (
                asyncio.timeout(self.timeout),
                self.sessions.http2.request(shot.method, shot.path, headers, sent or b"", fresh=shot.fresh) as exchange,
            ):
                yield exchange
            return
        session = self.sessions.fresh if shot.fresh else self.sessions.kept
        async with session.request(
            shot.method,
            shot.path,
            data=sent,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=self.timeout, connect=self.timeout),
            trace_request_ctx=context,
        ) as answer:
            yield answer
