# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Heads of requests and of answers, as long as Caddy lets them be, through a real Caddy and a real nginx."""

from __future__ import annotations

import asyncio
import json

from tests.support.raw import exchange, statuses
from tests.unit.roles.gateway.served import app, served
from tests.unit.roles.gateway.test_gateway_behind_caddy import DOMAIN, caddy, sent

HEAD = f"Host: {DOMAIN}\nConnection: close\n"
# What caddy_max_header_size says, without the rest of the head; in fact Caddy reads 4 KiB more.
LONG = 32 * 1024 - 200
LONGEST = LONG + 4096
COOKIES = "; ".join(f"c{number}={'v' * 990}" for number in range(32))
LINES = "".join(f"X-{number}: {'v' * 300}\n" for number in range(100))
# What the app is to see of it, at least.
HEADS = {
    "one header": (f"GET /api/x HTTP/1.1\n{HEAD}X-Long: {'a' * LONG}\n\n", LONG),
    "as long as Caddy reads": (f"GET /api/x HTTP/1.1\n{HEAD}X-Long: {'a' * LONGEST}\n\n", LONGEST),
    "cookies": (f"GET /api/x HTTP/1.1\n{HEAD}Cookie: {COOKIES}\n\n", len(COOKIES)),
    "many headers": (f"GET /api/x HTTP/1.1\n{HEAD}{LINES}\n", 100 * 300),
    "path": (f"GET /api/{'a' * LONG} HTTP/1.1\n{HEAD}\n", LONG),
    "query": (f"GET /api/x?{'a' * LONG} HTTP/1.1\n{HEAD}\n", LONG),
    "path that is escaped": (f"GET /api/{chr(0xE9) * LONGEST} HTTP/1.1\n{HEAD}\n", 3 * LONGEST),
    "path and header": (f"GET /api/{'a' * 16000} HTTP/1.1\n{HEAD}X-Long: {'a' * 16000}\n\n", 32000),
    "with a body": (f"POST /api/x HTTP/1.1\n{HEAD}Content-Length: 2\nX-Long: {'a' * LONG}\n\nhi", LONG),
}


def test_a_head_that_caddy_lets_through_gets_to_the_app() -> None:
    came = {}

    async def play() -> None:
        async with served(app(domains=[DOMAIN])) as behind, caddy(behind) as edge:
            for what, (text, length) in HEADS.items():
                behind.upstream.seen.clear()
                answered = statuses(await exchange(edge.https_port, DOMAIN, text))
                heads = [seen.path + "".join(seen.headers.values()) for seen in behind.upstream.seen]
                came[what] = (answered, [len(head) >= length for head in heads])
            behind.upstream.seen.clear()
            beyond = f"GET /api/x HTTP/1.1\n{HEAD}X-Long: {'a' * (LONGEST + 400)}\n\n"
            assert statuses(await exchange(edge.https_port, DOMAIN, beyond)) == [431]
            assert behind.upstream.seen == []
            for version in ("--http1.1", "--http2"):
                assert await sent(edge, version, "--header", f"X-Long: {'a' * (LONG - 1000)}") == "200"

    asyncio.run(play())
    assert came == dict.fromkeys(HEADS, ([200], [True]))


def test_a_head_that_the_gateway_refuses_is_told_in_the_form_that_a_client_takes() -> None:
    async def play() -> None:
        async with served(app(domains=[DOMAIN]), gateway_max_header_size="8k") as behind, caddy(behind) as edge:
            for accepted, kind in (("text/html", "text/html"), ("*/*", "application/problem+json")):
                answer = await edge.get("/api/x", headers={"Accept": accepted, "X-Long": "a" * 9000})
                assert (answer.status, answer.content_type) == (431, kind)
                assert b"Request Header Fields Too Large" in edge.body
            # Of a path that does not fit nothing is read that comes after it.
            answer = await edge.get(f"/api/{'a' * 9000}", headers={"Accept": "text/html"})
            assert (answer.status, answer.content_type) == (414, "application/problem+json")
            assert json.loads(edge.body)["title"] == "URI Too Long"
            assert [entry["status"] for entry in await behind.logged(4)][1:] == [431, 431, 414]

    asyncio.run(play())


def test_long_headers_of_an_answer_arrive() -> None:
    async def play() -> None:
        async with served(app(domains=[DOMAIN])) as behind, caddy(behind) as edge:
            for number, size in ((1, 32 * 1024), (32, 1024), (100, 330)):
                # An app may ask the gateway to read its answer ahead.
                for buffering in ("no", "yes"):
                    answer = await edge.get(f"/api/headers/{number}/{size}?X-Accel-Buffering={buffering}")
                    assert answer.status == 200, behind.said()
                    assert [len(value) for value in answer.headers.getall("X-Long")] == [size] * number
                    assert len(edge.body) == 200_000

    asyncio.run(play())
