# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is remembered of runs, and the table that a person sees of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.describe import (
    headline,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.journal import Journal
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.phases import Rollout
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.progress import Progress
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.routing import route_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State

from tests.support.ansible import Run
from tests.unit.plugins.module_utils.rollout.apps import CANARIES, canaries, release, rolling
from tests.unit.plugins.module_utils.rollout.runs import ROUTE, TIMED, assert_settled, planned, world_after
from tests.unit.plugins.module_utils.rollout.simulation import Driver, World
from tests.unit.plugins.module_utils.rollout.test_rollout_bake import looked_at

REFUSED = "bake: service api: refused, 3 times in a row after the switch."
TEMPLATES = Path(__file__).resolve().parents[5] / "playbooks" / "templates"


def run(world: World, candidate: Release, *, bake: Bake | None = None, secret: str = "nothing") -> Journal:
    journal = Journal(None, redact=lambda text: text.replace(secret, "***"))
    driver = Driver(world)
    rollout = Rollout(driver, journal, driver.now, driver.sleep, elapsed=driver.elapsed)
    try:
        rollout.deploy(candidate, ROUTE, bake)
    finally:
        rollout.note_times()
    return journal


def last(world: World) -> Mapping[str, Any]:
    return assert_settled(world).history[-1]


def test_history_has_the_way_and_the_times_of_a_run() -> None:
    world = world_after()
    journal = run(world, rolling(1))
    event = last(world)
    assert (event["event"], event["release"], event["run"]) == ("deployed", rolling(1).id, journal.run)
    assert event["strategy"] == "blue_green, rolling"
    # Also what comes after the switch, with which the event was first noted.
    assert dict(event["phases"]) == journal.timings and {"ready", "shift", "fence"} <= set(event["phases"])
    assert event["ms"] >= max(event["phases"].values())
    assert "why" not in event


def test_time_of_a_canary_is_that_of_its_steps() -> None:
    world = world_after(planned(canaries(1), CANARIES, canary=TIMED))
    driver = Driver(world)
    journal = Journal(None, progress=Progress(clock=lambda: world.time))
    rollout = Rollout(driver, journal, driver.now, driver.sleep, elapsed=driver.elapsed)
    rollout.deploy(canaries(2), route_of(CANARIES), None, TIMED)
    rollout.note_times()
    event = last(world)
    assert (event["ms"], event["phases"]["canary"]) == (30_000, 30_000)
    assert event["strategy"] == "blue_green, canary, stop_first"


@pytest.mark.parametrize("bake", [None, Bake(30)])
def test_history_tells_why_a_release_failed_without_its_secrets(bake: Bake | None) -> None:
    world = world_after()
    run(world, release(1))
    if bake is not None:
        world.complaints = ["refused"] * 3
    with pytest.raises(RolloutError):
        run(world, release(2, ill=None if bake is not None else "api"), bake=bake, secret="e")
    event = last(world)
    assert (event["event"], event["release"]) == ("failed", release(2).id)
    said = (
        "bake: service api: refused, 3 times in a row after the switch."
        if bake
        else f"api of {release(2).id} does not get ready"
    )
    assert event["why"] == said.replace("e", "***")
    assert "undo" in event["phases"]


def test_release_that_is_found_bad_by_the_next_run_is_told_of_too() -> None:
    world = looked_at()
    world.complaints = ["refused"] * 3
    driver = Driver(world)
    Rollout(driver, Journal(None), driver.now, driver.sleep, elapsed=driver.elapsed).recover()
    assert (last(world)["event"], last(world)["why"]) == (
        "failed",
        "bake: service api: refused, 3 times in a row after the switch.",
    )


def test_run_that_does_nothing_leaves_the_times_of_the_one_before() -> None:
    world = world_after()
    run(world, release(1))
    before = world.state
    Rollout(Driver(world), Journal(None)).note_times()
    assert world.state == before
    assert State("labs").with_times("run", 1, {}) == State("labs")


@pytest.mark.parametrize(
    ("message", "line"),
    [("one\nLast lines of labs:\nsecret", "one"), ("", ""), ("x" * 301, "x" * 297 + "..."), ("x" * 300, "x" * 300)],
)
def test_headline_is_the_first_line(message: str, line: str) -> None:
    assert headline(message) == line


def table(tmp_path: Path, *history: Mapping[str, Any], **variables: Any) -> str:
    """What status.yml shows of one app."""
    nothing = dict.fromkeys(("live", "canary", "candidate", "previous"))
    app = {"name": "labs", "domains": [], **nothing, "history": list(history)}
    extra = json.dumps({"summary_apps": {"apps": [app]}, "releases_history": True, **variables})
    arguments = f"src={TEMPLATES}/releases.txt.j2 dest={tmp_path}/table"
    done = Run(
        *("ansible", "localhost", "--connection", "local", "--module-name", "ansible.builtin.template"),
        *("--args", arguments, "--extra-vars", extra),
    ).result()
    assert done.returncode == 0, done.stdout + done.stderr
    return (tmp_path / "table").read_text()


def event(number: int, **more: Any) -> dict[str, Any]:
    return {"at": f"2026-01-0{number}T03:04:05+00:00", "event": "deployed", "release": release(number).id, **more}


def test_table_shows_the_latest_events_first(tmp_path: Path) -> None:
    phases = {"ready": 5000, "drain": 3050, "fence": 20}
    text = table(
        tmp_path,
        *(event(number) for number in range(1, 7)),
        event(7, strategy="blue_green", ms=12345, phases=phases, run="0a1b2c3d"),
        event(8, event="failed", strategy="canary", ms=800, phases={}, why="service api: not ready"),
    )
    assert text.splitlines() == [
        "labs",
        "  release   none",
        "  previous  none",
        f"  history   2026-01-08 03:04:05  failed       {release(8).id}     0.8 s  canary",
        "              service api: not ready",
        f"            2026-01-07 03:04:05  deployed     {release(7).id}    12.3 s  blue_green (ready 5.0, drain 3.0)",
        f"            2026-01-06 03:04:05  deployed     {release(6).id}",
        f"            2026-01-05 03:04:05  deployed     {release(5).id}",
        f"            2026-01-04 03:04:05  deployed     {release(4).id}",
    ]


def test_table_of_a_deploy_has_no_history(tmp_path: Path) -> None:
    assert "history" not in table(tmp_path, event(1), releases_history=False)
    assert "history" not in table(tmp_path)
