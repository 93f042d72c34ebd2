# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services that take no requests: both releases work for a while, or never both, and none is lost by a failure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.lab import Host
from tests.support.rollout import assert_settled, containers_of, killed_at, rollout

APP = "shift"
COMPOSE = f"/root/{APP}.yml"
IMAGE = "registry.lab:5000/daffathan/api:1.0.0"
# Notes its start and its end in a file that all releases share; ends late enough for an overlap to be seen.
WORKER = """
import os, signal, sys, time
def note(what):
    with open("/data/log", "a") as log:
        print(os.environ["KIND"], os.environ["VERSION"], what, file=log)
def end(*_):
    time.sleep(1)
    note("end")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("start")
if os.environ["VERSION"] == os.environ.get("BAD"):
    print("no such queue: parcels", flush=True)
    sys.exit(4)
while True:
    signal.pause()
"""
SERVICES = {"api": 1, "mailer": 1, "billing": 1}


def shift(host: Host, version: str, bad: str = "none", **kinds: dict[str, Any]) -> dict[str, Any]:
    """The options for a version; `bad` is the kind of worker that cannot start in it."""

    def worker(kind: str) -> dict[str, Any]:
        environment = {"KIND": kind, "VERSION": version, **({"BAD": version} if kind == bad else {})}
        entrypoint = ["python3", "-c", WORKER.replace("$", "$$")]
        return {
            "image": IMAGE,
            "user": "0",
            "environment": environment,
            "entrypoint": entrypoint,
            "volumes": ["work:/data"],
        }

    services = {
        "api": {"image": IMAGE, "environment": {"PORT": "3001", "VERSION": version}},
        "mailer": worker("mailer"),
        "billing": worker("billing"),
    }
    model = json.dumps({"services": services, "volumes": {"work": {}}})
    host.write(COMPOSE, model)
    times = {"start_timeout": 20, "stop_timeout": 5}
    return {
        "app": APP,
        "compose_file": COMPOSE,
        "services": {
            "api": {"port": 3001, "health": "/health", "drain_timeout": 2, **times},
            "mailer": {"min_uptime": 1, **times, **kinds.get("mailer", {})},
            "billing": {"min_uptime": 1, "strategy": "stop_first", **times, **kinds.get("billing", {})},
        },
    }


def log(host: Host, kind: str) -> list[str]:
    """What the workers of a kind noted, as `VERSION start` and `VERSION end`."""
    lines = host.run("cat", f"/var/lib/docker/volumes/{APP}_work/_data/log").splitlines()
    return [line.split(" ", 1)[1] for line in lines if line.startswith(f"{kind} ")]


@pytest.fixture
def app(platform_host: Host) -> Any:
    result = rollout(platform_host, shift(platform_host, "1"))
    assert not result["failed"], result["msg"]
    yield
    rollout(platform_host, {"app": APP, "state": "absent"})
    platform_host.run("docker", "volume", "rm", f"{APP}_work")


def test_workers_overlap_and_what_must_not_run_twice_does_not(platform_host: Host, app: None) -> None:
    host = platform_host
    result = rollout(host, shift(host, "2"))
    assert not result["failed"], result["msg"]
    assert log(host, "mailer") == ["1 start", "2 start", "1 end"]
    assert log(host, "billing") == ["1 start", "1 end", "2 start"]
    assert_settled(host, APP, SERVICES)
    assert {"workers", "swap"} <= set(result["phases"])
    assert rollout(host, shift(host, "2"))["changed"] is False
    back = rollout(host, {"app": APP, "state": "rolled_back"})
    assert not back["failed"], back["msg"]
    assert log(host, "billing")[-2:] == ["2 end", "1 start"]
    assert_settled(host, APP, SERVICES)


@pytest.mark.parametrize("bad", ["mailer", "billing"])
def test_worker_that_ends_leaves_the_old_ones_at_work(platform_host: Host, app: None, bad: str) -> None:
    host = platform_host
    before = assert_settled(host, APP, SERVICES)
    result = rollout(host, shift(host, "2", bad=bad))
    assert result["failed"]
    for word in (f"service {bad}", "exit status 4", "no such queue: parcels", f"{before['live']['id']} keeps serving"):
        assert word in result["msg"], result["msg"]
    assert assert_settled(host, APP, SERVICES)["live"] == before["live"]
    assert log(host, "mailer")[0] == "1 start" and "1 end" not in log(host, "mailer")
    if bad == "billing":
        assert log(host, "billing") == ["1 start", "1 end", "2 start", "1 start"]


def test_a_kill_in_the_steps_of_workers_is_made_good_by_the_same_command(platform_host: Host, app: None) -> None:
    host = platform_host
    died_in = set()
    # start 3-4, ready 5-6, workers 7-8, swap 9-10, behind the fetch.
    for number in (7, 8, 9, 10):
        options = shift(host, f"2.{number}")
        last = killed_at(host, options, number)
        assert last is not None, f"the run ended before line {number}"
        died_in.add(last["step"])
        result = rollout(host, options)
        assert not result["failed"], f"after {last}: {result['msg']}"
        assert_settled(host, APP, SERVICES)
    assert died_in == {"workers", "swap"}
    running = 0
    for line in log(host, "billing"):
        running += 1 if line.endswith("start") else -1
        assert running <= 1, log(host, "billing")
    assert len([entry for entry in containers_of(host, APP) if entry["state"] == "running"]) == 3
