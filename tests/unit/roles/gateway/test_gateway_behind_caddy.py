# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a client gets of the gateway's own answers through a real Caddy, as role caddy sets it up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from typing import Any

import pytest

from tests.support.raw import connect
from tests.unit.roles.caddy import served as front
from tests.unit.roles.gateway.served import Served, app, served

DOMAIN = "labs.example.com"
SITES = [{"name": "labs", "compose": "compose.yml", "domains": [DOMAIN], "services": {"api": {"port": 3001}}}]
# The client's address, which Caddy sees.
ME = "127.0.0.1"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def caddy(behind: Served, **site: Any) -> Any:
    """:param site: of the app"""
    apps = [{**SITES[0], "site": site}]
    return front.edge({"apps": apps, "caddy_gateway_socket": f"{behind.directory}/public/http.sock"})


async def sent(edge: Any, *arguments: str) -> str:
    """The status that curl gets for a request with a large body, over whatever version of HTTP."""
    resolve = ("--resolve", f"{DOMAIN}:{edge.https_port}:127.0.0.1")
    told = ("--silent", "--insecure", "--max-time", "30", "--output", "/dev/null", "--write-out", "%{http_code}")
    process = await asyncio.create_subprocess_exec(
        *("curl", *told, *resolve, *arguments, str(edge.url("/api/x"))), stdout=asyncio.subprocess.PIPE
    )
    return (await process.communicate())[0].decode()


def test_a_body_that_is_too_large_is_answered_while_it_is_still_sent() -> None:
    """The gateway closes a socket on which more is on its way: that must not be an error of Caddy's."""

    async def play() -> None:
        async with served(app({"max_body_size": "1m"}, domains=[DOMAIN])) as behind, caddy(behind) as edge:
            large = behind.directory / "large"
            large.write_bytes(b"x" * 4_000_000)
            sized = ("--data-binary", f"@{large}")
            chunked = ("--request", "POST", "--header", "Transfer-Encoding: chunked", "--upload-file", str(large))
            for how in (("--http1.1", *sized), ("--http2", *sized), ("--http2", *chunked)):
                seen = Counter([await sent(edge, *how) for _ in range(5)])
                assert seen == {"413": 5}, how
            # Caddy has answered too, but closes a connection of HTTP/1.1 on which more is on its way: curl may find it
            # closed to what it sends, and then reads no more. All that it has got is the word that it may send.
            assert {await sent(edge, "--http1.1", *chunked) for _ in range(5)} <= {"413", "100"}
            entries = [entry for entry in await behind.logged(21) if entry["uri"] == "/api/x"]
            assert [entry["status"] for entry in entries] == [413] * 20

    asyncio.run(play())


POST = f"POST /api/x HTTP/1.1\r\nHost: {DOMAIN}\r\n"
SMUGGLED = f"GET /smuggled HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n" * 3000
SIZE = len(SMUGGLED)


LEFT = {
    "short": (f"{POST}Content-Length: 100\r\n\r\n", SMUGGLED[:100]),
    "half of a short one": (f"{POST}Content-Length: 100\r\n\r\n{SMUGGLED[:47]}", SMUGGLED[47:100]),
    "long": (f"{POST}Content-Length: {SIZE}\r\n\r\n", SMUGGLED),
    "half of a long one": (f"{POST}Content-Length: {SIZE}\r\n\r\n{SMUGGLED[: SIZE // 2]}", SMUGGLED[SIZE // 2 :]),
    "chunked": (f"{POST}Transfer-Encoding: chunked\r\n\r\n", SMUGGLED),
    "all but a chunk": (f"{POST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", SMUGGLED),
    "announced": (f"{POST}Content-Length: {SIZE}\r\nExpect: 100-continue\r\n\r\n", SMUGGLED),
    "chunked and announced": (f"{POST}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", SMUGGLED),
}


@pytest.mark.parametrize(("begun", "rest"), LEFT.values(), ids=LEFT.keys())
def test_what_was_not_read_of_a_body_is_no_request(begun: str, rest: str) -> None:
    """Whoever shares connections among clients, as a CDN does, would give its answer to another of them."""

    async def play() -> None:
        closed = app({"maintenance": {"page": "<h1>Back soon</h1>"}}, domains=[DOMAIN])
        async with served(closed) as behind, caddy(behind) as edge:
            reader, writer = await connect(edge.https_port, DOMAIN)
            writer.write(begun.encode())
            # The gateway's answer needs nothing of the body.
            await behind.until(lambda: '"status":503' in (behind.directory / "access.log").read_text())
            answered = b""
            with contextlib.suppress(OSError):
                writer.write(rest.encode())
                while more := await asyncio.wait_for(reader.read(65536), 10):
                    answered += more
            writer.close()
            statuses = re.findall(rb"^HTTP/1.1 (\d+)", answered, re.MULTILINE)
            assert [status for status in statuses if status != b"100"] in ([b"503"], []), answered[:2000]
            # What came after it on a connection of its own would be in the log behind it.
            assert (await edge.get("/last")).status == 200
            uris = [entry["uri"] for entry in await behind.logged(3)]
            assert uris[-2:] == ["/api/x", "/last"]

    asyncio.run(play())


@pytest.mark.parametrize(
    ("how", "connections"),
    [(("--http1.1",), "1 0"), (("--http1.1", "--data", "x"), "1 1"), (("--http2", "--data", "x"), "1 0")],
)
def test_only_a_body_costs_a_connection_of_http_1(how: tuple[str, ...], connections: str) -> None:
    async def play() -> None:
        async with served(app(domains=[DOMAIN])) as behind, caddy(behind) as edge:
            counted = ("--write-out", "%{num_connects} ", "--output", "/dev/null")
            said = await sent(edge, *how, *counted, str(edge.url("/api/x")))
            assert said.split()[:2] == connections.split(), said

    asyncio.run(play())


def test_a_client_that_sends_too_slowly_gets_the_502_of_caddy() -> None:
    """Over HTTP/1.1 when it has sent the rest: Caddy reads what belongs to a request before it answers."""

    async def play() -> None:
        async with served(app({"body_timeout": 1}, domains=[DOMAIN])) as behind, caddy(behind) as edge:
            reader, writer = await connect(edge.https_port, DOMAIN)
            writer.write(f"POST /api/upload HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: 9\r\n\r\nx".encode())
            logged = behind.directory / "access.log"
            await behind.until(lambda: '"uri":"/api/upload"' in logged.read_text())
            writer.write(b"too late")
            line = await asyncio.wait_for(reader.readline(), 20)
            writer.close()
            assert line.startswith(b"HTTP/1.1 502 "), line
            entries = map(json.loads, logged.read_text().splitlines())
            assert [entry["status"] for entry in entries if entry["uri"] == "/api/upload"] == [408]

    asyncio.run(play())


def test_a_client_is_who_caddy_says_whatever_it_says_itself() -> None:
    async def play() -> None:
        limit = {"rate_limit": {"rate": "6/m", "burst": 1}}
        async with served(app(limit, domains=[DOMAIN])) as behind, caddy(behind) as edge:
            seen = []
            for number in range(4):
                claimed = {"X-Forwarded-For": f"198.51.100.{number}", "X-Real-IP": "198.51.100.9", "traceparent": TRACE}
                answer = await edge.get("/api/x", headers={**claimed, "X-Request-ID": "chosen-outside"})
                seen.append((answer.status, answer.headers.get("Retry-After")))
            assert seen == [(200, None), (200, None), (429, "10"), (429, "10")]
            told = json.loads(edge.body)
            logged = [entry for entry in await behind.logged(5) if entry["uri"] == "/api/x"]
            assert {entry["client"] for entry in logged} == {ME}
            assert {entry["traceparent"] for entry in logged} == {TRACE}
            assert told["request_id"] == logged[-1]["request_id"] != "chosen-outside"
            await behind.reload(app({"maintenance": {"allow": [ME]}}, domains=[DOMAIN]))
            assert (await edge.get("/api/x")).status == 200
            await behind.reload(app({"maintenance": {"page": "<h1>Back soon</h1>"}}, domains=[DOMAIN]))
            answer = await edge.get("/api/x", headers={"Accept": "text/html"})
            assert (answer.status, edge.body) == (503, b"<h1>Back soon</h1>")

    asyncio.run(play())
