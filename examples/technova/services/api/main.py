# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory: items in PostgreSQL. Version 2 of the schema knows where an item is."""

from __future__ import annotations

import asyncio

import asyncpg
from aiohttp import web
from common import Web
from database import NEEDED, place

ERRORS = (OSError, asyncio.TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Inventory:
    def __init__(self) -> None:
        self.pool: asyncpg.Pool | None = None
        self.lock = asyncio.Lock()
        self.web = Web(self.missing)
        self.web.gauges["inventory_items_in_stock"] = self.stock
        self.web.app.on_cleanup.append(self.close)
        self.web.app.add_routes([web.get("/api/items", self.list), web.post("/api/items", self.add)])

    async def connected(self) -> asyncpg.Pool:
        async with self.lock:
            if self.pool is None:
                self.pool = await asyncpg.create_pool(**place(), min_size=0, max_size=5, command_timeout=5)
            return self.pool

    async def close(self, _app: web.Application) -> None:
        if self.pool is not None:
            await self.pool.close()

    async def missing(self) -> str | None:
        try:
            found = await (await self.connected()).fetchval("SELECT max(version) FROM schema_version")
        except ERRORS as error:
            return f"database: {error!r}"
        return None if (found or 0) >= NEEDED else f"schema {NEEDED}, the database has {found}"

    async def stock(self) -> float:
        return float(await (await self.connected()).fetchval("SELECT coalesce(sum(stock), 0) FROM items"))

    async def list(self, _request: web.Request) -> web.Response:
        columns = "id, name, stock" + (", location" if NEEDED >= 2 else "")
        rows = await (await self.connected()).fetch(f"SELECT {columns} FROM items ORDER BY id")
        return web.json_response([dict(row) for row in rows])

    async def add(self, request: web.Request) -> web.Response:
        try:
            asked = await request.json()
            values: list[object] = [str(asked["name"]), int(asked["stock"])]
            if NEEDED >= 2:
                values.append(str(asked.get("location", "unknown")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return web.json_response({"error": 'Send {"name": ..., "stock": ...}.'}, status=400)
        columns, places = ("name, stock, location", "$1, $2, $3") if NEEDED >= 2 else ("name, stock", "$1, $2")
        insert = f"INSERT INTO items ({columns}) VALUES ({places}) RETURNING id"
        return web.json_response({"id": await (await self.connected()).fetchval(insert, *values)}, status=201)


if __name__ == "__main__":
    Inventory().web.run()
