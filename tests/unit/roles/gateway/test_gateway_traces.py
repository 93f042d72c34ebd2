# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""By what a request is found again, as a real nginx passes it on."""

from __future__ import annotations

import asyncio
import json
import re

from tests.unit.roles.gateway.served import WEB, Served, app, served

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KEPT = [
    f"00-{TRACE}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-00",
    f"cc-{TRACE}-{PARENT}-01",
    f"cc-{TRACE}-{PARENT}-01-what-the-future-brings",
]
MALFORMED = [
    "",
    "x",
    TRACE,
    f"00-{TRACE}-{PARENT}",
    f"00-{TRACE}-{PARENT}-1",
    f"00-{TRACE}-{PARENT}-01-more",
    f"00-{TRACE.upper()}-{PARENT}-01",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE[:-1]}-{PARENT}-01",
    f"00-{TRACE}0-{PARENT}-01",
    f"ff-{TRACE}-{PARENT}-01",
    f"0-{TRACE}-{PARENT}-01",
    f"cc-{TRACE}-{PARENT}-01.more",
    f"cc-{TRACE}-{PARENT}-01-more and more",
    f" 00-{TRACE}-{PARENT}-01, 00-{TRACE}-{PARENT}-01",
]
MADE = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-(0[01])")


def test_a_trace_is_passed_on_or_begun() -> None:
    async def play() -> None:
        async with served(app()) as edge:
            seen = set()
            for given in KEPT:
                got = await edge.asked("/api/x", headers={"traceparent": given, "tracestate": "congo=t61rcWkgMzE"})
                assert (got["traceparent"], got["tracestate"]) == (given, "congo=t61rcWkgMzE")
            for given in MALFORMED:
                got = await edge.asked("/api/x", headers={"traceparent": given, "tracestate": "congo=t61rcWkgMzE"})
                found = MADE.fullmatch(got["traceparent"])
                assert found and found[1] == "01", (given, got["traceparent"])
                assert "tracestate" not in got, "what belongs to a trace that nobody could read"
                seen.add(got["traceparent"])
            assert MADE.fullmatch((await edge.asked("/api/x"))["traceparent"])
            assert (
                len({each.split("-")[1] for each in seen})
                == len({each.split("-")[2] for each in seen})
                == len(MALFORMED)
            )
            logged = await edge.logged(len(KEPT) + len(MALFORMED) + 1)
            assert [entry["traceparent"] for entry in logged[: len(KEPT)]] == KEPT
            assert seen == {entry["traceparent"] for entry in logged[len(KEPT) : -1]}

    asyncio.run(play())


async def flags(edge: Served) -> set[str]:
    return {(await edge.asked("/api/x"))["traceparent"][-2:] for _ in range(60)}


def test_some_traces_that_begin_here_are_recorded() -> None:
    async def play() -> None:
        async with served(app(), gateway_trace_sampling=50) as edge:
            assert await flags(edge) == {"00", "01"}
        async with served(app(), gateway_trace_sampling=0) as edge:
            assert await flags(edge) == {"00"}
            got = await edge.asked("/api/x", headers={"traceparent": KEPT[0]})
            assert got["traceparent"] == KEPT[0], "who began it has decided"

    asyncio.run(play())


def test_an_id_is_passed_on_where_it_is_one() -> None:
    async def play() -> None:
        async with served(app()) as edge:
            for given in ("0123abcd", "01J9Z3K7T6Q2V8X4B5N1M0C9RD", "8c1f8ee4-5a3d-4a5e-9d0b-1f2e3d4c5b6a", "a" * 128):
                assert (await edge.asked("/api/x", headers={"X-Request-ID": given}))["x-request-id"] == given
            made = []
            for bad in ("", "short", "a" * 129, "<script>alert(1)</script>", "a b c d e f", "-" * 9, 'quote"quote"'):
                got = (await edge.asked("/api/x", headers={"X-Request-ID": bad}))["x-request-id"]
                assert re.fullmatch("[0-9a-f]{32}", got), bad
                made.append(got)
            logged = await edge.logged(4 + len(made))
            assert [entry["request_id"] for entry in logged[4:]] == made
            request = "GET /x HTTP/1.0\r\nHost: api\r\nX-Request-ID: of-a-container\r\n\r\n"
            assert '"of-a-container"' in await edge.inside(request, me=WEB), "one request after the other has the same"

    asyncio.run(play())


def test_a_page_names_the_request() -> None:
    async def play() -> None:
        async with served(app({"max_body_size": 1})) as edge:
            await edge.ask("POST", "/api/x", data=b"xx", headers={"X-Request-ID": "the-request"})
            assert json.loads(edge.body)["request_id"] == "the-request"
            await edge.ask("POST", "/api/x", data=b"xx", headers={"X-Request-ID": "<b>bold</b>", "Accept": "text/html"})
            assert b"<b>" not in edge.body
            assert (await edge.logged(2))[1]["request_id"].encode() in edge.body

    asyncio.run(play())
