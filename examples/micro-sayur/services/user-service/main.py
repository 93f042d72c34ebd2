# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Users in PostgreSQL, cached in Redis. That a user was made is told to the broker, and never forgotten.

The event is a row of the table outbox, written with the user in one transaction, and deleted once the broker has
confirmed it. So an event may come twice, with the same message id, but not be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator

import aio_pika
import asyncpg
import redis.asyncio as redis
from aiohttp import web
from common import EVENT, EXCHANGE, Broker, Web, log, secret, setting

CACHE_SECONDS = 60
SCHEMA_LOCK = 7301801  # any number; two releases may create the tables at the same moment
SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id uuid NOT NULL UNIQUE,
    correlation_id text NOT NULL,
    body jsonb NOT NULL
)"""


class Users:
    def __init__(self) -> None:
        self.database: asyncpg.Pool | None = None
        self.lock = asyncio.Lock()
        self.cache = redis.Redis(
            host=setting("REDIS_HOST"),
            port=int(setting("REDIS_PORT", "6379")),
            password=secret("REDIS_PASSWORD"),
            socket_timeout=2,
            socket_connect_timeout=2,
        )
        self.news = asyncio.Event()
        self.broker = Broker(self.relay)
        self.web = Web({"database": self.has_database, "redis": self.has_cache, "rabbitmq": self.broker.connected})
        self.web.app.cleanup_ctx.append(self.broker.serve)
        self.web.app.cleanup_ctx.append(self.close)
        self.web.app.add_routes(
            [web.post("/users", self.add), web.get("/users", self.list), web.get("/users/{id:[0-9]+}", self.get)]
        )

    async def pool(self) -> asyncpg.Pool:
        async with self.lock:
            if self.database is None:
                pool = await asyncpg.create_pool(
                    host=setting("DB_HOST"),
                    port=int(setting("DB_PORT", "5432")),
                    database=setting("DB_NAME", "micro_sayur"),
                    user=setting("DB_USER", "micro_sayur"),
                    password=secret("DB_PASSWORD"),
                    min_size=0,
                    max_size=5,
                    timeout=5,
                    command_timeout=5,
                )
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute("SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK)
                    await connection.execute(SCHEMA)
                self.database = pool
            return self.database

    async def close(self, _app: web.Application) -> AsyncIterator[None]:
        yield
        await self.cache.close()
        if self.database is not None:
            await self.database.close()

    async def has_database(self) -> bool:
        return await (await self.pool()).fetchval("SELECT true")

    async def has_cache(self) -> bool:
        return await self.cache.ping()

    async def add(self, request: web.Request) -> web.Response:
        try:
            asked = await request.json()
            name, email = str(asked["name"]).strip(), str(asked["email"]).strip()
            if not name or "@" not in email:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            return web.json_response({"error": 'Send {"name": ..., "email": ...}.'}, status=400)
        async with (await self.pool()).acquire() as connection:
            try:
                async with connection.transaction():
                    insert = "INSERT INTO users (name, email) VALUES ($1, $2) RETURNING id"
                    user = {"id": await connection.fetchval(insert, name, email), "name": name, "email": email}
                    await connection.execute(
                        "INSERT INTO outbox (message_id, correlation_id, body) VALUES ($1, $2, $3)",
                        *(uuid.uuid4(), request["correlation_id"], json.dumps({"event": EVENT, "user": user})),
                    )
            except asyncpg.UniqueViolationError:
                return web.json_response({"error": f"{email} is a user already."}, status=409)
        self.news.set()
        return web.json_response(user, status=201)

    async def list(self, _request: web.Request) -> web.Response:
        rows = await (await self.pool()).fetch("SELECT id, name, email FROM users ORDER BY id DESC LIMIT 100")
        return web.json_response([dict(row) for row in rows])

    async def get(self, request: web.Request) -> web.Response:
        key = f"user:{request.match_info['id']}"
        with contextlib.suppress(redis.RedisError):
            known = await self.cache.get(key)
            if known is not None:
                return web.json_response(text=known.decode(), headers={"X-Cache": "hit"})
        query = "SELECT id, name, email FROM users WHERE id = $1"
        row = await (await self.pool()).fetchrow(query, int(request.match_info["id"]))
        if row is None:
            return web.json_response({"error": "there is no such user"}, status=404)
        text = json.dumps(dict(row))
        # A cache that is away makes it slower, and no more.
        with contextlib.suppress(redis.RedisError):
            await self.cache.set(key, text, ex=CACHE_SECONDS)
        return web.json_response(text=text, headers={"X-Cache": "miss"})

    async def relay(self, channel: aio_pika.abc.AbstractChannel, closed: asyncio.Event) -> None:
        """What is in the outbox goes to the broker, for as long as the connection lasts."""
        exchange = await channel.get_exchange(EXCHANGE)
        while not closed.is_set():
            self.news.clear()
            try:
                while await self.publish(exchange):
                    pass
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log("warning", "the outbox cannot be read", error=repr(error))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.news.wait(), 1)

    async def publish(self, exchange: aio_pika.abc.AbstractExchange) -> int:
        """Some events of the outbox, oldest first; those that another replica has in hand are left to it."""
        async with (await self.pool()).acquire() as connection, connection.transaction():
            rows = await connection.fetch("SELECT * FROM outbox ORDER BY id LIMIT 50 FOR UPDATE SKIP LOCKED")
            for row in rows:
                message = aio_pika.Message(
                    row["body"].encode(),
                    content_type="application/json",
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    message_id=str(row["message_id"]),
                    correlation_id=row["correlation_id"],
                )
                # Returns when the broker has it on its disk; raises where no queue took it.
                await exchange.publish(message, EVENT, mandatory=True, timeout=5)
                self.web.count("events_published_total")
                log("info", "published", correlation_id=row["correlation_id"], message_id=message.message_id)
            await connection.execute("DELETE FROM outbox WHERE id = ANY($1)", [row["id"] for row in rows])
        return len(rows)


if __name__ == "__main__":
    Users().web.run()
