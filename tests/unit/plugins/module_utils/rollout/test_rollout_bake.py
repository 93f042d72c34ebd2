# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A release is watched after the switch, and switched back from when it turns out to be bad."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Answers, Bake, parse_bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import InputError, RolloutError

from tests.unit.plugins.module_utils.rollout.simulation import Driver, Killed, World, release
from tests.unit.plugins.module_utils.rollout.test_rollout_phases import (
    assert_settled,
    jobs,
    live,
    present,
    step_named,
    steps_of,
    workers,
    world_after,
)

BAKE = Bake(30, max_error_rate=0.05, min_requests=20)


def looked_at() -> World:
    """A world killed at the first look at release 2, which serves."""
    world = world_after(present(release(1)))
    run = present(release(2), bake=BAKE)
    with pytest.raises(Killed, match="look"):
        run(Driver(world, kill_at=step_named(world, run, "look")))
    return world


def test_old_release_runs_until_the_bake_is_over() -> None:
    world = looked_at()
    assert live(world) == release(2).id
    assert world.containers[release(1).id, "api"].running
    present(release(2), bake=BAKE)(Driver(world))
    assert (assert_settled(world).live, world.time) == (release(2), 30)


def test_interrupted_bake_is_gone_on_with_for_the_time_that_is_left() -> None:
    world = looked_at()
    world.time = 20
    present(release(2))(Driver(world))
    assert (assert_settled(world).live, world.time) == (release(2), 30)


@pytest.mark.parametrize(
    ("complaints", "answers", "said"),
    [
        (["port 3001: refused"] * 3, (100, 0), "port 3001: refused, 3 times in a row"),
        ([], (20, 2), r"2 of 20 requests \(10.0%\) .*limit 5.0%"),
    ],
    ids=["ill", "errors"],
)
def test_release_that_turns_out_bad_is_switched_back_from(
    complaints: list[str | None], answers: tuple[int, int], said: str
) -> None:
    world = world_after(present(release(1)))
    world.complaints, world.answers = complaints, answers
    with pytest.raises(RolloutError, match=f"(?s)bake: {said}.*{release(1).id} keeps serving"):
        present(release(2), bake=BAKE)(Driver(world))
    state = assert_settled(world)
    assert (state.live, state.history[-1]["event"]) == (release(1), "failed")
    assert world.time < 30


@pytest.mark.parametrize(
    ("complaints", "answers"),
    [(["busy", "busy", None, "busy", "busy"], (100, 0)), ([], (19, 19)), ([], (100, 5))],
    ids=["busy now and then", "too few requests", "errors below the limit"],
)
def test_release_that_is_not_known_to_be_bad_stays(complaints: list[str | None], answers: tuple[int, int]) -> None:
    world = world_after(present(release(1)))
    world.complaints, world.answers = complaints, answers
    present(release(2), bake=BAKE)(Driver(world))
    assert assert_settled(world).live == release(2)


def test_kill_anywhere_of_a_release_that_turns_out_bad_ends_with_the_old_one() -> None:
    start = world_after(present(workers(1)))
    start.answers = (100, 50)
    run = present(workers(2), bake=BAKE)
    whole = Driver(copy.deepcopy(start))
    with pytest.raises(RolloutError):
        run(whole)
    for step in range(1, whole.steps + 1):
        world = copy.deepcopy(start)
        with pytest.raises(Killed):
            run(Driver(world, kill_at=step))
        with pytest.raises(RolloutError, match="bake"):
            run(Driver(world))
        assert assert_settled(world).live == workers(1), f"killed at step {step}"


def test_migration_of_a_release_that_turns_out_bad_is_undone() -> None:
    world = world_after(present(jobs(1)))
    world.answers = (100, 50)
    with pytest.raises(RolloutError, match="bake"):
        present(jobs(2), bake=BAKE)(Driver(world))
    assert (assert_settled(world).schema, world.schema) == ("1", 1)


def test_first_release_is_watched_too() -> None:
    world = world_after()
    world.answers = (100, 50)
    with pytest.raises(RolloutError, match="there was no live release before"):
        present(release(1), bake=BAKE)(Driver(world))
    assert (assert_settled(world).live, world.written) == (None, None)
    assert steps_of(world_after(), present(release(1))) > 0


def line(second: int, upstream: str, status: int) -> str:
    entry = {"app": "labs", "upstream": upstream, "status": status}
    return f"2026-01-01T00:00:{second:02}.000000000Z {json.dumps(entry)}\n"


def test_answers_of_a_release_are_counted_once_each() -> None:
    answers = Answers({"10.9.0.130"}, "2026-01-01T00:00:10.000000000Z")
    first = line(10, "10.9.0.130:3001", 500) + line(11, "10.9.0.130:3001", 200) + line(12, "10.9.0.130:3001", 502)
    answers.feed(first)
    answers.feed(first + line(13, "10.9.0.129:3001", 500) + line(14, "10.9.0.129:3001, 10.9.0.130:3001", 200))
    answers.feed("2026-01-01T00:00:15.000000000Z nginx: worker process exited\n" + line(16, "", 421))
    assert (answers.requests, answers.errors) == (3, 1)


BAD: list[tuple[Any, list[str]]] = [
    (60, ["bake:", "60", "{seconds: 60}"]),
    ({"max_error_rate": 0.1}, ["bake.seconds", "missing", "Give"]),
    ({"seconds": 0}, ["bake.seconds", "0", "1 to 86400"]),
    ({"seconds": 60, "max_error_rate": 5}, ["bake.max_error_rate", "5", "0.05"]),
    ({"seconds": 60, "max_error_rate": True}, ["bake.max_error_rate", "True", "0.05"]),
    ({"seconds": 60, "errors": 5}, ["bake.errors", "Known are", "max_error_rate"]),
]


@pytest.mark.parametrize(("given", "named"), BAD)
def test_bad_input_is_refused_by_option_value_and_remedy(given: Any, named: list[str]) -> None:
    with pytest.raises(InputError) as error:
        parse_bake(given)
    for word in named:
        assert word in str(error.value)


def test_good_input_is_taken() -> None:
    assert parse_bake({}) is None
    assert parse_bake({"seconds": "60", "max_error_rate": "0.01"}) == Bake(60, 0.01, 20)
