# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The release before runs on for a while, and whatever stops it never stops what serves."""

from __future__ import annotations

import copy

import pytest

from tests.unit.plugins.module_utils.rollout.apps import jobs, workers
from tests.unit.plugins.module_utils.rollout.kills import steps
from tests.unit.plugins.module_utils.rollout.runs import assert_settled, live, present, rolled_back, world_after
from tests.unit.plugins.module_utils.rollout.simulation import Driver, Killed, World


def warm() -> World:
    return world_after(present(workers(1)), present(workers(2), keep_warm=300))


def running(world: World, number: int) -> set[str]:
    return {name for name, container in world.of(workers(number).id).items() if container.running}


def test_what_takes_requests_runs_on_and_workers_do_not() -> None:
    world = warm()
    assert (running(world, 1), set(world.timers)) == ({"api"}, {workers(1).id})
    world.fire()
    assert assert_settled(world).live == workers(2)


def test_warm_release_does_not_come_back_with_the_host() -> None:
    world = warm()
    world.reboot()
    assert running(world, 1) == set()
    assert assert_settled(world).live == workers(2)


def test_next_release_ends_the_warmth_of_the_one_before() -> None:
    world = warm()
    present(workers(3), keep=3)(Driver(world))
    assert running(world, 1) == running(world, 2) == set()
    assert assert_settled(world).live == workers(3)


@pytest.mark.parametrize("kill", [False, True], ids=["whole", "killed"])
def test_timer_that_is_over_at_any_moment_of_a_rollback_stops_nothing_that_serves(kill: bool) -> None:
    start = warm()
    for step in range(1, len(steps(start, rolled_back)) + 1):
        world = copy.deepcopy(start)
        if kill:
            with pytest.raises(Killed):
                rolled_back(Driver(world, kill_at=step))
            rolled_back(Driver(world, fire_at=step // 2 + 1))
        else:
            rolled_back(Driver(world, fire_at=step))
        world.fire()
        assert live(world) == workers(1).id, f"over at step {step}"
        assert assert_settled(world).live == workers(1)


def test_timer_that_cannot_be_had_stops_at_once() -> None:
    world = world_after(present(workers(1)))
    present(workers(2), keep_warm=300)(Driver(world, fail="stop later"))
    assert assert_settled(world).live == workers(2)


def test_release_whose_schema_is_taken_away_is_not_kept_warm() -> None:
    world = world_after(present(jobs(1)), present(jobs(2), keep_warm=300))
    assert world.timers == {}
    assert assert_settled(world).live == jobs(2)
