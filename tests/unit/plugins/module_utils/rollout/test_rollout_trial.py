# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A canary from its first step to its promotion or its end, on a host in memory that is killed everywhere."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import plan
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Analysis
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import Canary
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import generation, releases_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    App,
    InputError,
    Release,
    RolloutError,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State, loads

from tests.unit.plugins.module_utils.rollout.apps import CANARIES, JOBS
from tests.unit.plugins.module_utils.rollout.apps import canaries as release
from tests.unit.plugins.module_utils.rollout.apps import release as release_of_app
from tests.unit.plugins.module_utils.rollout.kills import killed_everywhere, steps, steps_named
from tests.unit.plugins.module_utils.rollout.runs import (
    MANUAL,
    TIMED,
    Run,
    aborted,
    absent,
    assert_gone,
    assert_settled,
    current_of,
    live,
    planned,
    promoted,
    rolled_back,
    world_after,
)
from tests.unit.plugins.module_utils.rollout.simulation import Driver, Killed, World, pool


def present(candidate: Release, canary: Canary | None = TIMED, *, app: App = CANARIES, bake: Bake | None = None) -> Run:
    return planned(candidate, app, canary=canary, bake=bake)


def assert_paused(world: World, number: int) -> State:
    """The live release and the canary serve, each with what it needs, and nothing else is there."""
    state = loads("labs", world.state)
    assert world.broken == []
    assert state.trial is not None and state.trial.paused is not None
    assert state.live is not None and state.candidate == release(number)
    both = {state.live.id, state.candidate.id}
    assert releases_of(generation(world.loaded)) == both == releases_of(generation(world.written))
    assert world.files == both | ({state.previous.id} if state.previous else set())
    running = {(name, service) for (name, service), container in world.containers.items() if container.running}
    assert running == {
        *((state.live.id, service.name) for service in CANARIES.services),
        # What must not run twice waits, and so do workers: they would take work from the live release.
        *((state.candidate.id, name) for name in ("api", "web")),
    }
    assert all(world.containers[key].restart == "unless-stopped" for key in running)
    return state


def assert_never_sent_back(world: World) -> None:
    """Whoever met a canary meets it until it ends."""
    for name in {name for name, _ in world.shares}:
        weights = [weight for other, weight in world.shares if other == name]
        assert weights == sorted(weights)


FIRST = present(release(1))


def test_each_configuration_is_tested_before_its_time() -> None:
    world = world_after(FIRST)
    driver = Driver(world)
    present(release(2))(driver)
    assert live(world) == release(2).id and len(world.shares) > 1
    assert driver.untested == []


def test_a_healthy_canary_goes_through_its_steps_and_serves() -> None:
    world = world_after(FIRST)
    present(release(2))(Driver(world))
    state = assert_settled(world)
    assert (state.live, state.previous) == (release(2), release(1))
    assert world.shares == [(release(2).id, 10), (release(2).id, 50)]
    assert world.time >= 30
    assert [event["event"] for event in state.history] == ["deployed", "deployed"]


def test_the_first_release_has_no_canary() -> None:
    assert assert_settled(world_after(FIRST)).live == release(1)
    assert world_after(FIRST).shares == []


def test_a_release_that_is_ill_is_replaced_without_one() -> None:
    world = world_after(FIRST)
    world.of(release(1).id)["api"].ready = False
    present(release(2))(Driver(world))
    assert assert_settled(world).live == release(2)
    assert world.shares == []


@pytest.mark.parametrize(
    ("rps", "seconds"),
    [
        # A hundredth of the requests fail by far more than the margin: told within a few looks.
        (10.0, 60),
        (100.0, 20),
    ],
)
def test_errors_abort_within_the_window_and_the_live_release_keeps_serving(rps: float, seconds: int) -> None:
    world = world_after(FIRST)
    driver = Driver(world)
    driver.rps, driver.error_rate = rps, {release(2).id: 0.05}
    with pytest.raises(RolloutError, match=r"(?s)met by 10 % of the users: 5\.\d+% .*errors.*r\w+-00000001 keeps serv"):
        present(release(2))(driver)
    state = assert_settled(world)
    assert live(world) == release(1).id
    assert state.history[-1]["event"] == "aborted"
    assert world.shares == [(release(2).id, 10)]
    assert world.time <= seconds


@pytest.mark.parametrize("analysis", [TIMED.analysis, None], ids=["analysis", "none"])
def test_a_canary_whose_container_ends_is_aborted_at_once(analysis: Analysis | None) -> None:
    world = world_after(FIRST)
    driver = Driver(world)
    slept = driver.sleep

    def sleep(seconds: float) -> None:
        slept(seconds)
        world.of(release(2).id)["web"].running = world.time <= 10

    driver.sleep = sleep  # type: ignore[method-assign]
    # Requests that were on their way to the container fail, whatever is done about it.
    world.check = lambda: None  # type: ignore[method-assign]
    with pytest.raises(RolloutError, match=r"ended.\n.*keeps serving"):
        present(release(2), replace(TIMED, analysis=analysis))(driver)
    assert live(world) == release(1).id
    assert world.time <= 20


@pytest.mark.parametrize(("complaints", "aborted"), [(2, False), (3, True)])
def test_a_canary_that_is_unhealthy_three_times_in_a_row_is_aborted(complaints: int, aborted: bool) -> None:
    world = world_after(FIRST)
    world.complaints = [None, *["api answers 503"] * complaints]
    if aborted:
        with pytest.raises(RolloutError, match=r"(?s)api answers 503.*Last lines of api.*keeps serving"):
            present(release(2))(Driver(world))
    else:
        present(release(2))(Driver(world))
    assert assert_settled(world).live == release(1 if aborted else 2)


def test_a_canary_that_is_unhealthy_at_the_end_of_a_step_does_not_pass_it() -> None:
    world = world_after(FIRST)
    # The last look of the first step, and the one behind it.
    world.complaints = [None] * 4 + ["api answers 503"] * 2
    present(release(2))(Driver(world))
    assert assert_settled(world).live == release(2)
    assert world.time >= 20 + 10 + 10


def test_without_requests_nothing_is_promoted() -> None:
    world = world_after(FIRST)
    driver = Driver(world)
    driver.rps = 0
    with pytest.raises(RolloutError, match=r"(?s)nothing is known after 320 s.*max_wait.*keeps serving"):
        present(release(2))(driver)
    assert assert_settled(world).live == release(1)


def test_a_gateway_that_does_not_say_which_release_it_chose_is_told() -> None:
    world = world_after(FIRST)
    driver = Driver(world)
    driver.traffic = lambda since: {}  # type: ignore[method-assign]
    with pytest.raises(RolloutError, match=r"(?s)nothing is known after.*run role daffathan.platform.gateway"):
        present(release(2))(driver)
    assert assert_settled(world).live == release(1)


def test_without_requests_a_person_may_decide() -> None:
    world = world_after(FIRST)
    driver = Driver(world)
    driver.rps = 0
    present(release(2), replace(TIMED, on_inconclusive="pause"))(driver)
    state = assert_paused(world, 2)
    assert state.trial is not None and "inconclusive: the canary answered 0 of at least 50" in str(state.trial.paused)
    promoted(Driver(world))
    assert assert_settled(world).live == release(2)


def test_a_gate_waits_and_the_same_command_again_changes_nothing() -> None:
    world = world_after(FIRST, present(release(2), MANUAL))
    assert_paused(world, 2)
    before = copy.deepcopy(world)
    present(release(2), MANUAL)(Driver(world))
    assert world == before


def test_a_gate_that_is_passed_goes_on_with_the_steps_behind_it() -> None:
    world = world_after(FIRST, present(release(2), MANUAL), promoted)
    assert assert_settled(world).live == release(2)
    assert world.shares == [(release(2).id, 10), (release(2).id, 50)]
    before = copy.deepcopy(world)
    promoted(Driver(world))
    assert world == before


def test_whoever_promotes_a_canary_keeps_as_many_releases_as_was_said_with_it() -> None:
    world = world_after(FIRST, present(release(2)), present(release(3), MANUAL), promoted)
    state = assert_settled(world)
    assert (state.live, state.stopped) == (release(3), (release(2),))


def test_an_aborted_canary_is_gone_and_a_second_abort_changes_nothing() -> None:
    world = world_after(FIRST, present(release(2), MANUAL), aborted)
    state = assert_settled(world)
    assert (state.live, state.previous) == (release(1), None)
    assert state.history[-1]["event"] == "aborted"
    before = copy.deepcopy(world)
    aborted(Driver(world))
    assert world == before


def test_errors_while_a_gate_waited_keep_it_from_being_passed() -> None:
    world = world_after(FIRST, present(release(2), MANUAL))
    driver = Driver(world)
    world.time += 3600
    driver.error_rate = {release(2).id: 0.05}
    with pytest.raises(RolloutError, match="met by 10 % of the users"):
        promoted(driver)
    assert assert_settled(world).live == release(1)
    assert world.shares == [(release(2).id, 10)]


def test_another_version_takes_the_place_of_a_canary() -> None:
    world = world_after(FIRST, present(release(2), MANUAL), present(release(3)))
    state = assert_settled(world)
    assert (state.live, state.previous) == (release(3), release(1))


def test_the_live_version_again_takes_the_canary_away() -> None:
    world = world_after(FIRST, present(release(2), MANUAL), FIRST)
    state = assert_settled(world)
    assert (state.live, state.previous) == (release(1), None)


def test_a_rollback_says_that_a_canary_has_to_be_aborted_first() -> None:
    world = world_after(FIRST, present(release(2)), present(release(3), MANUAL))
    before = copy.deepcopy(world)
    with pytest.raises(InputError, match=rf"{release(3).id}.*playbooks/abort.yml"):
        rolled_back(Driver(world))
    assert world == before


def test_a_canary_that_is_not_the_one_meant_is_left_alone() -> None:
    world = world_after(FIRST, present(release(2), MANUAL))
    current = current_of(Driver(world), loads("labs", world.state))
    for verb in ("promote", "abort"):
        with pytest.raises(InputError, match=rf"{release(3).id} is no canary of labs.*{release(2).id}"):
            plan.plan_canary(current, verb, release(3).id)
        assert [operation.kind for operation in plan.plan_canary(current, verb, release(2).id)] == [verb]


def test_the_plan_names_the_steps() -> None:
    world = world_after(FIRST)
    current = current_of(Driver(world), loads("labs", world.state))
    (operation,) = plan.plan_present(current, plan.Desired(CANARIES, release(2).hash, None, {}, {}, MANUAL))
    assert operation.text == f"replace {release(1).id} in steps: 10 % until it is promoted, 50 % for 10 s, then all"


SCENARIOS: dict[str, tuple[list[Run], Run, int]] = {
    "steps": ([FIRST], present(release(2)), 2),
    "steps with a release kept": ([FIRST, present(release(2))], present(release(3)), 3),
    "promotion": ([FIRST, present(release(2), MANUAL)], promoted, 2),
    "promotion with a release kept": ([FIRST, present(release(2)), present(release(3), MANUAL)], promoted, 3),
    "abort": ([FIRST, present(release(2), MANUAL)], aborted, 1),
    "another version": ([FIRST, present(release(2), MANUAL)], present(release(3)), 3),
}


@pytest.mark.parametrize("reboot", [False, True], ids=["kill", "power loss"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_command_after_a_kill_anywhere_ends_well(name: str, reboot: bool) -> None:
    before, run, wanted = SCENARIOS[name]
    start = world_after(*before)
    for step, world in killed_everywhere(start, run, reboot=reboot):
        run(Driver(world))
        world.fire()
        assert len(assert_settled(world).kept) <= 2, f"killed at step {step}"
        assert live(world) == release(wanted).id, f"killed at step {step}"
        assert_never_sent_back(world)


def test_a_gate_is_reached_after_a_kill_anywhere() -> None:
    start, run = world_after(FIRST), present(release(2), MANUAL)
    for _, world in killed_everywhere(start, run):
        run(Driver(world))
        assert_paused(world, 2)


@pytest.mark.parametrize("name", ["steps", "promotion", "abort"])
@pytest.mark.parametrize("command", [present(release(9)), aborted, absent], ids=["deploy", "abort", "absent"])
def test_another_command_after_a_kill_anywhere_ends_well(name: str, command: Run) -> None:
    before, run, _ = SCENARIOS[name]
    start = world_after(*before)
    for step, world in killed_everywhere(start, run):
        command(Driver(world))
        if command is absent:
            assert_gone(world, step)
        else:
            state = assert_settled(world)
            assert state.live is not None
            assert command is aborted or state.live.id == release(9).id


def test_an_abort_that_was_killed_is_finished_by_whatever_comes_next() -> None:
    """Also where the last switch was under way: what was aborted never serves all."""
    start = world_after(FIRST, present(release(2), MANUAL))
    with pytest.raises(Killed):
        promoted(Driver(start, kill_at=steps_named(start, promoted, "loaded")[-1]))
    # Behind the step that notes what is to be done.
    for step, world in itertools.islice(killed_everywhere(start, aborted), 2, None):
        promoted(Driver(world))
        assert assert_settled(world).live == release(1), f"killed at step {step}"


def test_absent_after_a_removal_of_a_canary_was_killed_leaves_nothing() -> None:
    start = world_after(FIRST, present(release(2), MANUAL))
    for step, world in killed_everywhere(start, absent):
        absent(Driver(world))
        assert_gone(world, step)


@pytest.mark.parametrize("step", ["keep", "written", "loaded", "fence"])
def test_a_step_that_fails_takes_the_canary_away(step: str) -> None:
    world = world_after(FIRST)
    with pytest.raises(RolloutError, match="taken away"):
        present(release(2))(Driver(world, fail=step))
    assert assert_settled(world).live == release(1)


@pytest.mark.parametrize("ill", ["mailer", "billing"])
def test_a_worker_that_does_not_start_at_the_promotion_undoes_it(ill: str) -> None:
    world = world_after(FIRST)
    with pytest.raises(RolloutError, match="keeps serving"):
        present(release(2, ill=ill))(Driver(world))
    assert assert_settled(world).live == release(1)


MIGRATED = replace(JOBS, services=(replace(JOBS.services[0], strategy="canary"),))


def migrated(number: int) -> Release:
    return release_of_app(number, app=MIGRATED)


def test_the_migration_of_a_canary_that_is_aborted_is_undone() -> None:
    world = world_after(present(migrated(1), app=MIGRATED))
    driver = Driver(world)
    driver.error_rate = {migrated(2).id: 0.2}
    with pytest.raises(RolloutError, match="keeps serving"):
        present(migrated(2), app=MIGRATED)(driver)
    assert (assert_settled(world).live, world.schema) == (migrated(1), 1)


def test_the_schema_shrinks_only_once_the_canary_serves_all() -> None:
    world = world_after(present(migrated(1), app=MIGRATED), present(migrated(2), MANUAL, app=MIGRATED))
    assert [job for name, job in world.done if name == "hash2"].count("migrate.after") == 0
    promoted(Driver(world))
    assert [job for name, job in world.done if name == "hash2"].count("migrate.after") == 1
    assert assert_settled(world).live == migrated(2)


def test_a_promotion_that_is_killed_anywhere_shrinks_the_schema_once() -> None:
    start = world_after(present(migrated(1), app=MIGRATED), present(migrated(2), MANUAL, app=MIGRATED))
    for step, world in killed_everywhere(start, promoted):
        promoted(Driver(world))
        assert assert_settled(world).live == migrated(2)
        assert world.done.count(("hash2", "migrate.after")) == 1, f"killed at step {step}"


def test_a_release_that_turns_out_bad_behind_its_canary_is_switched_back_from() -> None:
    world = world_after(FIRST)
    world.answered = {release(2).id: pool(400, 0.1)}
    with pytest.raises(RolloutError, match=r"(?s)bake: .*\(40 of 400\) errors.*keeps serving"):
        present(release(2), bake=Bake(30))(Driver(world))
    state = assert_settled(world)
    assert (state.live, state.history[-1]["event"]) == (release(1), "failed")
    assert world.shares[-1] == (release(2).id, 50)


def test_what_is_paused_outlives_a_reboot() -> None:
    world = world_after(FIRST, present(release(2), MANUAL))
    world.reboot()
    assert_paused(world, 2)


def test_a_canary_that_is_ill_at_its_promotion_is_taken_away() -> None:
    world = world_after(FIRST, present(release(2), MANUAL))
    driver = Driver(world, fail="ready")
    with pytest.raises(RolloutError, match="keeps serving"):
        promoted(driver)
    assert assert_settled(world).live == release(1)


def test_runs_are_killed_at_the_looks_too() -> None:
    assert "traffic" in steps(world_after(FIRST), present(release(2)))
