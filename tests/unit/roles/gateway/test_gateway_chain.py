# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests byte by byte through a real Caddy and a real nginx: what the client is answered, and what the app gets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tests.support.raw import LF, exchange, exchange_http2, statuses
from tests.unit.roles.caddy.served import Seen
from tests.unit.roles.gateway.served import app, served
from tests.unit.roles.gateway.test_gateway_behind_caddy import DOMAIN, ME, caddy

KEPT = f"Host: {DOMAIN}\n"
HEAD = f"{KEPT}Connection: close\n"
SIZED = f"POST /x HTTP/1.1\n{HEAD}"
CHUNKED = f"{SIZED}Transfer-Encoding: chunked\n"
HELLO = "5\nhello\n0\n\n"
POSTED = ["POST /x hello"]
# What follows it would be a request of its own, if a body were taken to end before.
SMUGGLED = f"GET /smuggled HTTP/1.1\n{HEAD}\n"


@dataclass(frozen=True)
class Case:
    """A line break of `sent` stands for CR LF. Of each request that the app gets: method, path and body."""

    sent: str
    answered: list[int]
    seen: list[str] = field(default_factory=list)
    # Of the first of them: all values of these names.
    headers: dict[str, list[str]] = field(default_factory=dict)


def get(lines: str, answered: int = 200, path: str = "/a", **headers: list[str]) -> Case:
    """A GET with these lines beside its host; an underscore of a name stands for a hyphen."""
    named = {name.replace("_", "-"): values for name, values in headers.items()}
    return Case(f"GET {path} HTTP/1.1\n{HEAD}{lines}\n", [answered], [f"GET {path} "] * (answered == 200), named)


def path(written: str, answered: int = 200, seen: str | None = None) -> Case:
    to_app = [f"GET {seen or written} "] if answered == 200 else []
    return Case(f"GET {written} HTTP/1.1\n{HEAD}\n", [answered], to_app)


def method(name: str, answered: int, body: str = "") -> Case:
    sized = f"Content-Length: {len(body)}\n" if body else ""
    return Case(f"{name} /a HTTP/1.1\n{HEAD}{sized}\n{body}", [answered], [f"{name} /a {body}"] * (answered == 200))


def refused(sent: str, *answered: int) -> Case:
    return Case(sent, list(answered))


HEADERS = {
    "who the client is": get(
        "X-Forwarded-For: 203.0.113.9, 10.0.0.1\nX-Real-IP: 203.0.113.9\nX-Forwarded-Proto: http\n"
        "X-Forwarded-Host: evil.test\nX-Forwarded-Port: 1\nX-Forwarded-Prefix: /p\nForwarded: for=203.0.113.9\n",
        X_Forwarded_For=[ME],
        X_Real_IP=[ME],
        X_Forwarded_Proto=["https"],
        X_Forwarded_Host=[DOMAIN],
        X_Forwarded_Port=[],
        X_Forwarded_Prefix=[],
        Forwarded=[],
        Host=[DOMAIN],
    ),
    # An app that reads headers as CGI does would not tell them from those with hyphens.
    "names with underscores": get("X_Real_IP: 203.0.113.9\nX_Forwarded_For: 1\n", X_Real_IP=[ME], X_Forwarded_For=[ME]),
    "path in a header": get("X-Original-URL: /admin\nX-Rewrite-URL: /admin\n", X_Original_URL=[], X_Rewrite_URL=[]),
    "hop by hop": get(
        "Keep-Alive: 5\nTE: gzip\nProxy-Connection: x\nProxy-Authorization: Basic eDp5\nX-End: 1\n",
        **{name: [] for name in ("Keep_Alive", "TE", "Proxy_Connection", "Proxy_Authorization", "Connection")},
        X_End=["1"],
    ),
    "named by Connection": Case(
        f"GET /a HTTP/1.1\n{KEPT}Connection: close, X-Hop\nX-Hop: 1\nX-End: 1\n\n",
        [200],
        ["GET /a "],
        {"X-Hop": [], "X-End": ["1"]},
    ),
    # Nobody takes away what the chain says by having it named as of one hop.
    "ours named by Connection": Case(
        f"GET /a HTTP/1.1\n{KEPT}Connection: close, X-Real-IP, X-Forwarded-For, Host, X-Request-Id\n\n",
        [200],
        ["GET /a "],
        {"X-Real-IP": [ME], "X-Forwarded-For": [ME], "Host": [DOMAIN]},
    ),
    "the same name twice": get("X-D: 1\nX-D: 2\n", X_D=["1", "2"]),
    "cookies in two lines": get("Cookie: a=1\nCookie: b=2\n", Cookie=["a=1", "b=2"]),
    "empty value": get("X-Empty:\n", X_Empty=[""]),
    "blanks around a value": get("X-Blank: \t a b \t\n", X_Blank=["a b"]),
    "value beyond ASCII": get("X-Beyond: caf\xc3\xa9\n", X_Beyond=["caf\xe9"]),
    "value on two lines": get("X-Lines: a\n b\n", X_Lines=["a b"]),
    "credentials": get("Authorization: Bearer abc\n", Authorization=["Bearer abc"]),
    "trace": get("traceparent: 00-4bf9-1\n", tracestate=[]),
    "name of odd letters": get("X!Odd: 1\nX-End: 1\n", **{"X!Odd": []}, X_End=["1"]),
    "value with a carriage return": get("X-A: a\rb\n", 400),
    "value with a NUL": get("X-A: a\0b\n", 400),
    "blank before the colon": get("X-A : 1\n", 400),
    "range": get('Range: bytes=0-4\nIf-Range: "x"\n', Range=["bytes=0-4"], If_Range=['"x"']),
    "conditions": get('If-None-Match: "x"\nIf-Modified-Since: now\n', If_None_Match=['"x"'], If_Modified_Since=["now"]),
}
BODIES = {
    "sized": Case(f"{SIZED}Content-Length: 5\n\nhello", [200], POSTED, {"Content-Length": ["5"]}),
    "chunked": Case(f"{CHUNKED}\n{HELLO}", [200], POSTED),
    "empty": Case(f"{SIZED}Content-Length: 0\n\n", [200], ["POST /x "], {"Content-Length": ["0"]}),
    "empty chunks": Case(f"{CHUNKED}\n0\n\n", [200], ["POST /x "]),
    "none at all": Case(f"{SIZED}\n", [200], ["POST /x "], {"Content-Length": ["0"]}),
    "announced": Case(f"{SIZED}Content-Length: 5\nExpect: 100-continue\n\nhello", [200], POSTED, {"Expect": []}),
    "announced in another way": refused(f"{SIZED}Content-Length: 5\nExpect: 200-ok\n\nhello", 417),
    # A trailer is no header, whatever it is called.
    "trailers": Case(
        f"{CHUNKED}Trailer: X-Real-IP\n\n5\nhello\n0\nX-Real-IP: 203.0.113.9\nContent-Length: 9\n\n",
        [200],
        POSTED,
        {"X-Real-IP": [ME]},
    ),
    "of a GET": Case(f"GET /x HTTP/1.1\n{HEAD}Content-Length: 5\n\nhello", [200], ["GET /x hello"]),
    "encoded": Case(f"{SIZED}Content-Encoding: own\nContent-Length: 3\n\n\xff\x8b!", [200], ["POST /x \xff\x8b!"]),
    "of chunks without a size": refused(f"{CHUNKED}\nzz\nhello\n0\n\n", 502),
    "of a chunk below zero": refused(f"{CHUNKED}\n-1\nhello\n0\n\n", 502),
    "of a chunk of 2^68": refused(f"{CHUNKED}\nffffffffffffffff1\nhello\n0\n\n", 502),
}
PATHS = {
    "percent-encoding": path("/caf%C3%A9%20x?q=%C3%A9+%2B&r=%26"),
    "signs of a query in a path": path("/a%3Fb%23c"),
    "UTF-8": path("/caf\xc3\xa9", seen="/caf%C3%A9"),
    # An app gets the path as the client wrote it; which service that is, nginx and the access rules of Caddy say of the
    # path without dots, escapes and double slashes.
    "escaped slash": path("/a%2Fb"),
    "escaped dots": path("/a/%2e%2e/b"),
    "dots": path("/a/./../b"),
    "two slashes": path("//a//b"),
    "parameters": path("/a;b=c/d"),
    "escaped twice": path("/%252e%252e/a"),
    "line break": path("/a%0d%0aX-Evil:%201", 404),
    "empty query": path("/a?"),
    "out of the root": path("/a/../../b", 400),
    "out of the root, escaped": path("/%2e%2e%2fb", 400),
    "NUL": path("/a%00b", 400),
    "bad escape": path("/%zz", 400),
    "none": path("*", 400),
}
METHODS = {
    **{name: method(name, 200) for name in ("GET", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH")},
    **{name: method(name, 200, "hi") for name in ("PUT", "PATCH", "POST")},
    "HEAD": method("HEAD", 200),
    # It would tell a script the cookies that it must not see.
    "TRACE": method("TRACE", 405),
    "CONNECT": refused(f"CONNECT {DOMAIN}:443 HTTP/1.1\n{HEAD}\n", 400),
    "CONNECT to a path": method("CONNECT", 405),
    "small letters": method("get", 400),
}
UPGRADES = {
    "to HTTP/2": Case(
        f"GET /a HTTP/1.1\n{KEPT}Connection: close, Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMA\n\n",
        [200],
        ["GET /a "],
        {"Upgrade": [], "HTTP2-Settings": []},
    ),
    "to HTTP/2 among others": Case(
        f"GET /a HTTP/1.1\n{KEPT}Connection: close, Upgrade\nUpgrade: websocket, h2c\n\n",
        [200],
        ["GET /a "],
        {"Upgrade": []},
    ),
    "not named by Connection": get("Upgrade: websocket\n", Upgrade=[]),
    "that the app does not take": Case(
        f"POST /x HTTP/1.1\n{KEPT}Connection: close, Upgrade\nUpgrade: websocket\nContent-Length: 5\n\nhello",
        [200],
        POSTED,
    ),
}
SMUGGLING = {
    "size and chunks": Case(f"{CHUNKED}Content-Length: 6\n\n{HELLO}", [200], POSTED),
    "what follows the last chunk": Case(
        f"POST /x HTTP/1.1\n{KEPT}Content-Length: 70\nTransfer-Encoding: chunked\n\n{HELLO}{SMUGGLED}", [200], POSTED
    ),
    "what follows a body": Case(f"POST /x HTTP/1.1\n{KEPT}Content-Length: 5\n\nhello{SMUGGLED}", [200], POSTED),
    "a request as a body": Case(
        f"POST /x HTTP/1.1\n{KEPT}Content-Length: 24\n\nGET /smuggled HTTP/1.1\n\n",
        [200],
        ["POST /x GET /smuggled HTTP/1.1\r\n"],
    ),
    "two sizes": refused(f"{SIZED}Content-Length: 5\nContent-Length: 6\n\nhello", 400),
    "list of sizes": refused(f"{SIZED}Content-Length: 5, 5\n\nhello", 400),
    "size with a sign": refused(f"{SIZED}Content-Length: +5\n\nhello", 400),
    "blank before the colon of an encoding": refused(f"{SIZED}Transfer-Encoding : chunked\n\n{HELLO}", 400),
    "unknown encoding": refused(f"{SIZED}Transfer-Encoding: xchunked\n\n{HELLO}", 501),
    "encoding behind a vertical tab": refused(f"{SIZED}Transfer-Encoding: \x0bchunked\n\n{HELLO}", 400),
    "two encodings": refused(f"{SIZED}Transfer-Encoding: identity, chunked\n\n{HELLO}", 501),
    "encoding twice": refused(f"{CHUNKED}Transfer-Encoding: identity\n\n{HELLO}", 501),
    "no encoding": refused(f"{SIZED}Transfer-Encoding:\nContent-Length: 5\n\nhello", 501),
    "bare line feeds": Case(f"GET /a HTTP/1.1\n{HEAD}\n".replace("\n", LF), [200], ["GET /a "]),
    "bare line feed before a size": Case(f"{SIZED}X-A: a{LF}Content-Length: 5\n\nhello", [200], POSTED, {"X-A": ["a"]}),
    "bare line feeds of chunks": refused(f"{CHUNKED}\n{HELLO}".replace("5\nhello\n", f"5{LF}hello{LF}"), 502),
    "underscored size": Case(f"{SIZED}Content_Length: 9\nContent-Length: 5\n\nhello", [200], POSTED),
    "two hosts": refused(f"GET /a HTTP/1.1\n{HEAD}Host: other.example.com\n\n", 400),
    "host with a name before it": refused(f"GET /a HTTP/1.1\nHost: me@{DOMAIN}\nConnection: close\n\n", 400),
    "host as a name": refused(f"GET /a HTTP/1.1\nHost: {DOMAIN}@other.example.com\nConnection: close\n\n", 400),
    "host with a port": Case(
        f"GET /a HTTP/1.1\nHost: {DOMAIN}:8443\nConnection: close\n\n", [200], ["GET /a "], {"Host": [f"{DOMAIN}:8443"]}
    ),
    # Nothing, as for every name that no site has.
    "other host": refused(f"GET /a HTTP/1.1\n{HEAD}\n".replace(DOMAIN, "other.example.com")),
    "other host that ends alike": refused(f"GET /a HTTP/1.1\n{HEAD}\n".replace(DOMAIN, f"x.{DOMAIN}")),
    "whole URL of another host": refused(f"GET https://other.example.com/a HTTP/1.1\n{HEAD}\n"),
    # Of two names the URL's is the one that counts, for all of the chain.
    "whole URL beside another host": Case(
        f"GET https://{DOMAIN}/a HTTP/1.1\nHost: other.example.com\nConnection: close\n\n",
        [200],
        ["GET /a "],
        {"Host": [DOMAIN], "X-Forwarded-Host": [DOMAIN]},
    ),
    "whole URL with a password": Case(
        f"GET https://me:word@{DOMAIN}/a HTTP/1.1\n{HEAD}\n",
        [200],
        ["GET /a "],
        {"Host": [DOMAIN], "Authorization": []},
    ),
    "HTTP/1.0": Case(f"GET /a HTTP/1.0\n{HEAD}\n", [200], ["GET /a "]),
    "HTTP/0.9": refused("GET /a\n\n", 400),
    "two in a row": Case(
        f"GET /1 HTTP/1.1\n{KEPT}\nPOST /2 HTTP/1.1\n{HEAD}Content-Length: 2\n\nhi",
        [200, 200],
        ["GET /1 ", "POST /2 hi"],
    ),
}
GROUPS = {
    "header": HEADERS,
    "body": BODIES,
    "path": PATHS,
    "method": METHODS,
    "upgrade": UPGRADES,
    "smuggling": SMUGGLING,
}
CASES = {f"{group}: {what}": case for group, cases in GROUPS.items() for what, case in cases.items()}


def told(seen: Seen) -> str:
    return f"{seen.method} {seen.path} {seen.body.decode('latin-1')}"


def test_requests_as_they_are_written() -> None:
    assert len(CASES) >= 45
    came = {}

    async def play() -> None:
        async with served(app(domains=[DOMAIN])) as behind, caddy(behind) as edge:
            for what, case in CASES.items():
                found = behind.upstream.seen
                found.clear()
                answered = statuses(await exchange(edge.https_port, DOMAIN, case.sent))
                headers = {name: found[0].headers.getall(name, []) for name in case.headers} if found else {}
                for seen in found:
                    sizes = [seen.headers.getall(name, []) for name in ("Content-Length", "Transfer-Encoding")]
                    # Of chunks that are all there nginx makes a body of a size.
                    assert sizes in ([[str(len(seen.body))], []], [[], ["chunked"]], [[], []]), what
                came[what] = Case(case.sent, answered, [told(seen) for seen in found], headers)

    asyncio.run(play())
    assert came == CASES


P = [(":method", "GET"), (":scheme", "https"), (":authority", DOMAIN), (":path", "/a")]


def other(name: str, value: str) -> list[tuple[str, str]]:
    return [(each, value if each == name else was) for each, was in P]


SENT = [(":method", "POST"), *P[1:]]
# Headers and body, the status (none where the stream is reset), and what the app sees.
HTTP2: dict[str, tuple[list[tuple[str, str]], bytes, int | None, list[str]]] = {
    "GET": (P, b"", 200, ["GET /a "]),
    "POST": (SENT, b"hello", 200, ["POST /a hello"]),
    "of a size": ([*SENT, ("content-length", "5")], b"hello", 200, ["POST /a hello"]),
    "of too small a size": ([*SENT, ("content-length", "2")], b"hello", None, []),
    "other authority": (other(":authority", "other.example.com"), b"", None, []),
    "authority with a name before it": (other(":authority", f"me@{DOMAIN}"), b"", None, []),
    "host beside the authority": ([*P, ("host", "other.example.com")], b"", None, []),
    "two paths": ([*P, (":path", "/b")], b"", None, []),
    "path without a slash": (other(":path", "a"), b"", None, []),
    "path with a blank": (other(":path", "/a HTTP/1.1"), b"", 200, ["GET /a%20HTTP/1.1 "]),
    "method with a line break": (other(":method", "GET /x HTTP/1.1\r\nX: "), b"", None, []),
    "value with a line break": ([*P, ("x-a", "a\r\nx-b: b")], b"", None, []),
    "name in capitals": ([*P, ("X-A", "a")], b"", None, []),
    "name with a colon": ([*P, ("x-a: b", "a")], b"", None, []),
    "encoding": ([*SENT, ("transfer-encoding", "chunked")], b"0\r\n\r\n", 400, []),
    "connection": ([*P, ("connection", "x-real-ip")], b"", 400, []),
    "pseudo header at the end": ([*P[:3], ("x-a", "a"), P[3]], b"", None, []),
}


def test_requests_of_http_2_as_they_are_written() -> None:
    came: dict[str, Any] = {}

    async def play() -> None:
        async with served(app(domains=[DOMAIN])) as behind, caddy(behind) as edge:
            for what, (headers, body, _status, _seen) in HTTP2.items():
                behind.upstream.seen.clear()
                status = await exchange_http2(edge.https_port, DOMAIN, headers, body)
                came[what] = (headers, body, status, [told(seen) for seen in behind.upstream.seen])
                for seen in behind.upstream.seen:
                    assert (seen.headers["Host"], seen.headers["X-Real-IP"]) == (DOMAIN, ME), what

    asyncio.run(play())
    assert came == HTTP2


ADMIN = ["/admin", "/admin/", "/admin/x", "/ADMIN", "//admin", "/./admin", "/%61dmin", "/x/../admin", "/x/%2e%2e/admin"]
ADMIN += ["/x/..%2fadmin", "/x%2f..%2fadmin", "/%2fadmin", "/admin%2fx", "/admin;x", "/admin;x/y", "/admin/../admin"]
ADMIN += ["/admin?x", "/admin/%2e", f"https://{DOMAIN}/admin", "/api/../admin", "/%2e/admin", "/x/.%2e/admin"]
BESIDE = ["/administrator", "/x/admin", "/admin/../x", "/%2561dmin", "/admin%20", "/x?/admin", "/x%3F/../admin/../y"]


def test_no_spelling_of_a_path_gets_past_an_access_rule() -> None:
    rules = [{"paths": ["/admin"], "allow": ["203.0.113.0/24"]}]

    async def play() -> None:
        async with served(app(domains=[DOMAIN])) as behind, caddy(behind, access_rules=rules) as edge:
            behind.upstream.seen.clear()
            for written, status in (*((each, 403) for each in ADMIN), *((each, 200) for each in BESIDE)):
                answer = await exchange(edge.https_port, DOMAIN, f"GET {written} HTTP/1.1\n{HEAD}\n")
                assert statuses(answer) == [status], written
            assert [seen.path for seen in behind.upstream.seen] == BESIDE

    asyncio.run(play())


def test_the_path_without_its_tricks_says_which_service_is_asked() -> None:
    """Without the one at / the rest is nobody's."""
    api = app({"maintenance": {"retry_after": 1}}, domains=[DOMAIN])

    async def play() -> None:
        async with served(api) as behind, caddy(behind) as edge:
            for written in ("/api/x", "//api//x", "/x/../api/x", "/x/%2e%2e/api/x", "/x/..%2fapi/x", "/%61pi/x"):
                assert statuses(await exchange(edge.https_port, DOMAIN, f"GET {written} HTTP/1.1\n{HEAD}\n")) == [503]
            for written in ("/api/../x", "/API/x", "/api%2e/x", "/x?/api/"):
                assert statuses(await exchange(edge.https_port, DOMAIN, f"GET {written} HTTP/1.1\n{HEAD}\n")) == [200]

    asyncio.run(play())


def test_head_has_the_length_and_nothing_more() -> None:
    async def play() -> None:
        async with served(app(domains=[DOMAIN])) as behind, caddy(behind) as edge:
            for where in ("/api/headers/1/10", "/api/headers/1/10?Content-Range=x"):
                answer = await exchange(edge.https_port, DOMAIN, f"HEAD {where} HTTP/1.1\n{HEAD}\n")
                head, end, body = answer.partition(b"\r\n\r\n")
                assert (end, body) == (b"\r\n\r\n", b"") and b"\r\nContent-Length: 200000" in head

    asyncio.run(play())


def test_a_websocket_speaks() -> None:
    asked = f"GET /api/socket HTTP/1.1\n{KEPT}Connection: keep-alive, Upgrade\nUpgrade: websocket\n"
    key = "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
    # "hi" and the end, under a mask of zeros.
    frames = "\x81\x82\0\0\0\0hi\x88\x80\0\0\0\0"

    async def play() -> None:
        async with served(app(domains=[DOMAIN])) as behind, caddy(behind) as edge:
            answer = await exchange(edge.https_port, DOMAIN, f"{asked}{key}\n{frames}")
            assert statuses(answer) == [101]
            head, _, spoken = answer.partition(b"\r\n\r\n")
            assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in head.lower()
            assert spoken.startswith(b"\x81\x02hi\x88")

    asyncio.run(play())
