# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much a client may ask for, as a real nginx counts it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import gateway
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import parse_app

from tests.unit.plugins.module_utils.rollout.models import release
from tests.unit.plugins.module_utils.rollout.test_rollout_gateway import STREAMS, STREAMS_SPLIT, with_broker
from tests.unit.roles.gateway.served import CLIENT, SITE, WEB, Served, app, served

# So slow that a test sees nothing but the burst.
RATE: dict[str, Any] = {"rate": "6/m", "burst": 2}
ME = {"X-Forwarded-For": CLIENT}


async def statuses(edge: Served, count: int, path: str = "/api/x", **options: Any) -> Counter[int]:
    return Counter([(await edge.get(path, **options)).status for _ in range(count)])


def test_a_client_is_told_when_to_come_again() -> None:
    async def play() -> None:
        async with served(app({"rate_limit": RATE})) as edge:
            assert await statuses(edge, 5) == {200: 3, 429: 2}
            refused = await edge.get("/api/x")
            assert refused.headers["Retry-After"] == "10"
            assert await statuses(edge, 5, path="/") == {200: 5}, "another service"
            assert await statuses(edge, 5, client="203.0.113.8") == {200: 3, 429: 2}, "another client"
            last = (await edge.logged(16))[-1]
            assert (last["client"], last["limit_req"], last["upstream_status"]) == ("203.0.113.8", "REJECTED", "")
            request = "GET /x HTTP/1.0\r\nHost: api\r\n\r\n"
            answers = [(await edge.inside(request, me=WEB)).splitlines()[0] for _ in range(5)]
            assert all(" 200 " in answer for answer in answers), "containers of the app are not counted"

    asyncio.run(play())


def test_a_client_is_whom_caddy_names_last() -> None:
    async def play() -> None:
        async with served(app({"rate_limit": RATE})) as edge:
            claimed = [f"198.51.100.{number}, 203.0.113.7" for number in range(5)]
            seen = [(await edge.get("/api/x", client=client)).status for client in claimed]
            assert seen == [200, 200, 200, 429, 429]

    asyncio.run(play())


def test_a_customers_network_of_ipv6_is_one_client() -> None:
    async def play() -> None:
        async with served(app({"rate_limit": RATE})) as edge:
            # Among their bytes are 0 and that of a line break.
            seen = [(await edge.get("/api/x", client=f"2001:db8:0:a::{number}:a")).status for number in range(5)]
            assert seen == [200, 200, 200, 429, 429]
            assert (await edge.get("/api/x", client="2001:db8:0:b::1")).status == 200
            assert await statuses(edge, 5, client="2001:db8:0:a0a::a") == {200: 3, 429: 2}

    asyncio.run(play())


def test_addresses_that_are_exempt_are_not_counted() -> None:
    async def play() -> None:
        exempt = {"rate_limit": {**RATE, "exempt": ["203.0.113.0/24", "2001:db8::/32"]}}
        async with served(app(exempt)) as edge:
            assert await statuses(edge, 6) == {200: 6}
            assert await statuses(edge, 6, client="2001:db8::7") == {200: 6}
            assert await statuses(edge, 6, client="198.51.100.7") == {200: 3, 429: 3}

    asyncio.run(play())


def test_what_was_counted_outlives_a_reload_and_other_apps() -> None:
    other = parse_app(
        {
            "app": "labs-api",
            "domains": ["other.example.test"],
            "services": {"api": {"port": 3001, "routes": ["/"], "rate_limit": RATE}, "web": {"port": 3000}},
        }
    )
    beside = gateway.render(other, release(), "10.9.0.253")

    async def play() -> None:
        async with served(app({"rate_limit": RATE}), beside=beside) as edge:
            assert await statuses(edge, 5) == {200: 3, 429: 2}
            for changed in ({**RATE, "exempt": ["192.0.2.1"]}, {**RATE, "rate": "5/m", "nodelay": True}):
                limits = {
                    "rate_limit": changed,
                    "connection_limit": {"connections": 9, "exempt": changed.get("exempt", [])},
                }
                await edge.reload(app(limits), beside=beside)
                assert await statuses(edge, 3) == {429: 3}, changed
            assert await statuses(edge, 5, path="/", host="other.example.test") == {200: 3, 429: 2}
            await edge.reload(app({"rate_limit": {**RATE, "exempt": ["203.0.113.7"]}}), beside=beside)
            assert await statuses(edge, 3) == {200: 3}
            await edge.reload(app(), beside=beside)
            assert await statuses(edge, 3) == {200: 3}

    asyncio.run(play())


def test_what_comes_too_early_waits_where_that_is_asked_for() -> None:
    async def play() -> None:
        async with served(app({"rate_limit": {"rate": "5/s", "burst": 2, "nodelay": False}})) as edge:
            assert await statuses(edge, 6) == {200: 6}, "each has waited for its time"
            assert [entry["limit_req"] for entry in await edge.logged(6)].count("DELAYED") == 5
            await edge.reload(app({"rate_limit": {"rate": "6/m", "burst": 0}}))
            await statuses(edge, 2, client="203.0.113.9")
            assert [entry["limit_req"] for entry in (await edge.logged(8))[-2:]] == ["PASSED", "REJECTED"]

    asyncio.run(play())


def test_a_dry_run_refuses_nobody_and_is_logged() -> None:
    async def play() -> None:
        limits = {"rate_limit": {**RATE, "dry_run": True}, "connection_limit": {"connections": 1, "dry_run": True}}
        async with served(app(limits)) as edge:
            async with edge.client.get(f"http://{SITE}/api/stream?type=text/plain", headers=ME):
                assert await statuses(edge, 5) == {200: 5}
            entries = [entry for entry in await edge.logged(6) if entry["uri"] == "/api/x"]
            assert {entry["limit_conn"] for entry in entries} == {"REJECTED_DRY_RUN"}
            assert Counter(entry["limit_req"] for entry in entries) == {"PASSED": 2, "REJECTED_DRY_RUN": 3}

    asyncio.run(play())


def test_a_client_has_so_many_requests_under_way() -> None:
    async def play() -> None:
        async with (
            served(app({"connection_limit": {"connections": 2}, "rate_limit": {"rate": "6/m", "burst": 999}})) as edge,
            edge.client.ws_connect(f"http://{SITE}/api/socket", headers=ME) as held,
        ):
            async with edge.client.get(f"http://{SITE}/api/stream?type=text/plain", headers=ME) as stream:
                assert stream.status == 200
                refused = await edge.get("/api/x")
                assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
                assert (await edge.logged(1))[0]["limit_conn"] == "REJECTED"
                assert (await edge.get("/api/x", client="203.0.113.8")).status == 200
                assert (await edge.get("/")).status == 200, "another service"
                # They stay with the old workers, and count on.
                await edge.reload(app({"connection_limit": {"connections": 2, "exempt": ["192.0.2.1"]}}))
                assert (await edge.get("/api/x")).status == 429
                await held.send_str("still here")
                assert await held.receive_str() == "still here"
            for _ in range(100):
                if (await edge.get("/api/x")).status == 200:
                    break
                await asyncio.sleep(0.05)
            else:
                raise AssertionError("what has ended is not counted any more")

    asyncio.run(play())


def test_what_an_app_refuses_by_itself_is_its_own() -> None:
    async def play() -> None:
        async with served(app({"rate_limit": {"rate": "100/s"}})) as edge:
            for status in (413, 429, 502, 503, 504):
                answer = await edge.get(f"/api/status/{status}")
                assert (answer.status, edge.body, "Retry-After" in answer.headers) == (status, b"the app's own", False)

    asyncio.run(play())


def test_a_refusal_is_for_people_or_for_programs() -> None:
    async def play() -> None:
        async with served(app({"rate_limit": RATE})) as edge:
            await statuses(edge, 3)
            browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
            # The path says nothing of what the answer is.
            for path in ("/api/x", "/api/x.jpg"):
                answer = await edge.get(path, headers={"Accept": browser})
                assert answer.status == 429
                assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
                assert b"<h1>Too Many Requests</h1>" in edge.body
                for accept in ("application/json", "*/*", "application/problem+json"):
                    answer = await edge.get(path, headers={"Accept": accept})
                    assert answer.headers["Content-Type"] == "application/problem+json; charset=utf-8"
                    told = json.loads(edge.body)
                    assert (told["status"], told["title"]) == (429, "Too Many Requests")
            assert (await edge.ask("POST", "/api/x", data=b"x")).status == 429
            assert b"nginx" not in edge.body
            head = await edge.ask("HEAD", "/api/x")
            assert (head.status, edge.body, head.headers["Retry-After"]) == (429, b"", "10")

    asyncio.run(play())


def test_names_are_as_long_as_they_may_be() -> None:
    long = "Service-1.of_" * 4
    everything = {
        "rate_limit": RATE,
        "connection_limit": {"connections": 9},
        "maintenance": {"allow": [CLIENT], "page": "x"},
    }
    services = {long: {"port": 3001, "routes": ["/"], **everything}}
    of = parse_app({"app": "labs-" * 6 + "x", "domains": [SITE], "services": services})
    released = replace(release(), services={long: release().services["api"]})
    beside = gateway.render(of, released, "10.9.0.253")

    async def play() -> None:
        async with served(app(domains=["other.example.test"]), beside=beside) as edge:
            assert await statuses(edge, 5, path="/") == {200: 3, 429: 2}

    asyncio.run(play())


def test_beside_a_canary_as_well() -> None:
    async def play() -> None:
        of = replace(STREAMS, name="labs-" * 6 + "x")
        async with served(of, with_broker(release()), STREAMS_SPLIT) as edge:
            assert await edge.admin("/generation", of.name) == edge.generation

    asyncio.run(play())
