# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every rollout killed at both ends of every gap between two lines of its journal, then the same command again.

Under requests all the time. The same for the controller, and for the power of the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support import crash
from tests.support.converged import converged
from tests.support.crash import APP, Victim, clients, controller_lost, killed_and_run_again, power_lost, version
from tests.support.lab import Host
from tests.support.rollout import rollout

ANALYSIS = {"min_requests": 5, "interval": 1, "max_wait": 60}
STEPS = [{"weight": 30, "pause": 2}, {"weight": 60, "pause": 2}]
GATE = [{"weight": 50, "pause": "manual"}]
ALONE = {"api": 1, "billing": 1}


@dataclass(frozen=True)
class Shape:
    """What every version of the app has, and how many containers its services have in the end."""

    services: dict[str, int]
    options: dict[str, Any] = field(default_factory=dict)


JOBS = Shape({"api": 1}, {"jobs": True, "bake": {"seconds": 1}})
ROLLING = Shape({"api": 3, "billing": 1}, {"alone": True, "api": {"strategy": "rolling", "replicas": 3}})
STOP_FIRST = Shape(ALONE, {"alone": True})
CANARY = Shape(ALONE, {"alone": True, "api": {"strategy": "canary"}, "canary": {"steps": STEPS, "analysis": ANALYSIS}})
GATED = Shape({"api": 1}, {"api": {"strategy": "canary"}, "canary": {"steps": GATE, "analysis": ANALYSIS}})
# Passes its steps where nobody asks anything.
UNSEEN = Shape(ALONE, {**CANARY.options, "canary": {"steps": STEPS}})


@pytest.fixture(scope="session")
def host(worker_id: str) -> Iterator[Host]:
    host = converged(f"soak-crashes-{worker_id}")
    yield host
    host.down()


@pytest.fixture
def victim(host: Host) -> Iterator[Victim]:
    victim = Victim(host)
    yield victim
    victim.remove()


def deploy(victim: Victim, shape: Shape) -> tuple[dict[str, Any], str]:
    """The command whose run is killed, and the version that serves when it has run."""
    options = victim.next(**shape.options)
    return options, str(victim.number)


def roll_back(victim: Victim, shape: Shape) -> tuple[dict[str, Any], str]:
    live = version(victim.host)
    victim.deployed(**shape.options)
    return {"app": APP, "state": "rolled_back"}, live


def promote(victim: Victim, shape: Shape) -> tuple[dict[str, Any], str]:
    victim.deployed(**shape.options)
    return {"app": APP, "state": "promoted"}, str(victim.number)


def abort(victim: Victim, shape: Shape) -> tuple[dict[str, Any], str]:
    live = version(victim.host)
    victim.deployed(**shape.options)
    return {"app": APP, "state": "aborted"}, live


SCENARIOS: dict[str, tuple[Shape, Callable[[Victim, Shape], tuple[dict[str, Any], str]], set[str]]] = {
    "blue-green, jobs, bake": (
        JOBS,
        deploy,
        {"fetch", "stage", "job", "start", "ready", "shift", "fence", "bake", "drain", "stop", "prune"},
    ),
    "rolling, stop first": (ROLLING, deploy, {"start", "ready", "swap", "roll", "shift", "stop"}),
    "canary": (CANARY, deploy, {"start", "ready", "canary", "swap", "shift", "fence"}),
    "promotion": (GATED, promote, {"ready", "canary", "shift", "fence", "drain", "stop"}),
    "abort": (GATED, abort, {"undo"}),
    "rollback": (STOP_FIRST, roll_back, {"start", "ready", "swap", "shift", "fence", "drain", "stop"}),
    "rollback one by one": (ROLLING, roll_back, {"swap", "roll", "shift", "stop"}),
}


def assert_jobs_ran_once(victim: Victim, number: str) -> None:
    noted = crash.log(victim.host)
    for kind in ("up", "seed", "after"):
        assert noted.count(f"{kind} {number}") == 1, noted


def assert_never_twice(victim: Victim) -> None:
    running = 0
    for line in crash.log(victim.host, "billing"):
        running += 1 if line.endswith("start") else -1
        assert running <= 1, line


def told(what: str, count: int, answers: crash.Answers) -> None:
    print(f"\n{what}: {count} runs, {answers.sent} requests, {len(answers.failed)} failed")


@pytest.mark.parametrize("when", ["next", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_at_every_line_is_made_good_by_the_same_command(victim: Victim, name: str, when: str) -> None:
    shape, prepare, steps = SCENARIOS[name]
    host = victim.host
    victim.deployed(**shape.options)
    line, seen = (0 if when == "next" else 1), set()
    with clients(host) as answers:
        while True:
            options, wanted = prepare(victim, shape)
            killed = killed_and_run_again(host, options, line, when)
            why = f"{when} line {line}, {killed[0] if killed else 'not killed'}"
            victim.assert_whole(why, shape.services)
            assert version(host) == wanted, why
            if "jobs" in shape.options:
                assert_jobs_ran_once(victim, wanted)
            if "alone" in shape.options:
                assert_never_twice(victim)
            if killed is None:
                break
            seen.add(killed[0].get("step"))
            line += 1
    told(f"{name}, {when}", line, answers)
    assert answers.failed == []
    assert steps <= seen


@pytest.mark.parametrize("when", ["next", "after"])
def test_a_kill_at_every_line_of_a_removal_leaves_nothing(victim: Victim, when: str) -> None:
    host, line = victim.host, 0 if when == "next" else 1
    absent = {"app": APP, "state": "absent"}
    while True:
        victim.deployed(jobs=True)
        victim.deployed(jobs=True)
        killed = killed_and_run_again(host, absent, line, when)
        victim.assert_gone(f"{when} line {line}, {killed[0] if killed else 'not killed'}")
        assert rollout(host, absent)["changed"] is False
        if killed is None:
            break
        line += 1
    told(f"removal, {when}", line, crash.Answers())
    assert line > 8


@pytest.mark.parametrize("when", ["next", "after"])
def test_a_kill_at_every_line_of_a_first_deploy_is_made_good(victim: Victim, when: str) -> None:
    host, line = victim.host, 0 if when == "next" else 1
    while True:
        options = victim.next(jobs=True, alone=True)
        killed = killed_and_run_again(host, options, line, when)
        victim.assert_whole(f"{when} line {line}, {killed[0] if killed else 'not killed'}", ALONE)
        assert_jobs_ran_once(victim, str(victim.number))
        assert not rollout(host, {"app": APP, "state": "absent"})["failed"]
        if killed is None:
            break
        line += 1
    told(f"first deploy, {when}", line, crash.Answers())
    assert line > 20


@pytest.mark.parametrize("name", ["blue-green, jobs, bake", "rolling, stop first", "canary", "rollback"])
def test_a_controller_that_is_gone_at_any_line_is_made_good_by_the_same_command(victim: Victim, name: str) -> None:
    shape, prepare, _ = SCENARIOS[name]
    host, line = victim.host, 0
    victim.deployed(**shape.options)
    with clients(host) as answers:
        while True:
            options, wanted = prepare(victim, shape)
            last = controller_lost(host, options, line)
            victim.assert_whole(f"controller lost behind {last}", shape.services)
            assert version(host) == wanted, last
            if last is None:
                break
            line += 1
    told(f"{name}, controller", line, answers)
    assert answers.failed == []
    assert line > 10


@pytest.mark.parametrize(
    "shape", [JOBS, ROLLING, UNSEEN], ids=["blue-green, jobs, bake", "rolling, stop first", "canary"]
)
def test_a_loss_of_power_at_any_line_leaves_what_serves(
    victim: Victim, shape: Shape, request: pytest.FixtureRequest
) -> None:
    host, line = victim.host, 0
    victim.deployed(**shape.options)
    while True:
        old = version(host)
        options, wanted = deploy(victim, shape)
        last = power_lost(host, options, line, {old, wanted})
        victim.assert_whole(f"power lost behind {last}", shape.services)
        assert version(host) == wanted, last
        if last is None:
            break
        line += 1
    told(f"{request.node.name}, power", line, crash.Answers())
    assert line > 10
