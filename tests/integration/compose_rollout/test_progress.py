# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a person sees of a rollout: while it runs, of its plan, and of those before."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.ansible import Run, answer, module
from tests.support.lab import Host, inside, wait_until
from tests.support.rollout import SOCKETS, Call, containers_of, rollout, state_of

APP = "slow"
DOMAIN = "slow.example.test"
COMPOSE = f"/root/{APP}.yml"
IMAGE = "registry.lab:5000/daffathan/api:1.0.0"
SECRET = "canary-of-the-progress"
# Longer than anything this waits for: what ends early was ended by the test.
LONG = 90


def slow(host: Host, version: str, *, start_timeout: int = 30, **environment: str) -> dict[str, Any]:
    """The options for a version of an app whose old connections are waited for as long as it takes."""
    values = {"PORT": "3001", "PREFIX": "/api", "VERSION": version, **environment}
    api = {"image": IMAGE, "environment": values, "secrets": ["token"]}
    model = json.dumps({"services": {"api": api}, "secrets": {"token": {"file": "./token"}}})
    host.write(COMPOSE, model)
    times = {"start_timeout": start_timeout, "drain_timeout": LONG, "stop_timeout": 5}
    return {
        "app": APP,
        "compose_file": COMPOSE,
        "domains": [DOMAIN],
        "secrets": {"token": SECRET},
        "services": {"api": {"port": 3001, "routes": ["/api/"], "health": "/health", **times}},
    }


def lines(host: Host, output: str) -> list[str]:
    """What was shown of the run before its result, without the time it took until then."""
    head = f"[{host.name}] {APP}, "
    shown = output.partition("=> ")[0].splitlines()
    return [line.partition(" s: ")[2] for line in shown if line.startswith(head)]


@pytest.fixture(scope="module")
def app(platform_host: Host) -> Iterator[dict[str, Any]]:
    options = slow(platform_host, "1")
    result = rollout(platform_host, options)
    assert not result["failed"], result["msg"]
    yield options
    rollout(platform_host, {"app": APP, "state": "absent"})


def running(host: Host) -> set[str]:
    return {container["release"] for container in containers_of(host, APP) if container["state"] == "running"}


def hang_up(host: Host) -> int:
    return host.rc("pkill", "-f", f"{DOMAIN}/api/stream")


@pytest.fixture
def stream(platform_host: Host, app: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A client that listens to the live release until somebody ends it."""
    url = ("--unix-socket", f"{SOCKETS}/public/http.sock", f"http://{DOMAIN}/api/stream")
    listen = inside(platform_host.name, "curl", "--silent", "--no-buffer", "--max-time", str(2 * LONG), *url)
    client = subprocess.Popen(listen, stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None and client.stdout.readline().startswith("id: ")
    yield client
    hang_up(platform_host)
    client.wait(timeout=30)


def test_run_shows_what_it_waits_for_while_it_waits(platform_host: Host, stream: subprocess.Popen[str]) -> None:
    host = platform_host
    options = slow(host, "2", WARMUP_SECONDS="6")
    plan = Call(host, options, "--check", "--diff")
    assert [entry["kind"] for entry in plan.result()["operations"]] == ["release"]
    assert "+do: release: replace " in plan.output and lines(host, plan.output) == []
    call = Call(host, options)
    # The run cannot end before the stream does, which is ended only when this was seen.
    held = "drain: api has 1 connection from the gateway; ends in "
    assert wait_until(lambda: any(line.startswith(held) for line in lines(host, call.run.said())), seconds=LONG / 2)
    assert hang_up(host) == 0
    result = call.result()
    assert not result["failed"], result["msg"]
    assert (result["drained"]["by"], result["drained"]["forced"]) == ("workers", False)
    shown = lines(host, call.output)
    phases = [line.partition(":")[0] for line in shown]
    assert phases.index("ready") < phases.index("drain")
    assert any(line.startswith("ready: api 0 of 1 ready (GET /health on port 3001") for line in shown), shown
    assert len(set(shown)) == len(shown)
    # What the run noted of itself is what it returned.
    event = state_of(host, APP)["history"][-1]
    assert (event["event"], event["phases"]) == ("deployed", result["phases"])
    again = Call(host, options)
    unchanged = again.result()
    assert not unchanged["changed"] and lines(host, again.output) == []
    # A dry run is never followed: its result is the module's own.
    assert rollout(host, options, "--check") == unchanged
    assert set(result) - {"drained"} == set(unchanged)
    assert host.rc("test", "-e", f"/run/daffathan/{APP}.progress.json") == 1


def test_run_that_fails_shows_its_error_and_is_remembered(platform_host: Host, app: dict[str, Any]) -> None:
    host = platform_host
    options = slow(host, "bad", start_timeout=6, HEALTH="bad")
    call = Call(host, options)
    result = call.result()
    assert result["failed"] and "service api: not ready 6 s after its start" in result["msg"]
    assert any(line.startswith("ready: api 0 of 1 ready") for line in lines(host, call.output)), call.output
    assert SECRET not in call.output
    info = Run("ansible", *module(host, "compose_rollout_info", {"app": APP}), "--become").result()
    event = answer(info)["apps"][0]["history"][-1]
    assert (event["event"], event["strategy"], event["phases"]) == ("failed", "blue_green", result["phases"])
    assert event["why"] == result["msg"].partition("\n")[0]
    status = host.play("status")
    assert status.rc == 0, status.output
    for text in (f"failed       {event['release']}", "service api: not ready 6 s after its start"):
        assert text in status.output, status.output


def test_task_that_hides_its_result_shows_nothing_and_a_limit_of_time_holds(
    platform_host: Host, app: dict[str, Any], tmp_path: Any
) -> None:
    host = platform_host
    options = slow(host, "hidden", start_timeout=6, HEALTH="bad")
    task = {"daffathan.platform.compose_rollout": options, "become": True, "ignore_errors": True}
    tasks = [{**task, "no_log": True}, {**task, "timeout": 4}]
    play = tmp_path / "play.yml"
    play.write_text(json.dumps([{"hosts": host.name, "gather_facts": False, "strategy": "free", "tasks": tasks}]))
    output = host.play(str(play)).output
    hidden, found, limited = output.partition("censored")
    assert found and f"[{host.name}] {APP}, " not in hidden, output
    assert "Timed out after 4 second(s)" in limited
    # The module itself goes on, and takes the candidate away.
    assert wait_until(lambda: running(host) == {state_of(host, APP)["live"]["id"]}, seconds=60)
