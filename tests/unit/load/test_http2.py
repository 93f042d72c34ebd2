# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Over HTTP/2 nothing is sent twice either, and each way a request goes wrong is told from the others."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from h2.errors import ErrorCodes

from tests.load.target import UsageError
from tests.unit.load.server import Behaviour, Loader, Server
from tests.unit.load.server_http2 import Request, answer, event


def loaded(server: Server) -> list[Request]:
    """The requests of the load, without the look at the target and the held connections."""
    found = [request for session in server.http2_sessions for request in session.requests.values()]
    return [request for request in found if "x-request-id" in request.headers]


def slowly(request: Request) -> bool:
    return request.path == "/slow"


def test_many_requests_share_a_connection_and_none_is_sent_twice(load: Loader) -> None:
    async def late(request: Request) -> None:
        if slowly(request):
            await asyncio.sleep(0.3)
        await answer(request)

    server = Server(http2=late)
    report = load(server, http2=1.0, fresh=0.2)
    assert report.passed, report.describe()
    assert report.ok == report.requests["HTTP/2"]["sent"] == 80
    assert report.latency_ms["slow"]["p50"] > 290
    ids = [request.headers["x-request-id"] for request in loaded(server)]
    assert len(ids) == len(set(ids)) == 80
    sizes = Counter(request.session.number for request in loaded(server))
    assert len([size for size in sizes.values() if size == 1]) > 5
    assert sorted(sizes.values())[-1] > 20
    assert max(session.most_at_once for session in server.http2_sessions) > 2
    assert report.streams["sse2"]["messages"] > 10


def test_the_share_is_that_of_the_plan_and_each_request_is_counted_once(load: Loader) -> None:
    report = load(Server(), http2=0.5)
    sent = {name: count["sent"] for name, count in report.requests.items()}
    assert 20 < sent["HTTP/2"] < 60
    assert sent["HTTP/2"] + sent["HTTP/1.1"] == sum(sent[kind] for kind in ("get", "echo", "big", "slow")) == 80


async def reset_before(request: Request) -> None:
    request.reset(ErrorCodes.INTERNAL_ERROR)


async def reset_body(request: Request) -> None:
    request.head(1000)
    request.data(b"b" * 10)
    await asyncio.sleep(0.02)
    request.reset(ErrorCodes.INTERNAL_ERROR)


async def short_body(request: Request) -> None:
    request.head(1000)
    request.data(b"b" * 10, end=True)


async def other_body(request: Request) -> None:
    request.head(2, "0" * 64)
    request.data(b"no", end=True)


async def bad_gateway(request: Request) -> None:
    request.head(status=502)
    request.data(b"502", end=True)


async def stall(request: Request) -> None:
    await asyncio.sleep(10)


@pytest.mark.parametrize(
    ("path", "rude", "kind"),
    [
        ("/slow", reset_before, "reset"),
        ("/slow", reset_body, "truncated"),
        ("/slow", short_body, "truncated"),
        ("/big", other_body, "wrong_body"),
        ("/slow", bad_gateway, "status"),
        ("/slow", stall, "timeout"),
    ],
)
def test_a_failure_is_that_of_its_request_alone(load: Loader, path: str, rude: Behaviour, kind: str) -> None:
    async def behave(request: Request) -> None:
        await (rude if request.path == path else answer)(request)  # type: ignore[arg-type,call-arg]

    server = Server(http2=behave)
    report = load(server, http2=1.0, fresh=0.0)
    hit = [request for request in loaded(server) if request.path == path]
    assert report.failed_requests == {kind: len(hit)}, report.describe()
    assert report.ok == 80 - len(hit) > 60
    # They shared the connections with those that went well.
    assert len(server.http2_sessions) <= 4


def test_a_connection_that_ends_fails_all_that_are_under_way(load: Loader) -> None:
    async def behave(request: Request) -> None:
        if slowly(request):
            await asyncio.sleep(0.1)
            request.session.writer.close()
        else:
            await asyncio.sleep(0.05)
            await answer(request)

    server = Server(http2=behave)
    report = load(server, http2=1.0, fresh=0.0)
    assert report.failed_requests["reset"] >= 8, report.describe()
    assert report.refused == 0
    assert report.ok > 20
    ids = [request.headers["x-request-id"] for request in loaded(server)]
    assert len(ids) == len(set(ids))


def test_what_goaway_refuses_is_counted_apart_and_the_rest_is_answered(load: Loader) -> None:
    async def behave(request: Request) -> None:
        session = request.session
        if not slowly(request) or session.gone:
            if session.gone and request.stream > session.gone:
                return
            await asyncio.sleep(0.05)
            await answer(request)
            return
        # What came with it is begun, what comes after it is not.
        session.gone = request.stream
        await asyncio.sleep(0.1)
        session.go_away(request.stream)
        await asyncio.sleep(0.1)
        await answer(request)

    server = Server(http2=behave)
    report = load(server, http2=1.0, fresh=0.0, seconds=1.5)
    assert report.failed == 0, report.describe()
    assert report.refused > 10, report.describe()
    assert report.sent == report.ok + report.refused == 150
    assert report.requests["slow"].get("ok", 0) >= 4, "begun before the GOAWAY, answered after it"
    assert {failure["kind"] for failure in report.first_failures} == {"refused"}
    ids = [request.headers["x-request-id"] for request in loaded(server)]
    assert len(ids) == len(set(ids)), "a refused request was sent again"


def test_a_refused_stream_is_counted_apart(load: Loader) -> None:
    async def behave(request: Request) -> None:
        if slowly(request):
            request.reset(ErrorCodes.REFUSED_STREAM)
        else:
            await answer(request)

    report = load(Server(http2=behave), http2=1.0)
    assert (report.failed, report.refused, report.ok) == (0, 8, 72), report.describe()


@pytest.mark.parametrize("proper", [True, False])
def test_an_event_stream_ends_with_its_last_frame_or_is_cut(load: Loader, proper: bool) -> None:
    ended: list[int] = []

    async def behave(request: Request) -> None:
        if request.path != "/stream" or ended:
            await answer(request)
            return
        ended.append(request.stream)
        request.head()
        request.data(event(0))
        await asyncio.sleep(0.2)
        if proper:
            request.data(b"", end=True)
        else:
            request.session.writer.close()

    report = load(Server(http2=behave), http2=0.5)
    sse = report.streams["sse2"]
    assert (sse["ended"], sse["failed"]) == ((1, {}) if proper else (0, {"truncated": 1})), report.describe()
    assert sse["messages"] > 5
    assert [end["stream"] for end in report.ends] == (["sse2"] if proper else [])


def test_a_target_that_does_not_speak_it_is_refused(load: Loader) -> None:
    async def behave(request: Request) -> None:
        request.session.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with pytest.raises(UsageError, match="--http2"):
        load(Server(http2=behave), http2=0.5)
