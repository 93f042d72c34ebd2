# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests byte by byte: what the client is answered, and what of each gets to the app."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.raw import LF, exchange, statuses
from tests.unit.roles.caddy.served import edge

SITE = "labs.example.com"
LABS = {"apps": [{"name": "labs", "domains": [SITE]}]}
HEAD = f"Host: {SITE}\nConnection: close\n"
CHUNKED = f"POST /x HTTP/1.1\n{HEAD}Transfer-Encoding: chunked\n"
SIZED = f"POST /x HTTP/1.1\n{HEAD}"
HELLO = "5\nhello\n0\n\n"
POSTED = ["POST /x hello"]
# What is sent (a line break stands for CR LF); the status of each answer, none
# where the connection is closed without one; method, path and body of each request that the app sees.
REQUESTS: dict[str, tuple[str, list[int], list[str]]] = {
    "GET": (f"GET /a?b=c&d=%20 HTTP/1.1\n{HEAD}\n", [200], ["GET /a?b=c&d=%20 "]),
    "HEAD": (f"HEAD /a HTTP/1.1\n{HEAD}\n", [200], ["HEAD /a "]),
    "PUT": (f"PUT /a HTTP/1.1\n{HEAD}Content-Length: 2\n\nhi", [200], ["PUT /a hi"]),
    "PATCH": (f"PATCH /a HTTP/1.1\n{HEAD}Content-Length: 2\n\nhi", [200], ["PATCH /a hi"]),
    "DELETE": (f"DELETE /a HTTP/1.1\n{HEAD}\n", [200], ["DELETE /a "]),
    "OPTIONS": (f"OPTIONS /a HTTP/1.1\n{HEAD}\n", [200], ["OPTIONS /a "]),
    "a method of the app's own": (f"PURGE /a HTTP/1.1\n{HEAD}\n", [200], ["PURGE /a "]),
    "OPTIONS of the server": (f"OPTIONS * HTTP/1.1\n{HEAD}\n", [200], []),
    "two in a row": (
        f"GET /1 HTTP/1.1\nHost: {SITE}\n\nGET /2 HTTP/1.1\n{HEAD}\n",
        [200, 200],
        ["GET /1 ", "GET /2 "],
    ),
    "sized body": (f"{SIZED}Content-Length: 5\n\nhello", [200], POSTED),
    "chunked body": (f"{CHUNKED}\n{HELLO}", [200], POSTED),
    "extension of a chunk": (f"{CHUNKED}\n5;a=b\nhello\n0\n\n", [200], POSTED),
    "trailer": (f"{CHUNKED}Trailer: X-T\n\n5\nhello\n0\nX-T: 1\n\n", [200], POSTED),
    "no body": (f"{SIZED}Content-Length: 0\n\n", [200], ["POST /x "]),
    "size and chunks": (f"{CHUNKED}Content-Length: 6\n\n{HELLO}", [200], POSTED),
    # It would be a request of its own; nothing follows a body.
    "what follows the last chunk": (
        f"POST /x HTTP/1.1\nHost: {SITE}\nContent-Length: 70\nTransfer-Encoding: chunked\n\n0\n\n"
        f"GET /y HTTP/1.1\n{HEAD}\n",
        [200],
        ["POST /x "],
    ),
    "two sizes": (f"{SIZED}Content-Length: 5\nContent-Length: 6\n\nhello", [400], []),
    "the same size twice": (f"{SIZED}Content-Length: 5\nContent-Length: 5\n\nhello", [200], POSTED),
    "list of sizes": (f"{SIZED}Content-Length: 5, 5\n\nhello", [400], []),
    "size below zero": (f"{SIZED}Content-Length: -5\n\nhello", [400], []),
    "size with a sign": (f"{SIZED}Content-Length: +5\n\nhello", [400], []),
    "size in hexadecimal": (f"{SIZED}Content-Length: 0x5\n\nhello", [400], []),
    "blank before the colon": (f"{SIZED}Transfer-Encoding : chunked\n\n{HELLO}", [400], []),
    "unknown encoding": (f"{SIZED}Transfer-Encoding: xchunked\n\n{HELLO}", [501], []),
    "encoding behind a vertical tab": (f"{SIZED}Transfer-Encoding: \x0bchunked\n\n{HELLO}", [400], []),
    "two encodings": (f"{SIZED}Transfer-Encoding: gzip, chunked\n\n{HELLO}", [501], []),
    "encoding that is undone": (f"{SIZED}Transfer-Encoding: chunked, identity\n\n{HELLO}", [501], []),
    "encoding twice": (f"{CHUNKED}Transfer-Encoding: chunked\n\n{HELLO}", [501], []),
    "encoding on the next line": (f"{SIZED}Transfer-Encoding:\n chunked\n\n{HELLO}", [200], POSTED),
    "chunks of HTTP/1.0": (CHUNKED.replace("1.1", "1.0") + f"\n{HELLO}", [200], ["POST /x "]),
    "bare line feeds": (f"GET /a HTTP/1.1\n{HEAD}\n".replace("\n", LF), [200], ["GET /a "]),
    "bare carriage return": (f"GET /a HTTP/1.1\n{HEAD}X-A: 1\rX-B: 2\n\n", [400], []),
    "NUL in a header": (f"GET /a HTTP/1.1\n{HEAD}X-A: a\0b\n\n", [400], []),
    "blank in the name of a header": (f"GET /a HTTP/1.1\n{HEAD}X A: b\n\n", [400], []),
    "line without a colon": (f"GET /a HTTP/1.1\n{HEAD}X-A\n\n", [400], []),
    "no host": ("GET /a HTTP/1.1\nConnection: close\n\n", [400], []),
    "two hosts": (f"GET /a HTTP/1.1\n{HEAD}Host: other.example.com\n\n", [400], []),
    "host with a path": (f"GET /a HTTP/1.1\nHost: {SITE}/x\n\n", [400], []),
    "host in capitals with a port": (
        f"GET /a HTTP/1.1\nHost: {SITE.upper()}:443\nConnection: close\n\n",
        [200],
        ["GET /a "],
    ),
    "other host": ("GET /a HTTP/1.1\nHost: other.example.com\n\n", [], []),
    "whole URL": (f"GET https://{SITE}/a HTTP/1.1\n{HEAD}\n", [200], ["GET /a "]),
    "whole URL of another host": (f"GET https://other.example.com/a HTTP/1.1\n{HEAD}\n", [], []),
    "HTTP/1.0 without a host": ("GET /a HTTP/1.0\n\n", [], []),
    "HTTP/0.9": ("GET /a\n\n", [400], []),
    "HTTP/9.9": (f"GET /a HTTP/9.9\n{HEAD}\n", [505], []),
    "no HTTP": ("\x16\x03\x01\x02\x01garbage\n\n", [400], []),
    "path out of the root": (f"GET /a/../../b HTTP/1.1\n{HEAD}\n", [200], ["GET /a/../../b "]),
    "escaped path": (f"GET /a/%2e%2e/%2Fb HTTP/1.1\n{HEAD}\n", [200], ["GET /a/%2e%2e/%2Fb "]),
    "path with two slashes": (f"GET //a//b HTTP/1.1\n{HEAD}\n", [200], ["GET //a//b "]),
    "bad escape": (f"GET /%zz HTTP/1.1\n{HEAD}\n", [400], []),
    "blank in the path": (f"GET /a b HTTP/1.1\n{HEAD}\n", [400], []),
    "no path": (f"GET ?a HTTP/1.1\n{HEAD}\n", [400], []),
    "backslash": (f"GET /a\\b HTTP/1.1\n{HEAD}\n", [200], ["GET /a%5Cb "]),
    "fragment": (f"GET /a#b HTTP/1.1\n{HEAD}\n", [200], ["GET /a%23b "]),
    "long path": (f"GET /{'a' * 7000} HTTP/1.1\n{HEAD}\n", [200], [f"GET /{'a' * 7000} "]),
    "path beyond the limit": (f"GET /{'a' * 60000} HTTP/1.1\n{HEAD}\n", [431], []),
    "upgrade to HTTP/2 without TLS": (
        f"GET /a HTTP/1.1\nHost: {SITE}\nConnection: close, Upgrade, HTTP2-Settings\nUpgrade: H2C\n"
        "HTTP2-Settings: AAMA\n\n",
        [200],
        ["GET /a "],
    ),
}


def test_requests_as_they_are_written() -> None:
    assert len(REQUESTS) >= 40
    came: dict[str, tuple[list[int], list[str]]] = {}

    async def play() -> None:
        async with edge(LABS) as found:
            for what, (text, _answered, _requests) in REQUESTS.items():
                found.app.seen.clear()
                answered = statuses(await exchange(found.https_port, SITE, text))
                came[what] = (answered, [f"{seen.method} {seen.path} {seen.body.decode()}" for seen in found.app.seen])
                for seen in found.app.seen:
                    assert "Upgrade" not in seen.headers, what

    asyncio.run(play())
    assert came == {what: (answered, requests) for what, (_text, answered, requests) in REQUESTS.items()}


OURS = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "X-Request-Id"]
NOBODYS = ["Forwarded", "True-Client-IP", "Proxy", *(f"X-Forwarded-{of}" for of in ("Port", "Prefix", "Server", "Ssl"))]
PATHS = ["X-Original-URL", "X-Rewrite-URL"]


@pytest.mark.parametrize("name", [*OURS, *NOBODYS, *PATHS])
@pytest.mark.parametrize("listed", [False, True], ids=["", "named by Connection"])
def test_a_client_says_nothing_of_these_to_the_app(name: str, listed: bool) -> None:
    async def play() -> None:
        async with edge(LABS) as found:
            headers = {name: "203.0.113.9", **({"Connection": f"keep-alive, {name}"} if listed else {})}
            await found.get("/echo", headers=headers)
            sent = found.app.seen[-1].headers
            assert sent.get(name) != "203.0.113.9"
            assert sent["X-Forwarded-For"] == sent["X-Real-IP"] == "127.0.0.1"

    asyncio.run(play())
