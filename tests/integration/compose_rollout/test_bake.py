# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A release that turns out to be bad after the switch is switched back from; and what a host keeps of releases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.lab import Host, wait_until
from tests.support.oven import APP, oven, version
from tests.support.rollout import APPS, Call, assert_settled, containers_of, killed_at, rollout


@pytest.fixture
def app(platform_host: Host) -> Iterator[dict[str, Any]]:
    result = rollout(platform_host, oven(platform_host, "1"))
    assert not result["failed"], result["msg"]
    yield result
    rollout(platform_host, {"app": APP, "state": "absent"})


def test_release_that_ends_after_the_switch_is_switched_back_from(platform_host: Host, app: dict[str, Any]) -> None:
    host = platform_host
    call = Call(host, oven(host, "2", bake={"seconds": 60}))
    baking = ("grep", "--quiet", '"event": "begin".*"step": "bake"', f"{APPS}/{APP}/journal.ndjson")
    assert wait_until(lambda: host.rc(*baking) == 0, seconds=60)
    new = next(c for c in containers_of(host, APP) if c["state"] == "running" and c["release"] != app["release"])
    host.run("docker", "kill", new["name"])
    result = call.result()
    assert result["failed"]
    assert "ended with exit status 137" in result["msg"], result["msg"]
    assert assert_settled(host, APP, {"api": 1})["live"]["id"] == app["release"]
    assert version(host) == "1"


def test_kill_while_a_release_is_watched_goes_on_watching(platform_host: Host, app: dict[str, Any]) -> None:
    host = platform_host
    # fetch 1-2, start 3-4, ready 5-6, shift 7-8, fence 9-10
    options = oven(host, "2", bake={"seconds": 5})
    last = killed_at(host, options, 11)
    assert last is not None and (last["event"], last["step"]) == ("begin", "bake")
    assert version(host) == "2"
    running = {c["release"] for c in containers_of(host, APP) if c["state"] == "running"}
    assert app["release"] in running and len(running) == 2
    result = rollout(host, options)
    assert not result["failed"], result["msg"]
    assert "bake" in result["phases"]
    assert assert_settled(host, APP, {"api": 1})["previous"]["id"] == app["release"]
    assert version(host) == "2"


def test_as_many_releases_and_images_stay_as_are_asked_for(platform_host: Host, app: dict[str, Any]) -> None:
    host = platform_host
    ids = [app["release"]]
    for name, tag in (("2", "1.1.0"), ("3", "1.0.0"), ("4", "1.0.0")):
        result = rollout(host, oven(host, name, tag=tag, keep_releases=3))
        assert not result["failed"], result["msg"]
        ids.append(result["release"])
    assert result["kept"] == [ids[2], ids[1]]
    assert {c["release"] for c in containers_of(host, APP)} == set(ids[1:])
    back = rollout(host, {"app": APP, "state": "rolled_back", "release": ids[1]})
    assert not back["failed"], back["msg"]
    assert (back["release"], version(host)) == (ids[1], "2")
    gone = rollout(host, {"app": APP, "state": "rolled_back", "release": ids[0]})
    assert gone["failed"] and f"Kept are: {ids[3]}, {ids[2]}" in gone["msg"], gone["msg"]


def test_fewer_releases_are_kept_at_once_and_that_is_a_change(platform_host: Host, app: dict[str, Any]) -> None:
    host = platform_host
    for name in ("2", "3"):
        result = rollout(host, oven(host, name, keep_releases=3))
        assert not result["failed"], result["msg"]
    before = containers_of(host, APP)
    planned = rollout(host, oven(host, "3"), "--check")
    assert planned["changed"] and containers_of(host, APP) == before
    pruned = rollout(host, oven(host, "3"))
    for each in (planned, pruned):
        assert [(each["kind"], app["release"] in each["text"]) for each in each["operations"]] == [("prune", True)]
    assert pruned["changed"] and pruned["release"] == result["release"] and len(pruned["kept"]) == 1
    assert_settled(host, APP, {"api": 1})
    assert not rollout(host, oven(host, "3"))["changed"]


def test_host_without_room_is_refused_with_figures(platform_host: Host, app: dict[str, Any]) -> None:
    host = platform_host
    images = ("docker", "images", "--quiet")
    before = (containers_of(host, APP), set(host.run(*images).split()))
    for option, word in (("min_free_disk", "disk"), ("min_free_memory", "memory")):
        for flags in ((), ("--check",)):
            result = rollout(host, {**oven(host, "2"), option: 10**8}, *flags)
            assert result["failed"]
            for text in (f"{word}: ", f"100000000 MiB of `{option}`", "Nothing was started"):
                assert text in result["msg"], result["msg"]
    assert (containers_of(host, APP), set(host.run(*images).split())) == before


def test_release_that_is_kept_warm_is_returned_to_without_a_start(platform_host: Host, app: dict[str, Any]) -> None:
    host = platform_host
    old = f"{APP}--{app['release']}-api-1"
    started = ("docker", "inspect", "--format", "{{.State.Running}} {{.State.StartedAt}}", old)
    before = host.run(*started)
    result = rollout(host, oven(host, "2", keep_warm=600))
    assert not result["failed"], result["msg"]
    assert (version(host), host.run(*started)) == ("2", before)
    timer = f"daffathan-stop-{APP}--{app['release']}.timer"
    assert host.run("systemctl", "is-active", timer).strip() == "active"
    back = rollout(host, {"app": APP, "state": "rolled_back"})
    assert not back["failed"], back["msg"]
    assert (version(host), host.run(*started)) == ("1", before)
    assert host.rc("systemctl", "is-active", timer) != 0
    assert_settled(host, APP, {"api": 1})


def test_warm_release_is_stopped_when_its_time_is_over(platform_host: Host, app: dict[str, Any]) -> None:
    host = platform_host
    result = rollout(host, oven(host, "2", keep_warm=1))
    assert not result["failed"], result["msg"]
    old = [c for c in containers_of(host, APP) if c["release"] == app["release"]][0]["name"]
    state = ("docker", "inspect", "--format", "{{.State.Status}}", old)
    assert wait_until(lambda: host.run(*state).strip() == "exited", seconds=60)
    assert_settled(host, APP, {"api": 1})
