# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done once for a release: jobs, and the migration of a schema. A file stands for the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.lab import Host
from tests.support.rollout import assert_settled, killed_at, rollout

APP = "ledger"
COMPOSE = f"/root/{APP}.yml"
IMAGE = "registry.lab:5000/daffathan/api:1.0.0"
# Slow enough to be killed in the middle of it: the container works on when the run is gone.
UP = 'echo "up $VERSION" >> /data/log; sleep 2; echo "$VERSION" > /data/schema'
DOWN = 'echo "down to $0" >> /data/log; echo "$0" > /data/schema'
ONCE = ["up {0}", "seed {0}", "after {0}"]


def ledger(host: Host, version: str, *, health: str = "ok", seed: str = "true", **migrate: Any) -> dict[str, Any]:
    """The options for a version whose job ends with the command `seed`."""
    common = {"image": IMAGE, "user": "0", "volumes": ["data:/data"]}
    environment = {"PORT": "3001", "VERSION": version, "HEALTH": health}
    services = {
        "api": {**common, "environment": environment},
        "seed": {
            **common,
            "environment": {"VERSION": version},
            "command": ["sh", "-c", f'echo "seed $$VERSION" >> /data/log; {seed}'],
        },
    }
    model = json.dumps({"services": services, "volumes": {"data": {}}})
    host.write(COMPOSE, model)
    return {
        "app": APP,
        "compose_file": COMPOSE,
        "services": {
            "api": {"port": 3001, "health": "/health", "start_timeout": 5, "drain_timeout": 2, "stop_timeout": 5},
            "seed": {"job": "before_start", "timeout": 20},
        },
        "migrate": {
            "service": "api",
            "command": ["sh", "-c", UP],
            "rollback": ["sh", "-c", DOWN, "{version}"],
            "after": ["sh", "-c", 'echo "after $VERSION" >> /data/log'],
            "version": ["cat", "/data/schema"],
            "timeout": 20,
            **migrate,
        },
    }


def log(host: Host) -> list[str]:
    return host.run("cat", f"/var/lib/docker/volumes/{APP}_data/_data/log").splitlines()


def once(*versions: str) -> list[str]:
    return [line.format(version) for version in versions for line in ONCE]


@pytest.fixture
def app(platform_host: Host) -> Iterator[dict[str, Any]]:
    result = rollout(platform_host, ledger(platform_host, "1"))
    assert not result["failed"], result["msg"]
    yield result
    rollout(platform_host, {"app": APP, "state": "absent"})
    platform_host.run("docker", "volume", "rm", f"{APP}_data")


def test_everything_is_done_once_and_in_order(platform_host: Host, app: dict[str, Any]) -> None:
    host = platform_host
    assert (app["schema"], log(host)) == ("1", once("1"))
    result = rollout(host, ledger(host, "2"))
    assert not result["failed"], result["msg"]
    assert (result["schema"], log(host)) == ("2", once("1", "2"))
    assert rollout(host, ledger(host, "2"))["changed"] is False
    # A container that has to be replaced is no new release of this content.
    host.run("docker", "stop", f"{APP}--{result['release']}-api-1")
    replaced = rollout(host, ledger(host, "2"))
    assert not replaced["failed"], replaced["msg"]
    assert log(host) == once("1", "2")
    assert_settled(host, APP, {"api": 1})


def test_release_whose_schema_was_taken_away_is_not_rolled_back_to(platform_host: Host, app: dict[str, Any]) -> None:
    host = platform_host
    result = rollout(host, ledger(host, "2"))
    assert not result["failed"], result["msg"]
    back = rollout(host, {"app": APP, "state": "rolled_back"})
    assert back["failed"]
    assert f"migrate.after of {result['release']}" in back["msg"]
    assert assert_settled(host, APP, {"api": 1})["live"]["id"] == result["release"]


@pytest.mark.parametrize("bad", ["seed", "migration", "endless seed"])
def test_one_shot_that_fails_takes_the_release_away(platform_host: Host, app: dict[str, Any], bad: str) -> None:
    host = platform_host
    if bad == "seed":
        options = ledger(host, "2", seed="echo no such table: parcels; exit 7")
        words = ["services.seed", "exit status 7", "no such table: parcels"]
    elif bad == "migration":
        options = ledger(host, "2", command=["sh", "-c", "echo syntax error in 0002.sql; exit 9"])
        words = ["migrate.command", "exit status 9", "syntax error in 0002.sql"]
    else:
        options = ledger(host, "2", seed="echo waiting for parcels; sleep 60")
        options["services"]["seed"]["timeout"] = 2
        words = ["services.seed", "did not end within 2 s", "waiting for parcels", "raise its `timeout`"]
    result = rollout(host, options)
    assert result["failed"]
    for word in (*words, f"{app['release']} keeps serving"):
        assert word in result["msg"], result["msg"]
    assert assert_settled(host, APP, {"api": 1})["live"]["id"] == app["release"]
    # What had grown for it is undone, and only that.
    undone = {"seed": ["up 2", "seed 2", "down to 1"], "migration": [], "endless seed": ["up 2", "seed 2", "down to 1"]}
    assert log(host) == [*once("1"), *undone[bad]]


def test_release_that_does_not_get_ready_is_migrated_back(platform_host: Host, app: dict[str, Any]) -> None:
    host = platform_host
    result = rollout(host, ledger(host, "2", health="bad"))
    assert result["failed"]
    assert "GET /health on port 3001 answered 503" in result["msg"]
    assert log(host) == [*once("1"), "up 2", "seed 2", "down to 1"]
    assert assert_settled(host, APP, {"api": 1})["schema"] == "1"


def test_after_that_fails_is_tried_again(platform_host: Host, app: dict[str, Any]) -> None:
    host = platform_host
    options = ledger(host, "2", after=["sh", "-c", 'echo "after $VERSION" >> /data/log; test -e /data/go'])
    result = rollout(host, options)
    assert result["failed"]
    assert (
        "migrate.after: ended with exit status 1" in result["msg"] and "The next run tries this again" in result["msg"]
    )
    assert_settled(host, APP, {"api": 1})
    host.run("touch", f"/var/lib/docker/volumes/{APP}_data/_data/go")
    again = rollout(host, options)
    assert not again["failed"], again["msg"]
    assert [operation["kind"] for operation in again["operations"]] == ["contract"]
    assert log(host) == [*once("1"), *once("2"), "after 2"]
    assert rollout(host, options)["changed"] is False


def test_a_kill_in_the_steps_of_one_shots_has_everything_done_once(platform_host: Host, app: dict[str, Any]) -> None:
    host = platform_host
    done = ["1"]
    # Behind the fetch: stage 3-4, version 5-6, migration 7-8, version 9-10, seed 11-12.
    for number in (4, 7, 8, 10, 11, 12):
        options = ledger(host, f"2.{number}")
        last = killed_at(host, options, number)
        assert last is not None, f"the run ended before line {number}"
        assert last["step"] in ("stage", "job"), last
        result = rollout(host, options)
        assert not result["failed"], f"after {last}: {result['msg']}"
        done.append(f"2.{number}")
        assert log(host) == once(*done), f"after {last}"
        assert assert_settled(host, APP, {"api": 1})["schema"] == f"2.{number}"
