# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small web service to deploy: ui, api or ai, with ways to be slow, ill or rude.

Environment:

SERVICE_NAME         ui (default), api or ai; ui answers / with HTML, the others with JSON
VERSION              reported by /version and in the header X-Version of every answer
PORT                 3000
PREFIX               path prefix that is answered beside the root; default: none for ui, /<SERVICE_NAME> for others
STARTUP_SECONDS      0; the port is opened only after so long
WARMUP_SECONDS       0; /health and /ready answer 503 for so long
HEALTH               ok or bad; bad: /health and /ready answer 503 for ever
CRASH                1: a traceback and exit status 3 soon after the start
GRACEFUL             1; 0: SIGTERM ends the process at once
SHUTDOWN_SECONDS     25; how long a graceful end waits for requests in flight
DATA_DIR             directory of /files, for example /data; unset: no /files
DATABASE_HOST        PostgreSQL server of /notes; unset: no /notes
DATABASE_PORT, DATABASE_NAME, DATABASE_USER, DATABASE_PASSWORD_FILE    5432, labs, labs, none
PEER_URL             what /peer requests, for example http://api:3001/version; unset: no /peer
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import html
import json
import os
import re
import signal
import socket
import sys
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TICK = 0.2
BODY_LIMIT = 64 * 1024 * 1024
SLOW_LIMIT = 300.0
CHUNK = 64 * 1024
PATTERN = bytes(range(256)) * (CHUNK // 256)
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text text NOT NULL,
    created timestamptz NOT NULL DEFAULT now()
)"""
SCHEMA_LOCK = 7305102  # any number; two releases may create the table at the same moment


class SettingError(Exception):
    """A variable of the environment has a value that cannot be used."""


@dataclass(frozen=True)
class Settings:
    service: str
    version: str
    port: int
    prefix: str
    startup: float
    warmup: float
    healthy: bool
    crash: bool
    graceful: bool
    shutdown: float
    data: Path | None
    database: Mapping[str, str] | None
    peer: str | None


def number(env: Mapping[str, str], name: str, default: float, most: float) -> float:
    text = env.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        raise SettingError(f"{name}={text!r}: not a number") from None
    if not 0 <= value <= most:
        raise SettingError(f"{name}={text!r}: must be from 0 to {most:g}")
    return value


def choice(env: Mapping[str, str], name: str, default: str, *values: str) -> str:
    text = env.get(name) or default
    if text not in values:
        raise SettingError(f"{name}={text!r}: must be one of {', '.join(values)}")
    return text


def settings(env: Mapping[str, str]) -> Settings:
    service = choice(env, "SERVICE_NAME", "ui", "ui", "api", "ai")
    prefix = env.get("PREFIX", "" if service == "ui" else f"/{service}").rstrip("/")
    if prefix and not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", prefix):
        raise SettingError(f"PREFIX={prefix!r}: must be a path like /api")
    database = None
    if env.get("DATABASE_HOST"):
        database = {key: env[f"DATABASE_{key}"] for key in ("HOST", "PASSWORD_FILE") if env.get(f"DATABASE_{key}")}
        database["PORT"] = str(int(number(env, "DATABASE_PORT", 5432, 65535)))
        database["NAME"] = env.get("DATABASE_NAME") or "labs"
        database["USER"] = env.get("DATABASE_USER") or "labs"
    return Settings(
        service=service,
        version=env.get("VERSION") or "0.0.0",
        port=int(number(env, "PORT", 3000, 65535)),
        prefix=prefix,
        startup=number(env, "STARTUP_SECONDS", 0, 3600),
        warmup=number(env, "WARMUP_SECONDS", 0, 3600),
        healthy=choice(env, "HEALTH", "ok", "ok", "bad") == "ok",
        crash=choice(env, "CRASH", "0", "0", "1") == "1",
        graceful=choice(env, "GRACEFUL", "1", "0", "1") == "1",
        shutdown=number(env, "SHUTDOWN_SECONDS", 25, 3600),
        data=Path(env["DATA_DIR"]) if env.get("DATA_DIR") else None,
        database=database,
        peer=env.get("PEER_URL") or None,
    )


def log(now: Settings, level: str, message: str, **fields: object) -> None:
    line = {"time": time.time(), "level": level, "service": now.service, "version": now.version, "message": message}
    # At a shutdown of the host whoever reads the lines may be gone first, and the service must still end.
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), f"{json.dumps({**line, **fields})}\n".encode())


@lru_cache(maxsize=64)
def big_body_hash(size: int) -> str:
    digest = hashlib.sha256()
    for chunk in big_body(size):
        digest.update(chunk)
    return digest.hexdigest()


def big_body(size: int) -> list[bytes]:
    """The same bytes for the same size, in chunks; each chunk starts with its number, so none can be swapped."""
    chunks = []
    for start in range(0, size, CHUNK):
        head = b"%016d" % (start // CHUNK)
        chunks.append((head + PATTERN)[: min(CHUNK, size - start)])
    return chunks


class DatabaseError(Exception):
    """The database did not answer, or not with what was asked for."""


class Database:
    """Rows in PostgreSQL; connects at the first use and again after the server was away."""

    def __init__(self, options: Mapping[str, str]) -> None:
        import asyncpg  # only where a database is configured: the others start faster without

        self._asyncpg = asyncpg
        self._errors = (OSError, asyncio.TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
        self._options = options
        self._pool: Any = None
        self._lock = asyncio.Lock()

    async def _connected(self) -> Any:
        async with self._lock:
            if self._pool is None:
                secret = self._options.get("PASSWORD_FILE")
                pool = await self._asyncpg.create_pool(
                    host=self._options["HOST"],
                    port=int(self._options["PORT"]),
                    database=self._options["NAME"],
                    user=self._options["USER"],
                    password=Path(secret).read_text().rstrip("\n") if secret else None,
                    min_size=0,
                    max_size=4,
                    timeout=5,
                    command_timeout=5,
                )
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute("SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK)
                    await connection.execute(SCHEMA)
                self._pool = pool
            return self._pool

    async def add(self, text: str) -> int:
        try:
            return await (await self._connected()).fetchval("INSERT INTO notes (text) VALUES ($1) RETURNING id", text)
        except self._errors as error:
            raise DatabaseError(repr(error)) from error

    async def notes(self) -> list[dict[str, object]]:
        try:
            rows = await (await self._connected()).fetch("SELECT id, text, created FROM notes ORDER BY id")
        except self._errors as error:
            raise DatabaseError(repr(error)) from error
        return [{"id": row["id"], "text": row["text"], "created": row["created"].isoformat()} for row in rows]

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()


class Service:
    def __init__(self, now: Settings) -> None:
        self.now = now
        self.started = time.monotonic()
        self.warmed = False
        self.closing = asyncio.Event()
        self.sockets: set[asyncio.Task[None]] = set()
        self.database = Database(now.database) if now.database else None

    def application(self) -> web.Application:
        app = web.Application(client_max_size=BODY_LIMIT, middlewares=[self.log_request])
        app.on_response_prepare.append(self.mark)
        app.on_cleanup.append(self.disconnect)
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/", self.index),
            ("GET", "/health", self.health),
            ("GET", "/ready", self.health),
            ("GET", "/version", self.version),
            ("GET", "/slow", self.slow),
            ("POST", "/echo", self.echo),
            ("GET", "/stream", self.stream),
            ("GET", "/ws", self.websocket),
            ("GET", "/big", self.big),
        ]
        if self.database:
            routes += [("GET", "/notes", self.list_notes), ("POST", "/notes", self.add_note)]
        if self.now.data:
            routes += [("GET", "/files/{name}", self.get_file), ("PUT", "/files/{name}", self.put_file)]
        if self.now.peer:
            routes.append(("GET", "/peer", self.peer))
        for method, path, handler in routes:
            for full in dict.fromkeys((path, self.now.prefix + path)):
                app.router.add_route(method, full, handler)
        if self.now.prefix:
            app.router.add_route("GET", self.now.prefix, self.index)
        return app

    # Around every request

    @web.middleware
    async def log_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        begun = time.monotonic()
        request["id"] = request.headers.get("X-Request-Id") or uuid.uuid4().hex
        status, level = 0, "info"
        try:
            response = await handler(request)
            status = response.status
            return response
        except web.HTTPException as error:
            status = error.status
            raise
        except (ConnectionError, asyncio.CancelledError):
            level = "warning"  # the client left; status 0
            raise
        except DatabaseError as error:
            status, level = 503, "error"
            return web.json_response({"error": f"database: {error}", "request_id": request["id"]}, status=503)
        except Exception:
            status, level = 500, "error"
            traceback.print_exc()
            return web.json_response({"error": "internal error", "request_id": request["id"]}, status=500)
        finally:
            took = round((time.monotonic() - begun) * 1000, 1)
            fields = {"request_id": request["id"], "method": request.method, "path": request.path_qs}
            log(self.now, level, "request", **fields, status=status, ms=took)

    async def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Service"] = self.now.service
        response.headers["X-Version"] = self.now.version
        response.headers["X-Request-Id"] = request["id"]

    async def end_streams(self) -> None:
        """End what is held open. While aiohttp shuts down is too late: it reads nothing any more then."""
        self.closing.set()
        if self.sockets:
            await asyncio.wait(self.sockets)

    async def disconnect(self, _app: web.Application) -> None:
        if self.database:
            await self.database.close()

    # Endpoints

    def identity(self) -> dict[str, str]:
        return {"service": self.now.service, "version": self.now.version, "hostname": socket.gethostname()}

    async def index(self, _request: web.Request) -> web.Response:
        if self.now.service != "ui":
            return web.json_response(self.identity())
        name, version = html.escape(self.now.service), html.escape(self.now.version)
        page = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{name} {version}</title></head>
<body><h1>{name}</h1><p>Version <strong>{version}</strong> on {html.escape(socket.gethostname())}</p></body>
</html>
"""
        return web.Response(text=page, content_type="text/html")

    async def warm(self) -> None:
        """What a fresh process does for the first time takes longer: its first users do not have to wait for that."""
        site = f"http://127.0.0.1:{self.now.port}"
        async with aiohttp.ClientSession() as session:
            for path in ("/", "/big?bytes=200000", "/echo") * 20:
                body = b"x" * 5000 if path == "/echo" else None
                async with session.request("POST" if body else "GET", site + path, data=body) as answer:
                    await answer.read()
        self.warmed = True

    async def health(self, _request: web.Request) -> web.Response:
        warm = self.warmed and time.monotonic() - self.started >= self.now.warmup
        state = "ok" if warm and self.now.healthy else "bad" if warm else "warming up"
        return web.json_response({"status": state, **self.identity()}, status=200 if state == "ok" else 503)

    async def version(self, _request: web.Request) -> web.Response:
        return web.json_response(self.identity())

    async def slow(self, request: web.Request) -> web.Response:
        seconds = query_number(request, "seconds", 1.5, SLOW_LIMIT)
        await asyncio.sleep(seconds)
        return web.json_response({"slept": seconds, **self.identity()})

    async def echo(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {"X-Body-SHA256": hashlib.sha256(body).hexdigest()}
        return web.Response(body=body, content_type=request.content_type, headers=headers)

    async def big(self, request: web.Request) -> web.StreamResponse:
        size = int(query_number(request, "bytes", 1024 * 1024, BODY_LIMIT))
        seconds = query_number(request, "seconds", 0, SLOW_LIMIT)
        response = web.StreamResponse(headers={"X-Body-SHA256": big_body_hash(size)})
        response.content_type = "application/octet-stream"
        response.content_length = size
        await response.prepare(request)
        chunks = big_body(size)
        for chunk in chunks:
            await response.write(chunk)
            if seconds:
                await asyncio.sleep(seconds / len(chunks))
        await response.write_eof()
        return response

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        count = 0
        while not self.closing.is_set():
            data = json.dumps({"count": count, **self.identity()})
            await response.write(f"id: {count}\ndata: {data}\n\n".encode())
            count += 1
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.closing.wait(), TICK)
        await response.write_eof()
        return response

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(timeout=5)
        await ws.prepare(request)
        talk = asyncio.ensure_future(self.talk(ws))
        self.sockets.add(talk)
        talk.add_done_callback(self.sockets.discard)
        await talk
        return ws

    async def talk(self, ws: web.WebSocketResponse) -> None:
        while not ws.closed:
            message = await self.message(ws)
            if message is None:
                await ws.close(code=aiohttp.WSCloseCode.GOING_AWAY, message=b"shutdown")
            elif message.type == aiohttp.WSMsgType.TEXT:
                await ws.send_str(message.data)
            elif message.type == aiohttp.WSMsgType.BINARY:
                await ws.send_bytes(message.data)

    async def message(self, ws: web.WebSocketResponse) -> aiohttp.WSMessage | None:
        """The next message, or None once the service is to end.

        Nobody receives any more then, since aiohttp awaits the answer to a close frame only if nobody does. Without it
        the frame may be lost: a proxy that cannot forward one more message drops what it has yet to deliver.
        """
        receiving, closing = asyncio.ensure_future(ws.receive()), asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait({receiving, closing}, return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else None
        finally:
            receiving.cancel()
            closing.cancel()
            await asyncio.wait({receiving})

    async def list_notes(self, _request: web.Request) -> web.Response:
        notes = await self.database.notes()
        return web.json_response({"count": len(notes), "notes": notes})

    async def add_note(self, request: web.Request) -> web.Response:
        try:
            text = (await request.json())["text"]
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise bad_request('the body must be JSON like {"text": "..."}')
        note = await self.database.add(text)
        return web.json_response({"id": note, "text": text}, status=201)

    def file(self, request: web.Request) -> Path:
        name = request.match_info["name"]
        if not FILE_NAME.fullmatch(name):
            raise bad_request(f"file name {name!r}: letters, digits, '.', '_' and '-' only, at most 100")
        return self.now.data / name

    async def get_file(self, request: web.Request) -> web.Response:
        path = self.file(request)
        if not path.is_file():
            raise web.HTTPNotFound(text=json.dumps({"error": f"no file {path.name}"}), content_type="application/json")
        body = path.read_bytes()
        headers = {"X-Body-SHA256": hashlib.sha256(body).hexdigest()}
        return web.Response(body=body, content_type="application/octet-stream", headers=headers)

    async def put_file(self, request: web.Request) -> web.Response:
        path, body = self.file(request), await request.read()
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        with temporary.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        return web.json_response({"name": path.name, "bytes": len(body)}, status=201)

    async def peer(self, request: web.Request) -> web.Response:
        # A fresh connection each time, as most services make them; nothing is retried.
        timeout, headers = aiohttp.ClientTimeout(total=10), {"X-Request-Id": request["id"]}
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(self.now.peer, headers=headers) as answer,
            ):
                body = {"status": answer.status, "version": answer.headers.get("X-Version"), "url": self.now.peer}
                await answer.read()
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            return web.json_response({"error": f"{self.now.peer}: {error!r}"}, status=502)
        return web.json_response(body, status=200 if body["status"] == 200 else 502)


def bad_request(message: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=json.dumps({"error": message}), content_type="application/json")


def query_number(request: web.Request, name: str, default: float, most: float) -> float:
    try:
        return number(request.query, name, default, most)
    except SettingError as error:
        raise bad_request(str(error)) from None


async def serve(now: Settings) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def terminate() -> None:
        log(now, "info", "SIGTERM", graceful=now.graceful)
        if not now.graceful:
            os._exit(143)
        stopped.set()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    loop.add_signal_handler(signal.SIGINT, terminate)
    service = Service(now)
    runner = web.AppRunner(service.application(), access_log=None, shutdown_timeout=now.shutdown)
    await runner.setup()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(stopped.wait(), now.startup)
    site = web.TCPSite(runner, None, now.port)
    await site.start()
    log(now, "info", "listening", port=now.port, prefix=now.prefix)
    await service.warm()
    await stopped.wait()
    await site.stop()
    await service.end_streams()
    await runner.cleanup()
    log(now, "info", "stopped")


def crash() -> None:
    time.sleep(0.3)
    try:
        raise RuntimeError("CRASH=1: the configuration asks for it")
    except RuntimeError:
        traceback.print_exc()
    sys.exit(3)


def main() -> None:
    try:
        now = settings(os.environ)
    except SettingError as error:
        sys.exit(f"app.py: {error}")
    if now.crash:
        crash()
    asyncio.run(serve(now))


if __name__ == "__main__":
    main()
