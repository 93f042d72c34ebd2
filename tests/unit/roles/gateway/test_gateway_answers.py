# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a real nginx answers by itself: for maintenance, for a service that is gone, to strangers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import parse_app
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.split import Split

from tests.unit.plugins.module_utils.rollout.models import release
from tests.unit.roles.gateway.served import API, CLIENT, SITE, WEB, Served, app, served

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
# What nginx would take for a sign of its own language, more than it reads at once, and letters of several bytes.
LINES = (
    '<h1>"We\'ll" be\\nback; {for} $5 \\ $host ${host} # %s</h1>\r\n',
    "\t<p>\u20ac \U0001f468\u200d\U0001f4bb</p>\\\n",
)
PAGE = "".join(LINES) * 200


async def answer(edge: Served, path: str = "/api/x", **options: Any) -> tuple[int, str | None, str]:
    got = await edge.get(path, **options)
    return got.status, got.headers.get("Retry-After"), got.headers["Content-Type"].partition(";")[0]


def test_a_service_under_maintenance_says_so() -> None:
    async def play() -> None:
        async with served(app({"maintenance": True})) as edge:
            assert await answer(edge) == (503, "300", "application/problem+json")
            assert json.loads(edge.body)["title"] == "Service Unavailable"
            assert await answer(edge, headers=BROWSER) == (503, "300", "text/html")
            assert b"maintenance" in edge.body
            assert (await edge.ask("POST", "/api/x", data=b"x" * 100_000)).status == 503
            assert (await edge.get("/")).status == 200, "another service"
            request = "GET /x HTTP/1.0\r\nHost: api\r\n\r\n"
            assert " 200 " in (await edge.inside(request, me=WEB)).splitlines()[0], "containers reach each other"
            entry = (await edge.logged(1))[0]
            assert (entry["status"], entry["upstream_status"], entry["app"]) == (503, "", "labs")
            assert [seen.path for seen in edge.upstream.seen] == ["/", "/x"]

    asyncio.run(play())


def test_some_addresses_are_let_in() -> None:
    async def play() -> None:
        closed = {"allow": ["203.0.113.0/24", "2001:db8::/32"], "retry_after": 60}
        async with served(app(maintenance=closed)) as edge:
            for path in ("/", "/api/x"):
                for client, status in (
                    *((CLIENT, 200), ("2001:db8::1", 200), ("198.51.100.7", 503), ("2001:db9::1", 503)),
                    # What the client says of itself stands in front.
                    (f"{CLIENT}, 198.51.100.7", 503),
                ):
                    assert (await edge.get(path, client=client)).status == status, client
            assert await answer(edge, client="198.51.100.7") == (503, "60", "application/problem+json")
            reader, writer = await asyncio.open_unix_connection(f"{edge.directory}/public/http.sock")
            writer.write(f"GET /api/x HTTP/1.0\r\nHost: {SITE}\r\n\r\n".encode())
            assert b" 503 " in await reader.readline(), "nobody said who this is"
            writer.close()

    asyncio.run(play())


def test_a_page_of_its_own_arrives_as_it_is_written() -> None:
    async def play() -> None:
        async with served(app({"maintenance": {"page": PAGE}, "max_body_size": 1})) as edge:
            for path in ("/api/x", "/api/x.jpg"):
                assert await answer(edge, path, headers=BROWSER) == (503, "300", "text/html")
                assert edge.body.decode() == PAGE
            assert await answer(edge) == (503, "300", "application/problem+json")
            # Other answers are those of every service.
            got = await edge.ask("POST", "/api/x", data=b"xx", headers=BROWSER)
            assert got.status == 413 and b"Content Too Large" in edge.body

    asyncio.run(play())


def test_maintenance_begins_and_ends_by_a_reload() -> None:
    async def play() -> None:
        async with served(app()) as edge, edge.client.ws_connect(f"http://{SITE}/api/socket") as held:
            await held.send_str("before")
            assert await held.receive_str() == "before"
            for closed, status in ((True, 503), ({"page": PAGE}, 503), ({"allow": [CLIENT]}, 200), (False, 200)):
                await edge.reload(app({"maintenance": closed}))
                assert (await edge.get("/api/x")).status == status, closed
                await held.send_str("still here")
                assert await held.receive_str() == "still here"

    asyncio.run(play())


def test_who_is_let_in_is_limited_all_the_same() -> None:
    async def play() -> None:
        limits = {"rate_limit": {"rate": "6/m", "burst": 0}, "maintenance": {"allow": [CLIENT], "retry_after": 77}}
        async with served(app(limits)) as edge:
            assert (await edge.get("/api/x")).status == 200
            assert await answer(edge) == (429, "10", "application/problem+json")
            assert await answer(edge, client="198.51.100.7") == (503, "77", "application/problem+json")

    asyncio.run(play())


def test_a_service_that_is_gone_is_told_in_the_form_that_a_client_takes() -> None:
    gone = release()
    services = {**gone.services, "api": replace(gone.services["api"], addresses=("10.9.0.140",))}

    async def play() -> None:
        async with served(app({"read_timeout": 1}), replace(gone, services=services)) as edge:
            assert await answer(edge) == (502, None, "application/problem+json")
            assert json.loads(edge.body)["title"] == "Bad Gateway"
            assert await answer(edge, headers=BROWSER) == (502, None, "text/html")
            assert b"<h1>Bad Gateway</h1>" in edge.body
            entry = (await edge.logged(1))[0]
            # It counts against the release.
            assert (entry["status"], entry["upstream_status"]) == (502, "502")
            # To another container as well.
            head, _, body = (await edge.inside("GET /x HTTP/1.0\r\nHost: api\r\n\r\n", me=WEB)).partition("\r\n\r\n")
            assert "Content-Type: application/problem+json" in head
            assert json.loads(body)["title"] == "Bad Gateway"
            await edge.reload(app({"read_timeout": 1}))
            assert await answer(edge, "/api/silent", headers=BROWSER) == (504, None, "text/html")

    asyncio.run(play())


def test_beside_a_canary_a_user_keeps_his_place_over_a_page() -> None:
    of = release()
    split = Split(replace(of, id="r20260102t000000-00000002"), 10, frozenset(["api"]))

    async def play() -> None:
        async with served(app({"maintenance": {"page": PAGE}}), of, split) as edge:
            for headers in (BROWSER, {}):
                got = await edge.get("/api/x", headers=headers)
                assert got.status == 503 and "daffathan_canary=" in got.headers["Set-Cookie"]

    asyncio.run(play())


def test_what_nobody_has_and_what_cannot_be_read_is_told_in_the_form_that_a_client_takes() -> None:
    cases = (("GET", "/x", 404), ("POST", "/x", 404), ("TRACE", "/api/x", 405))
    one = parse_app({"app": "labs", "domains": [SITE], "services": {"api": {"port": 3001, "routes": ["/api/"]}}})

    async def play() -> None:
        async with served(one) as edge:
            for method, path, status in cases:
                got = await edge.ask(method, path, headers=BROWSER)
                assert (got.status, got.content_type) == (status, "text/html"), method
                got = await edge.ask(method, path)
                assert (got.status, got.content_type) == (status, "application/problem+json"), method
                assert json.loads(edge.body)["status"] == status
            # Nothing that comes after a path that cannot be read is looked at, so not either what the client takes.
            for path in ("/api/../../x", "/api/%00"):
                got = await edge.get(path, headers=BROWSER)
                assert (got.status, got.content_type) == (400, "application/problem+json"), path
                assert json.loads(edge.body)["title"] == "Bad Request"
            got = await edge.ask("POST", "/api/x", headers={**BROWSER, "Content-Length": "5x"})
            assert (got.status, got.content_type) == (400, "text/html")
            assert edge.upstream.seen == []
            # The app's own.
            assert (await edge.get("/api/status/404")).status == 404 and edge.body == b"the app's own"

    asyncio.run(play())


def test_a_container_is_told_too_what_is_wrong_with_its_request() -> None:
    requests = (
        ("GET /x HTTP/1.0\r\nHost: api\r\nX-Long: {long}", 431),
        ("TRACE /x HTTP/1.0\r\nHost: api", 405),
        ("GET /../x HTTP/1.0\r\nHost: api", 400),
        ("GET /{long} HTTP/1.0\r\nHost: api", 414),
        ("GET /x HTTP/1.1\r\nConnection: close", 400),
    )

    async def play() -> None:
        async with served(app(), gateway_max_header_size="8k") as edge:
            for request, status in requests:
                answered = await edge.inside(request.format(long="a" * 9000) + "\r\n\r\n", me=WEB)
                assert answered.split(" ")[1] == str(status), request

    asyncio.run(play())


def test_a_stranger_gets_nothing() -> None:
    async def play() -> None:
        async with served(app()) as edge:
            for host in ("other.example.test", "labs.example.test.evil.test", "10.9.0.254", "localhost", "labs"):
                got = await edge.get("/", host=host)
                assert edge.body == b"Misdirected Request\n"
                assert (got.status, got.headers["Server"]) == (421, "nginx"), "no version"
            assert (await edge.get("/problem", host="other.example.test")).status == 421
            assert edge.body == b"Misdirected Request\n"
            # Apps are told apart by the address that was asked: this one is that of none.
            request = "GET / HTTP/1.0\r\nHost: api\r\n\r\n"
            assert " 421 " in (await edge.inside(request, address=API)).splitlines()[0]
            assert edge.upstream.seen == []
            assert "404 Not Found" in await edge.admin("/", "other.example.test")

    asyncio.run(play())
