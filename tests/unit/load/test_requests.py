# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each way a request can go wrong is reported as what it was, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.load.target import UsageError
from tests.unit.load.server import DEFAULTS, Hangup, Loader, Request, Server, reset


def test_a_healthy_server_has_no_failures(load: Loader) -> None:
    server = Server()
    report = load(server)
    assert report.passed, report.describe()
    assert report.sent == report.ok == 80
    assert len(set(server.ids())) == 80
    assert set(report.latency_ms) == {"all", "get", "echo", "big", "slow"}
    assert list(report.versions) == ["1.0.0"]


def test_most_requests_share_connections_and_some_have_their_own(load: Loader) -> None:
    server = Server()
    load(server, fresh=0.25)
    used = [r.connection for r in server.requests if "x-request-id" in r.headers]
    alone = [c for c in used if used.count(c) == 1]
    assert 5 < len(alone) < 40
    assert len(set(used)) < 45


async def bad_gateway(server: Server, request: Request, reader: Any, writer: Any) -> None:
    server.answer(writer, b"<h1>502</h1>", "502 Bad Gateway")


async def cut_body(server: Server, request: Request, reader: Any, writer: Any) -> None:
    server.answer(writer, b"b" * 1000, length=200_000)
    await writer.drain()
    raise Hangup


async def reset_body(server: Server, request: Request, reader: Any, writer: Any) -> None:
    server.answer(writer, b"b" * 1000, length=200_000)
    await writer.drain()
    await asyncio.sleep(0.02)
    reset(writer)


def chunked(end: bytes) -> Any:
    """A chunk of a body, then what ends it."""

    async def behave(server: Server, request: Request, reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Version: 1.0.0\r\n\r\n5\r\nhello\r\n" + end)
        await writer.drain()
        raise Hangup

    return behave


async def short_body(server: Server, request: Request, reader: Any, writer: Any) -> None:
    server.answer(writer, b"b" * 1000)


async def other_body(server: Server, request: Request, reader: Any, writer: Any) -> None:
    server.answer(writer, b"c" * 200_000, sha="0" * 64)


async def other_echo(server: Server, request: Request, reader: Any, writer: Any) -> None:
    server.answer(writer, request.body[:-1] + b"\0")


async def hang_up(server: Server, request: Request, reader: Any, writer: Any) -> None:
    raise Hangup


async def reset_before(server: Server, request: Request, reader: Any, writer: Any) -> None:
    reset(writer)


async def not_http(server: Server, request: Request, reader: Any, writer: Any) -> None:
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    await writer.drain()
    raise Hangup


async def stall(server: Server, request: Request, reader: Any, writer: Any) -> None:
    await asyncio.sleep(30)


@pytest.mark.parametrize(
    ("path", "behaviour", "kind"),
    [
        ("/", bad_gateway, "status"),
        ("/echo", bad_gateway, "status"),
        ("/big", cut_body, "truncated"),
        ("/big", reset_body, "reset"),
        ("/big", short_body, "truncated"),
        ("/big", other_body, "wrong_body"),
        ("/slow", chunked(b""), "truncated"),
        ("/slow", chunked(b"5\r\nwo"), "truncated"),
        ("/echo", other_echo, "wrong_body"),
        ("/", hang_up, "reset"),
        ("/", reset_before, "reset"),
        ("/", not_http, "protocol"),
        ("/echo", stall, "timeout"),
    ],
)
def test_a_fault_is_reported_as_what_it_is_and_not_retried(load: Loader, path: str, behaviour: Any, kind: str) -> None:
    server = Server({path: behaviour})
    report = load(server)
    hit = [r.headers["x-request-id"] for r in server.requests if r.path.partition("?")[0] == path]
    assert len(hit) > 5
    assert report.failed_requests == {kind: len(hit)}, report.describe()
    assert report.failed == len(hit)
    assert not report.passed
    assert report.sent == report.ok + report.failed == 80
    assert len(server.ids()) == len(set(server.ids())), "a request was sent twice"
    assert report.first_failures[0]["path"].startswith(path)
    assert report.first_failures[0]["kind"] == kind


def test_a_chunked_body_with_its_end_is_whole(load: Loader) -> None:
    report = load(Server({"/slow": chunked(b"0\r\n\r\n")}))
    assert report.passed, report.describe()


def test_a_kept_connection_that_closes_under_a_request_is_a_failure(load: Loader) -> None:
    """The case that HTTP clients repeat silently: an idempotent request on a connection that was used before."""
    server = Server({"/slow": hang_up})
    report = load(server, fresh=0.0)
    reused = [failure for failure in report.first_failures if failure["reused"]]
    assert report.failed_requests == {"reset": 8}
    assert len(reused) >= 4  # the others met a moment in which no connection was free
    assert len(server.ids()) == len(set(server.ids())) == 80


def test_a_closed_listener_is_a_connect_error(load: Loader) -> None:
    async def during(server: Server) -> None:
        await asyncio.sleep(0.4)
        assert server.listener is not None
        server.listener.close()

    report = load(Server(), during, fresh=1.0)
    assert report.failed_requests["connect_error"] >= 30
    assert report.ok >= 30
    assert report.sent == 80


def test_a_stalled_server_does_not_slow_the_schedule(load: Loader) -> None:
    arrivals: list[float] = []

    async def late(server: Server, request: Request, reader: Any, writer: Any) -> None:
        arrivals.append(time.monotonic())
        await asyncio.sleep(1.0)
        server.answer(writer, b"late")

    report = load(Server({"/": late, "/slow": late, "/version": late}), seconds=1.0)
    assert report.passed, report.describe()
    assert report.sent == 100
    # One after the other there would be two.
    assert len([at for at in arrivals if at < arrivals[1] + 1.0]) > 10, "requests waited for answers"


def test_a_blocked_generator_says_so(load: Loader) -> None:
    async def during(_server: Server) -> None:
        await asyncio.sleep(0.2)
        time.sleep(0.4)

    report = load(Server(), during, lag_limit=0.05)
    assert not report.kept_schedule
    assert not report.passed
    assert report.failed == 0
    assert report.lag_ms["max"] > 300
    assert report.sent == 80


def test_latency_counts_from_the_scheduled_time(load: Loader) -> None:
    async def during(_server: Server) -> None:
        await asyncio.sleep(0.2)
        time.sleep(0.4)

    assert load(Server(), during).latency_ms["get"]["max"] > 300


def test_versions_have_the_times_they_were_seen(load: Loader) -> None:
    async def during(server: Server) -> None:
        await asyncio.sleep(0.4)
        server.version = "1.1.0"

    versions = load(Server(), during).versions
    assert list(versions) == ["1.0.0", "1.1.0"]
    assert versions["1.0.0"]["last"] <= versions["1.1.0"]["first"]
    assert 0.3 < versions["1.1.0"]["first"] <= versions["1.1.0"]["last"]


async def late(server: Server, request: Request, reader: Any, writer: Any) -> None:
    await asyncio.sleep(0.4)
    server.answer(writer, b"late")


def test_a_version_is_told_by_when_its_last_request_left_too(load: Loader) -> None:
    paths = {path: late for path in ("/", "/version", "/slow", "/echo", "/big?bytes=200000")}
    seen = load(Server(paths)).versions["1.0.0"]
    assert seen["last"] - seen["last_sent"] > 0.3


def test_what_is_not_the_sample_service_gets_no_load(load: Loader) -> None:
    server = Server({"/version": bad_gateway})
    with pytest.raises(UsageError, match=r"GET /version: .*status 502"):
        load(server)
    assert len(server.requests) == 1


def test_prefixes_are_requested_in_turn(load: Loader) -> None:
    server = Server({f"/api{path}": behaviour for path, behaviour in DEFAULTS.items()})
    report = load(server, prefixes=("", "/api"))
    assert report.passed, report.describe()
    assert len(server.ids("/api")) == 40
    assert report.streams["sse"]["connections"] == 2
