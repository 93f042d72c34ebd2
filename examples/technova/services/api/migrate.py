# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes the schema: `migrate.py up`, `migrate.py down VERSION`, `migrate.py version`.

Every version only adds to the one before, so that the release that still serves goes on beside it. What only older
releases need would be removed by a version of its own, in `migrate.after`.
"""

from __future__ import annotations

import asyncio
import os
import sys

import asyncpg
from database import NEEDED, place

LOCK = 7302201  # any number; two hosts may migrate one database at the same moment
UP = {
    1: """CREATE TABLE items (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL,
        stock int NOT NULL
    )""",
    2: "ALTER TABLE items ADD COLUMN location text NOT NULL DEFAULT 'unknown'",
}
DOWN = {1: "DROP TABLE items", 2: "ALTER TABLE items DROP COLUMN location"}


async def current(connection: asyncpg.Connection) -> int:
    await connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version int NOT NULL)")
    return await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_version")


async def move(connection: asyncpg.Connection, wanted: int) -> None:
    """Step by step, each in a transaction with its number."""
    while (version := await current(connection)) != wanted:
        up = wanted > version
        async with connection.transaction():
            await connection.execute(UP[version + 1] if up else DOWN[version])
            after = version + 1 if up else version - 1
            await connection.execute("DELETE FROM schema_version")
            await connection.execute("INSERT INTO schema_version VALUES ($1)", after)
        print(f"schema {version} -> {after}", flush=True)


async def main(verb: str, *rest: str) -> None:
    connection = await asyncpg.connect(**place())
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        if verb == "version":
            print(await current(connection))
        elif verb == "up":
            await move(connection, max(NEEDED, await current(connection)))
            if os.environ.get("FAULT") == "bad-migration":
                sys.exit("FAULT=bad-migration: this migration is broken on purpose, after it has changed the schema")
        elif verb == "down":
            # Nothing was there before the first release: its table may stay, and is empty.
            await move(connection, max(1, int(rest[0] or 1)))
        else:
            sys.exit(f"{verb}: not one of up, down VERSION, version")
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
