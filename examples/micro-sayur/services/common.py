# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What both services do alike: settings, log lines, health, metrics, and the way to the broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path

import aio_pika
from aiohttp import web

EXCHANGE, QUEUE, DEAD, EVENT = "micro_sayur", "notifications", "notifications.dead", "user.created"
BROKER_ERRORS = (OSError, asyncio.TimeoutError, aio_pika.exceptions.AMQPError)
Check = Callable[[], Awaitable[bool]]


def setting(name: str, default: str | None = None) -> str:
    value = os.environ.get(name) or default
    if value is None:
        sys.exit(f"{name}: not set. Give it in `environment` of the compose file.")
    return value


def secret(name: str) -> str:
    """The content of the file that NAME_FILE names: a password has no place in the environment."""
    return Path(setting(f"{name}_FILE")).read_text().strip()


def log(level: str, message: str, **fields: object) -> None:
    """One JSON object per line; what one request causes, in either service, has one `correlation_id`."""
    line = {"time": datetime.now(timezone.utc).isoformat(), "level": level, "service": setting("SERVICE"), **fields}
    print(json.dumps({**line, "message": message}), flush=True)


class Web:
    """An HTTP service with /health, /ready and /metrics, to which the caller adds its own routes."""

    def __init__(self, checks: dict[str, Check]) -> None:
        self.checks = checks
        self.version = setting("VERSION", "0.0.0")
        self.counters: dict[str, int] = {}
        self.app = web.Application(middlewares=[self._around])
        self.app.add_routes(
            [web.get("/health", self._health), web.get("/ready", self._ready), web.get("/metrics", self._metrics)]
        )

    def count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1

    def run(self) -> None:
        fault = os.environ.get("FAULT")
        if fault == "crash":
            raise RuntimeError("FAULT=crash: this version is broken on purpose")
        if fault == "not-ready":

            async def never() -> bool:
                return False

            self.checks["fault"] = never
        web.run_app(self.app, port=int(setting("PORT")), print=None, access_log=None)

    @web.middleware
    async def _around(self, request: web.Request, handler: Callable[..., Awaitable[web.Response]]) -> web.Response:
        request["correlation_id"] = request.headers.get("X-Request-Id") or uuid.uuid4().hex
        begun, status = time.monotonic(), 500
        try:
            response = await handler(request)
            status = response.status
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            self.count(f'http_requests_total{{status="{status}"}}')
            fields = {"correlation_id": request["correlation_id"], "method": request.method, "path": request.path}
            log("info", "request", **fields, status=status, ms=round((time.monotonic() - begun) * 1000, 1))
        response.headers["X-Version"] = self.version
        response.headers["X-Request-Id"] = request["correlation_id"]
        return response

    async def _state(self) -> dict[str, str]:
        async def ask(check: Check) -> str:
            try:
                return "connected" if await asyncio.wait_for(check(), 3) else "disconnected"
            except Exception as error:
                return f"disconnected: {error!r}"

        return dict(zip(self.checks, await asyncio.gather(*map(ask, self.checks.values()))))

    async def _health(self, _request: web.Request) -> web.Response:
        """Whether the process lives: a store that is away is told, and is no reason to start the service anew."""
        now = datetime.now(timezone.utc).isoformat()
        return web.json_response({"status": "healthy", "timestamp": now, "services": await self._state()})

    async def _ready(self, _request: web.Request) -> web.Response:
        """Whether it can take requests: all that it depends on answers."""
        state = await self._state()
        ready = all(value == "connected" for value in state.values())
        answer = {"status": "ready" if ready else "not ready", "version": self.version, "services": state}
        return web.json_response(answer, status=200 if ready else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        text = "".join(f"{name} {value}\n" for name, value in sorted(self.counters.items()))
        return web.Response(text=text, content_type="text/plain")


class Broker:
    """A connection to RabbitMQ that comes back: `work` is called with a channel for each connection."""

    def __init__(self, work: Callable[[aio_pika.abc.AbstractChannel, asyncio.Event], Awaitable[None]]) -> None:
        self._work = work
        self._connected = False
        self._where = {
            "host": setting("RABBITMQ_HOST"),
            "port": int(setting("RABBITMQ_PORT", "5672")),
            "login": setting("RABBITMQ_USER", "micro_sayur"),
            "password": secret("RABBITMQ_PASSWORD"),
        }

    async def connected(self) -> bool:
        return self._connected

    async def serve(self, _app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._keep())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _keep(self) -> None:
        while True:
            try:
                await self._once()
            except BROKER_ERRORS as error:
                log("warning", "the broker is away", error=repr(error))
            finally:
                self._connected = False
            await asyncio.sleep(1)

    async def _once(self) -> None:
        connection = await aio_pika.connect(**self._where, timeout=5)
        closed = asyncio.Event()
        connection.close_callbacks.add(lambda *dummy: closed.set())
        async with connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            await channel.set_qos(prefetch_count=10)
            await declare(channel)
            self._connected = True
            await self._work(channel, closed)


async def declare(channel: aio_pika.abc.AbstractChannel) -> None:
    """Exchange and queues, durable. Both services do it, so that none has to be the first."""
    exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
    await channel.declare_queue(DEAD, durable=True)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
    queue = await channel.declare_queue(QUEUE, durable=True, arguments=arguments)
    await queue.bind(exchange, EVENT)
