# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every way in which a release can be bad ends at "old live, candidate gone", under load, with words to act on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.lab import Host
from tests.support.oven import APP, clients, oven, version
from tests.support.rollout import assert_settled, containers_of, rollout

# The sample service, with what makes a release bad where its own settings cannot. Health and requests are counted.
PROGRAM = """
import asyncio, os, sys
sys.path.insert(0, "/app")
import app
from aiohttp import web
kind, seen = os.environ["KIND"], {"health": 0, "version": 0}
health, version = app.Service.health, app.Service.version
async def ask_health(self, request):
    seen["health"] += 1
    late = kind == "flaps when asked" and seen["version"] > 10 and seen["health"] % 2
    if late or (kind == "flaps" and seen["health"] % 3 == 0):
        print("flapping on purpose", flush=True)
        return web.json_response({}, status=503)
    return await health(self, request)
async def ask_version(self, request):
    seen["version"] += 1
    if kind == "fails":
        print("failing on purpose", flush=True)
        return web.json_response({}, status=500)
    if kind == "ends" and seen["version"] > 10:
        print("ending on purpose", flush=True)
        os._exit(3)
    await asyncio.sleep({"slow": 1, "crawls": 4}.get(kind, 0))
    return await version(self, request)
app.Service.health, app.Service.version = ask_health, ask_version
app.main()
"""
DEAF = ("sh", "-c", "trap '' TERM; python3 /app/app.py & wait; wait")


def bad(kind: str) -> dict[str, Any]:
    return {"entrypoint": ("python3", "-c", PROGRAM), "environment": {"KIND": kind}}


@pytest.fixture(scope="module")
def live(platform_host: Host) -> Iterator[str]:
    """The id of the release that serves all the while."""
    result = rollout(platform_host, oven(platform_host, "1"))
    assert not result["failed"], result["msg"]
    yield result["release"]
    rollout(platform_host, {"app": APP, "state": "absent"})


# What the release is, and what the message has to say.
BEFORE: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "bad health",
        {"environment": {"HEALTH": "bad"}, "service": {"start_timeout": 3}},
        ["service api: not ready 3 s after its start", "/health on port 3001 answered 503", "services.api.health"],
    ),
    (
        "crash",
        {"environment": {"CRASH": "1"}},
        ["service api: its container ended with exit status 3", "deploy again", "RuntimeError: CRASH=1"],
    ),
    (
        "no such command",
        {"entrypoint": ("/no/such/command",)},
        ["cannot be started", "/no/such/command"],
    ),
    (
        "never ready",
        {"environment": {"STARTUP_SECONDS": "600"}, "service": {"start_timeout": 3}},
        ["service api: not ready 3 s after its start", "refused", "raise `start_timeout`"],
    ),
    (
        "flapping",
        {**bad("flaps"), "service": {"min_uptime": 15}},
        ["service api: it was healthy and then failed again, 3 times", "`min_uptime`", "flapping on purpose"],
    ),
    (
        "deaf and ill",
        {"entrypoint": DEAF, "environment": {"HEALTH": "bad"}, "service": {"start_timeout": 2, "stop_timeout": 1}},
        ["service api: not ready 2 s after its start"],
    ),
]


@pytest.mark.parametrize(("what", "release", "words"), BEFORE, ids=[row[0] for row in BEFORE])
def test_release_that_does_not_get_ready_goes_and_nobody_notices(
    platform_host: Host, live: str, what: str, release: dict[str, Any], words: list[str]
) -> None:
    host = platform_host
    with clients(host, slow=40) as answers:
        result = rollout(host, oven(host, "bad", **release))
    assert_gone(host, live, result, words)
    assert answers["200 1"] > 40 and set(answers) == {"200 1"}, answers


AFTER: list[tuple[str, dict[str, Any], dict[str, Any], list[str], set[str]]] = [
    (
        "5xx",
        bad("fails"),
        {},
        ["errors of the new release, limit 5.00%", "GET /api/version (service api: ", "failed, last with 500)"],
        {"500 bad"},
    ),
    (
        "slow",
        bad("slow"),
        {"max_p95_ms": 600},
        ["p95 of the new release", "limit 600 ms", "Slowest: GET /api/version (service api: "],
        set(),
    ),
    (
        "slower than before",
        # A busy machine makes the release before slow as well.
        {**bad("crawls"), "service": {"drain_timeout": 15}},
        {"seconds": 20, "max_p95_ratio": 1.5},
        ["p95 of the new release", "at most 1.5 times the", "of the release before"],
        set(),
    ),
    (
        "flapping",
        bad("flaps when asked"),
        {},
        ["service api: GET /health on port 3001 answered 503", "of the last", "healthy now and then", "on purpose"],
        set(),
    ),
    (
        "exit",
        bad("ends"),
        {},
        ["service api: its container ended", "deploy again", "ending on purpose"],
        # Refused while the process ends; without an answer where the packet came to the address when it was nobody's.
        {"502 None", "504 None"},
    ),
]


@pytest.mark.parametrize(("what", "release", "limits", "words", "failures"), AFTER, ids=[row[0] for row in AFTER])
def test_release_that_turns_out_bad_is_left_at_once_and_fails_nothing_but_its_own_requests(
    platform_host: Host,
    live: str,
    what: str,
    release: dict[str, Any],
    limits: dict[str, Any],
    words: list[str],
    failures: set[str],
) -> None:
    host = platform_host
    with clients(host) as answers:
        result = rollout(host, oven(host, "bad", **release, bake={"seconds": 120, **limits}))
    assert_gone(host, live, result, ["bake: ", *words] if what != "exit" else words)
    assert set(answers.failed()) <= failures, answers
    assert answers["200 1"] > 40, answers
    # In two minutes it would have answered 4800.
    assert 0 < sum(count for answer, count in answers.items() if answer != "200 1") < 2400, answers


def assert_gone(host: Host, live: str, result: dict[str, Any], words: list[str]) -> None:
    """Old live, candidate gone, and a message that a person can act on."""
    assert result["failed"]
    for word in (*words, "was taken away", f"{live} keeps serving"):
        assert word in result["msg"], result["msg"]
    state = assert_settled(host, APP, {"api": 1})
    assert (state["live"]["id"], state["history"][-1]["event"]) == (live, "failed")
    assert {container["release"] for container in containers_of(host, APP)} == {live}
    assert version(host) == "1"


REFUSED: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"container_name": "api"}, {}, ["service api has container_name: api", "Remove it"]),
    ({"network_mode": "host"}, {}, ["service api has network_mode: host", "Remove"]),
    ({"ports": ["3001:3001"]}, {}, ["service api publishes", "3001", "127.0.0.1"]),
    ({}, {"api": {"port": 3001, "routes": ["/"]}}, ["services.api.health: missing", "/health"]),
    (
        {},
        {"web": {"port": 3001, "routes": ["/"], "health": "/"}},
        ["services.web: the compose file has no service", "api"],
    ),
    ({}, {"api": {"port": 3001, "routes": ["/"], "health": "/", "surge": 2}}, ["services.api.surge: 2", "rolling"]),
]


def test_what_cannot_be_is_refused_before_anything_starts(platform_host: Host, live: str) -> None:
    host = platform_host
    before = containers_of(host, APP)
    for container, services, words in REFUSED:
        options = oven(host, "bad", container=container)
        result = rollout(host, {**options, "services": services or options["services"]})
        assert result["failed"]
        for word in words:
            assert word in result["msg"], result["msg"]
        assert result["phases"] == {}
    assert containers_of(host, APP) == before and version(host) == "1"


def test_old_release_that_ignores_the_signal_to_end_is_killed_and_fails_nothing(platform_host: Host, live: str) -> None:
    host = platform_host
    deaf = rollout(host, oven(host, "deaf", entrypoint=DEAF, service={"stop_timeout": 2}))
    assert not deaf["failed"], deaf["msg"]
    with clients(host, slow=40) as answers:
        result = rollout(host, oven(host, "2"))
    assert not result["failed"], result["msg"]
    assert answers.failed() == {} and answers["200 2"] > 0, answers
    assert_settled(host, APP, {"api": 1})
    ended = ("docker", "inspect", "--format", "{{.State.ExitCode}}", f"{APP}--{deaf['release']}-api-1")
    assert host.run(*ended).strip() == "137"
