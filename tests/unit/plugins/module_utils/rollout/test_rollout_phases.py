# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import plan
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.journal import Journal
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import InputError, Release, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.phases import Rollout
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State, loads

from tests.unit.plugins.module_utils.rollout.apps import WORKERS, jobs, release, rolling, streams, workers
from tests.unit.plugins.module_utils.rollout.kills import killed_everywhere, steps, steps_named
from tests.unit.plugins.module_utils.rollout.runs import (
    Run,
    absent,
    assert_gone,
    assert_settled,
    live,
    present,
    rolled_back,
    rolled_back_to,
    world_after,
)
from tests.unit.plugins.module_utils.rollout.simulation import Driver, Killed, World


def test_first_release_serves() -> None:
    state = assert_settled(world_after(present(release(1))))
    assert state.live == release(1) and state.previous is None


def test_second_release_keeps_the_first_and_the_third_lets_it_go() -> None:
    state = assert_settled(world_after(present(release(1)), present(release(2)), present(release(3))))
    assert (state.live, state.previous) == (release(3), release(2))


def test_rollback_returns_and_repeated_changes_nothing() -> None:
    world = world_after(present(release(1)), present(release(2)), rolled_back)
    state = assert_settled(world)
    assert (state.live, state.previous) == (release(1), release(2))
    assert rolled_back(Driver(world)) == state


def test_deploy_after_a_rollback_can_be_rolled_back_again() -> None:
    before = (present(release(1)), present(release(2)), rolled_back)
    state = assert_settled(world_after(*before, present(release(3)), rolled_back))
    assert (state.live, state.previous) == (release(1), release(3))


def test_as_many_releases_are_kept_as_are_asked_for() -> None:
    world = world_after(*(present(release(number), keep=3) for number in (1, 2, 3, 4)))
    state = assert_settled(world)
    assert state.kept == (release(4), release(3), release(2))
    present(release(4), keep=2)(Driver(world))
    assert assert_settled(world).kept == (release(4), release(3))


def planned(world: World, wanted: Release, keep: int) -> list[str]:
    """The kinds of operations of `state: present`, as a dry run lists them."""
    driver = Driver(world)
    rollout = Rollout(driver, Journal(None), keep=keep)
    state = driver.load()
    current = plan.Current(
        state,
        driver.inventory(),
        driver.written_generation(),
        driver.loaded_generation(),
        orphans=tuple(rollout.orphans(state)),
    )
    desired = plan.Desired(WORKERS, wanted.hash, None, {}, {}, keep=keep)
    return [operation.kind for operation in plan.plan_present(current, desired)]


def test_keeping_fewer_releases_is_an_operation_of_its_own() -> None:
    world = world_after(*(present(workers(number), keep=4) for number in (1, 2, 3, 4)))
    assert planned(world, workers(4), keep=4) == []
    assert planned(world, workers(4), keep=3) == ["prune"]
    assert planned(world, workers(5), keep=2) == ["release"]
    Rollout(Driver(world), Journal(None), keep=3).prune()
    assert assert_settled(world).kept == (workers(4), workers(3), workers(2))
    assert planned(world, workers(4), keep=3) == []


def test_what_nobody_knows_of_is_removed_by_an_operation_too() -> None:
    world = world_after(present(workers(1)))
    Driver(world).stage(workers(7))
    assert planned(world, workers(1), keep=2) == ["prune"]
    Rollout(Driver(world), Journal(None)).recover()
    assert workers(7).id in world.files, "nothing is removed that no operation tells of"
    Rollout(Driver(world), Journal(None)).prune()
    assert_settled(world)
    assert planned(world, workers(1), keep=2) == []


def test_kill_while_releases_are_pruned_is_made_good() -> None:
    start = world_after(*(present(release(number), keep=4) for number in (1, 2, 3, 4)))

    def prune(driver: Driver) -> State:
        return Rollout(driver, Journal(None), keep=2).prune()

    for step, world in killed_everywhere(start, prune):
        prune(Driver(world))
        assert assert_settled(world).kept == (release(4), release(3)), f"killed at step {step}"


def test_any_release_that_is_kept_can_be_returned_to() -> None:
    world = world_after(*(present(release(number), keep=3) for number in (1, 2, 3)), rolled_back_to(release(1)))
    state = assert_settled(world)
    assert state.kept == (release(1), release(3), release(2))
    with pytest.raises(InputError, match=f"release: {release(9).id} of labs .* Kept are: {release(3).id}, "):
        rolled_back(Driver(world), release(9).id)


def test_absent_leaves_nothing() -> None:
    world = world_after(present(release(1)), present(release(2)), absent)
    assert_gone(world)


@pytest.mark.parametrize(
    "step", ["stage", "files", "start", "started", "rehearse", "ready", "keep", "test", "written", "loaded", "fence"]
)
@pytest.mark.parametrize("first", [True, False], ids=["first release", "second release"])
def test_failure_before_the_switch_leaves_the_old_one_alone(step: str, first: bool) -> None:
    world = world_after() if first else world_after(present(release(1)))
    with pytest.raises(RolloutError, match="taken away"):
        present(release(2))(Driver(world, fail=step))
    state = assert_settled(world)
    assert live(world) == (None if first else release(1).id)
    assert state.history[-1]["event"] == "failed"


def test_ill_release_never_gets_a_request() -> None:
    world = world_after(present(release(1)))
    with pytest.raises(RolloutError, match="keeps serving"):
        present(release(2, ill="api"))(Driver(world))
    assert assert_settled(world).live == release(1)


def test_failure_of_the_undoing_does_not_hide_why_it_was_undone() -> None:
    world = world_after(present(release(1)))
    with pytest.raises(RolloutError, match=r"(?s)does not get ready.*remove fails on purpose"):
        present(release(2, ill="api"))(Driver(world, fail="remove"))
    assert live(world) == release(1).id
    present(release(3))(Driver(world))
    assert assert_settled(world).live == release(3)


def test_failed_rollback_keeps_both() -> None:
    world = world_after(present(release(1)), present(release(2)))
    with pytest.raises(RolloutError):
        rolled_back(Driver(world, fail="ready"))
    state = assert_settled(world)
    assert (state.live, state.previous) == (release(2), release(1))


def kept(number: int) -> Run:
    return present(release(number), keep=3)


SCENARIOS: dict[str, tuple[list[Run], Run, set[str | None]]] = {
    "first": ([], present(release(1)), {release(1).id}),
    "second": ([present(release(1))], present(release(2)), {release(2).id}),
    "third": ([present(release(1)), present(release(2))], present(release(3)), {release(3).id}),
    "rollback": ([present(release(1)), present(release(2))], rolled_back, {release(1).id}),
    "fourth of three": ([kept(1), kept(2), kept(3)], kept(4), {release(4).id}),
    "rollback over two": ([kept(1), kept(2), kept(3)], rolled_back_to(release(1)), {release(1).id}),
    "second with a bake": ([present(release(1))], present(release(2), bake=Bake(5)), {release(2).id}),
    "first one by one": ([], present(rolling(1)), {rolling(1).id}),
    "second one by one": ([present(rolling(1))], present(rolling(2)), {rolling(2).id}),
    "rollback one by one": ([present(rolling(1)), present(rolling(2))], rolled_back, {rolling(1).id}),
    "first with jobs": ([], present(jobs(1)), {jobs(1).id}),
    "second with jobs": ([present(jobs(1))], present(jobs(2)), {jobs(2).id}),
    "first with streams": ([], present(streams(1)), {streams(1).id}),
    "second with streams": ([present(streams(1))], present(streams(2)), {streams(2).id}),
    "rollback with streams": ([present(streams(1)), present(streams(2))], rolled_back, {streams(1).id}),
    "streams no more": ([present(streams(1))], present(release(2)), {release(2).id}),
    "first with workers": ([], present(workers(1)), {workers(1).id}),
    "second with workers": ([present(workers(1))], present(workers(2)), {workers(2).id}),
    "rollback with workers": ([present(workers(1)), present(workers(2))], rolled_back, {workers(1).id}),
}


@pytest.mark.parametrize("ill", ["api", "mailer", "billing"])
def test_whatever_does_not_get_ready_the_old_release_works_on_whole(ill: str) -> None:
    world = world_after(present(workers(1)))
    with pytest.raises(RolloutError, match=f"{ill} of {workers(2).id} does not get ready"):
        present(workers(2, ill=ill))(Driver(world))
    state = assert_settled(world)
    assert (live(world), state.previous) == (workers(1).id, None)


def test_worker_starts_only_beside_services_that_are_ready() -> None:
    world = world_after(present(workers(1)))
    with pytest.raises(Killed, match="ready"):
        present(workers(2))(Driver(world, kill_at=steps_named(world, present(workers(2)), "ready")[0]))
    assert set(world.of(workers(2).id)) == {"api"}


@pytest.mark.parametrize("step", ["stop", "stopped", "rehearse", "test", "written", "loaded", "fence"])
def test_failure_after_old_ones_were_stopped_starts_them_again(step: str) -> None:
    world = world_after(present(workers(1)))
    with pytest.raises(RolloutError, match="on purpose"):
        present(workers(2))(Driver(world, fail=step))
    assert assert_settled(world).live == workers(1)


def test_old_ones_that_cannot_be_started_again_do_not_keep_the_candidate() -> None:
    world = world_after(present(workers(1)))
    with pytest.raises(RolloutError, match=r"(?s)billing of .* does not get ready.*billing of .* could not be started"):
        present(workers(2, ill="billing"))(Driver(world, fail="resume"))
    assert (live(world), world.of(workers(2).id)) == (workers(1).id, {})
    present(workers(3))(Driver(world))
    assert assert_settled(world).live == workers(3)


@pytest.mark.parametrize("reboot", [False, True], ids=["kill", "power loss"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_command_after_a_kill_anywhere_ends_well(name: str, reboot: bool) -> None:
    before, run, wanted = SCENARIOS[name]
    start = world_after(*before)
    assert len(steps(start, run)) > 15
    for step, world in killed_everywhere(start, run, reboot=reboot):
        run(Driver(world))
        world.fire()
        assert_settled(world)
        assert live(world) in wanted, f"killed at step {step}"


@pytest.mark.parametrize(
    ("before", "run", "wanted"),
    [
        (present(workers(1)), present(workers(2)), workers(2)),
        (present(workers(1)), present(workers(2, ill="billing")), workers(1)),
        (present(rolling(1)), present(rolling(2)), rolling(2)),
        (present(rolling(1)), present(rolling(2, ill="web")), rolling(1)),
        (present(release(1)), present(release(2)), release(2)),
    ],
    ids=["in place", "in place and ill", "one by one", "one by one and ill", "beside each other"],
)
def test_a_stop_that_a_killed_run_began_may_end_whenever_it_likes(before: Run, run: Run, wanted: Release) -> None:
    start = world_after(before)
    killed_at = steps_named(start, run, "stopping")
    for step in killed_at:
        once = copy.deepcopy(start)
        with contextlib.suppress(RolloutError), pytest.raises(Killed):
            run(Driver(once, kill_at=step))
        whole = Driver(copy.deepcopy(once))
        with contextlib.suppress(RolloutError):
            run(whole)
        for end in range(1, whole.steps + 2):
            world = copy.deepcopy(once)
            with contextlib.suppress(RolloutError):
                run(Driver(world, fire_at=end))
            world.fire()
            assert assert_settled(world).live == wanted, f"killed at step {step}, ended at step {end}"


@pytest.mark.parametrize("name", SCENARIOS)
def test_another_command_after_a_kill_anywhere_ends_well(name: str) -> None:
    before, run, _ = SCENARIOS[name]
    start = world_after(*before)
    for step, world in killed_everywhere(start, run):
        present(release(9))(Driver(world))
        assert_settled(world)
        assert live(world) == release(9).id, f"killed at step {step}"


def test_two_kills_in_a_row() -> None:
    start = world_after(present(release(1)))
    run = present(release(2))
    for first, once in killed_everywhere(start, run):
        for second, world in killed_everywhere(once, run):
            run(Driver(world))
            assert_settled(world)
            assert live(world) == release(2).id, f"killed at steps {first} and {second}"


@pytest.mark.parametrize("kind", [release, streams])
def test_absent_after_a_kill_anywhere_leaves_nothing(kind: Callable[[int], Release]) -> None:
    start = world_after(present(kind(1)), present(kind(2)))
    for step, world in killed_everywhere(start, absent):
        absent(Driver(world))
        assert_gone(world, step)


def test_deploy_after_a_removal_was_killed_starts_anew() -> None:
    start = world_after(present(release(1)), present(release(2)))
    given_up = 0
    for step, world in killed_everywhere(start, absent):
        serves = live(world) == release(2).id and loads("labs", world.state).phase == "remove"
        present(release(9))(Driver(world))
        state = assert_settled(world)
        assert state.live == release(9)
        if serves:
            # What still served was replaced like any release, and is kept for a rollback.
            given_up += 1
            assert state.previous == release(2), f"killed at step {step}"
        elif step > 2:
            assert state.previous is None
    assert given_up >= 2


def test_removal_that_was_killed_before_it_reached_the_traffic_is_given_up_by_the_same_release() -> None:
    world = world_after(present(release(1)), present(release(2)))
    with pytest.raises(Killed):
        absent(Driver(world, kill_at=3))
    assert loads("labs", world.state).phase == "remove"
    present(release(2))(Driver(world))
    state = assert_settled(world)
    assert (state.live, state.previous) == (release(2), release(1))


def test_removal_with_the_gateway_down_changes_nothing() -> None:
    world = world_after(present(release(1)), present(release(2)))
    before = copy.deepcopy(world)
    world.gateway_up = False
    with pytest.raises(RolloutError, match="gateway"):
        absent(Driver(world))
    world.gateway_up = True
    assert world == before


def test_what_was_switched_to_comes_back_after_a_reboot_even_when_the_engine_forgot_its_policy() -> None:
    world = world_after(present(release(1)))
    with pytest.raises(Killed, match="written"):
        present(release(2))(Driver(world, kill_at=steps_named(world, present(release(2)), "written")[0]))
    world.containers[release(2).id, "api"].restart = "no"
    present(release(2))(Driver(world))
    assert assert_settled(world).live == release(2)
    world.reboot()
    assert world.containers[release(2).id, "api"].running and world.broken == []


def test_what_an_interrupted_run_switched_to_is_kept_before_it_is_asked_whether_it_is_ready() -> None:
    start = world_after(present(release(1)))
    run = present(release(2))
    start_of_recovery = copy.deepcopy(start)
    with pytest.raises(Killed):
        run(Driver(start_of_recovery, kill_at=steps_named(start, run, "written")[0]))
    start_of_recovery.containers[release(2).id, "api"].restart = "no"
    # The recovery is cut as well, where it has asked for readiness: what the gateway names outlives a reboot then.
    world = copy.deepcopy(start_of_recovery)
    with pytest.raises(Killed):
        run(Driver(world, kill_at=steps_named(start_of_recovery, run, "ready")[0]))
    world.reboot()
    assert world.containers[release(2).id, "api"].running and world.broken == []


def test_what_the_gateway_names_is_not_removed_when_the_state_is_lost() -> None:
    world = world_after(present(release(1)))
    world.state = None
    Rollout(Driver(world), Journal(None)).recover()
    assert world.containers[release(1).id, "api"].running and world.broken == []


def test_release_that_was_down_when_it_was_replaced_is_not_brought_up_by_a_reboot() -> None:
    world = world_after(present(release(1)))
    world.containers[release(1).id, "api"].running = False
    present(release(2))(Driver(world))
    world.broken.clear()
    assert assert_settled(world).previous == release(1)


def test_release_that_was_ready_is_not_brought_up_by_a_reboot_after_its_undoing() -> None:
    world = world_after(present(release(1)), present(release(2)))
    with pytest.raises(RolloutError):
        rolled_back(Driver(world, fail="loaded"))
    world.reboot()
    assert not world.containers[release(1).id, "api"].running
