# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A release in parts, for hosts that act as one: prepared, switched, finalized or aborted, and killed everywhere."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import plan
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import Canary
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import generation, releases_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    App,
    InputError,
    Release,
    RolloutError,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State, loads

from tests.unit.plugins.module_utils.rollout.apps import CANARIES, JOBS, ROLLING, WORKERS
from tests.unit.plugins.module_utils.rollout.apps import release as release_of_app
from tests.unit.plugins.module_utils.rollout.kills import killed_everywhere
from tests.unit.plugins.module_utils.rollout.runs import (
    MANUAL,
    TIMED,
    Run,
    aborted,
    absent,
    assert_gone,
    assert_settled,
    current_of,
    finalized,
    held,
    live,
    planned,
    promoted,
    rolled_back,
    switched,
    world_after,
)
from tests.unit.plugins.module_utils.rollout.simulation import Driver, World, pool


def release(number: int, app: App = WORKERS, **options: Any) -> Release:
    return release_of_app(number, app=app, **options)


def present(candidate: Release, app: App = WORKERS, **options: Any) -> Run:
    return planned(candidate, app, **options)


def prepared(candidate: Release, app: App = WORKERS, **options: Any) -> Run:
    return planned(candidate, app, hold=True, **options)


FIRST = present(release(1))


def assert_waits(world: World, phase: str, app: App = WORKERS) -> State:
    """Both releases run as far as they may, one of them serves, and a reboot changes nothing of that."""
    state = loads("labs", world.state)
    assert world.broken == []
    assert (state.phase, state.trial) == (phase, None)
    assert (state.live, state.candidate) == (release(1, app), release(2, app))
    serving = release(2 if phase == "switched" else 1, app).id
    assert live(world) == serving and releases_of(generation(world.written)) == {serving}
    running = {key for key, container in world.containers.items() if container.running}
    both = {service.name for service in app.services if service.strategy in ("blue_green", "canary")}
    alone = {name for _, name in world.containers if name.split("-")[0] not in both}
    ready = both if phase == "switched" else both - {"mailer"}
    assert running == {
        *((release(1, app).id, name) for name in both),
        *((release(2, app).id, name) for name in ready),
        # What must not run twice, or is replaced one by one, runs where the users are.
        *((serving, name) for name in alone),
    }
    assert {key for key, container in world.containers.items() if container.restart != "no"} == running
    return state


def test_a_prepared_release_is_ready_and_nobody_meets_it() -> None:
    world = world_after(FIRST, prepared(release(2)))
    assert_waits(world, "prepared")
    world.reboot()
    assert_waits(world, "prepared")


def test_a_switched_release_serves_and_the_one_before_runs_on() -> None:
    world = world_after(FIRST, prepared(release(2)), switched)
    assert_waits(world, "switched")
    world.reboot()
    assert_waits(world, "switched")


def test_a_finalized_release_is_as_if_it_had_been_deployed_at_once() -> None:
    parts = world_after(FIRST, prepared(release(2)), switched, finalized)
    whole = world_after(FIRST, present(release(2)))
    # The history tells the runs apart.
    one, other = (replace(assert_settled(world), history=()) for world in (parts, whole))
    assert (one, parts.containers, parts.written) == (other, whole.containers, whole.written)


def test_the_first_release_in_parts() -> None:
    assert assert_settled(world_after(prepared(release(1)), switched, finalized)).live == release(1)


@pytest.mark.parametrize("verbs", [[], [switched]], ids=["prepared", "switched"])
@pytest.mark.parametrize("app", [WORKERS, ROLLING, JOBS], ids=["workers", "rolling", "jobs"])
def test_an_aborted_release_leaves_the_one_before_as_it_was(verbs: list[Run], app: App) -> None:
    start = world_after(present(release(1, app), app=app))
    before = copy.deepcopy(start)
    for run in (prepared(release(2, app), app=app), *verbs, aborted):
        run(Driver(start))
    state = assert_settled(start)
    assert (state.live, state.previous, state.history[-1]["event"]) == (release(1, app), None, "aborted")
    assert (start.containers.keys(), start.written) == (before.containers.keys(), before.written)


def test_the_migration_of_a_release_that_is_aborted_is_undone_and_that_of_a_finalized_one_is_completed() -> None:
    first = present(release(1, JOBS), app=JOBS)
    back = world_after(first, prepared(release(2, JOBS), app=JOBS), switched, aborted)
    assert back.schema == 1 and ("hash2", "migrate.rollback") in back.done
    on = world_after(first, prepared(release(2, JOBS), app=JOBS), switched)
    assert ("hash2", "migrate.after") not in on.done
    finalized(Driver(on))
    assert (on.schema, on.done.count(("hash2", "migrate.after"))) == (2, 1)
    assert_settled(on)


@pytest.mark.parametrize(
    ("before", "again"),
    [
        ([prepared(release(2))], prepared(release(2))),
        ([prepared(release(2)), switched], switched),
        ([prepared(release(2)), switched], prepared(release(2))),
        ([prepared(release(2)), switched, finalized], switched),
        ([prepared(release(2)), switched, finalized], finalized),
        ([prepared(release(2)), switched, aborted], aborted),
        ([prepared(release(2)), switched, aborted], switched),
        ([], prepared(release(1))),
        ([], switched),
        ([], finalized),
        ([], aborted),
    ],
)
def test_what_is_done_already_changes_nothing(before: list[Run], again: Run) -> None:
    world = world_after(FIRST, *before)
    was = copy.deepcopy(world)
    again(Driver(world))
    assert world == was


def test_who_finalizes_keeps_as_many_releases_as_was_said_with_it() -> None:
    world = world_after(FIRST, present(release(2)), prepared(release(3)), switched, finalized)
    assert assert_settled(world).kept == (release(3), release(2))


@pytest.mark.parametrize("ill", ["api", "mailer", "billing"])
def test_what_does_not_get_ready_is_taken_away_by_the_part_that_finds_out(ill: str) -> None:
    world = world_after(FIRST)
    run = prepared(release(2, ill=ill))
    if ill != "api":
        run(Driver(world))
        run = switched
    with pytest.raises(RolloutError, match=rf"(?s){ill} of .* does not get ready.*{release(1).id} keeps serving"):
        run(Driver(world))
    assert assert_settled(world).live == release(1)


def test_what_ended_since_it_was_prepared_is_not_switched_to() -> None:
    world = world_after(FIRST, prepared(release(2)))
    world.of(release(2).id)["api"].running = False
    with pytest.raises(RolloutError, match="keeps serving"):
        switched(Driver(world))
    assert assert_settled(world).live == release(1)


def test_a_release_that_is_watched_and_turns_out_bad_is_switched_back_from() -> None:
    world = world_after(FIRST, prepared(release(2), bake=Bake(30)))
    world.answered = {release(2).id: pool(100, 0.2)}
    with pytest.raises(RolloutError, match=r"(?s)bake: .*\(20 of 100\) errors.*keeps serving"):
        switched(Driver(world))
    assert assert_settled(world).live == release(1)


@pytest.mark.parametrize("phase", ["prepared", "switched"])
def test_present_completes_the_same_release_and_takes_another_one_away(phase: str) -> None:
    world = world_after(FIRST, prepared(release(2)), *([switched] if phase == "switched" else []))
    same, other, back = (copy.deepcopy(world) for _ in range(3))
    present(release(2))(Driver(same))
    assert assert_settled(same).previous == release(1)
    present(release(3))(Driver(other))
    state = assert_settled(other)
    assert (state.live, state.previous) == (release(3), release(1))
    FIRST(Driver(back))
    state = assert_settled(back)
    assert (state.live, state.previous) == (release(1), None)


@pytest.mark.parametrize(("phase", "ill"), [("prepared", "api"), ("switched", "api"), ("switched", "mailer")])
def test_what_fell_ill_while_it_waited_is_replaced_by_the_same_command(phase: str, ill: str) -> None:
    world = world_after(FIRST, prepared(release(2)), *([switched] if phase == "switched" else []))
    world.of(release(2).id)[ill].ready = False
    again = replace(release(3), hash=release(2).hash)
    held, whole = copy.deepcopy(world), copy.deepcopy(world)
    prepared(again)(Driver(held))
    state = loads("labs", held.state)
    assert (held.broken, state.phase, state.live, state.candidate) == ([], "prepared", release(1), again)
    assert live(held) == release(1).id
    present(again)(Driver(whole))
    state = assert_settled(whole)
    assert (state.live, state.previous) == (again, release(1))


@pytest.mark.parametrize("phase", ["prepared", "switched"])
def test_another_release_is_prepared_only_once_the_first_is_gone(phase: str) -> None:
    world = world_after(FIRST, prepared(release(3)), *([switched] if phase == "switched" else []))
    prepared(release(2))(Driver(world))
    assert_waits(world, "prepared")


def test_other_routes_alone_are_a_release_that_can_be_taken_back() -> None:
    world = world_after(FIRST)
    moved = replace(WORKERS, domains=("other.example.test",))
    again = replace(release(2), hash=release(1).hash)
    prepared(again, app=moved)(Driver(world))
    assert "other.example.test" not in str(world.written)
    switched(Driver(world))
    assert "other.example.test" in str(world.written)
    aborted(Driver(world))
    assert "other.example.test" not in str(world.written)
    assert assert_settled(world).live == release(1)


def test_a_rollback_says_what_has_to_be_aborted_first() -> None:
    world = world_after(FIRST, present(release(3)), prepared(release(2)))
    was = copy.deepcopy(world)
    with pytest.raises(InputError, match=rf"{release(2).id}, which is prepared .*playbooks/abort.yml"):
        rolled_back(Driver(world))
    assert world == was


def test_a_release_that_is_not_there_any_more_is_not_taken_for_one_that_is() -> None:
    world = world_after(FIRST, prepared(release(2)), aborted)
    for name in ("switched", "finalized"):
        with pytest.raises(InputError, match=rf"{release(2).id} of labs is not prepared"):
            held(name, release(2).id)(Driver(world))
        held(name, release(1).id)(Driver(world))
    assert assert_settled(world).live == release(1)


def test_what_is_only_prepared_cannot_be_finalized() -> None:
    world = world_after(FIRST, prepared(release(2)))
    with pytest.raises(InputError, match="not every user meets it yet"):
        finalized(Driver(world))
    assert_waits(world, "prepared")


SCENARIOS: dict[str, tuple[App, list[Run]]] = {
    name: (app, [prepared(release(2, app), app=app, bake=bake), switched, finalized])
    for name, app, bake in (
        ("workers", WORKERS, None),
        ("one by one", ROLLING, None),
        ("jobs", JOBS, None),
        ("bake", WORKERS, Bake(5)),
    )
}


@pytest.mark.parametrize("reboot", [False, True], ids=["kill", "power loss"])
@pytest.mark.parametrize("number", [0, 1, 2], ids=["prepared", "switched", "finalized"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_command_after_a_kill_anywhere_goes_on_or_has_undone(name: str, number: int, reboot: bool) -> None:
    app, runs = SCENARIOS[name]
    start = world_after(present(release(1, app), app=app), *runs[:number])
    run = runs[number]
    undone = 0
    for step, world in killed_everywhere(start, run, reboot=reboot):
        try:
            run(Driver(world))
        except RolloutError as error:
            assert number == 1 and ("Prepare it again" in str(error) or "keeps serving" in str(error)), error
            assert assert_settled(world).live == release(1, app), f"killed at step {step}"
            undone += 1
            continue
        if number == 2:
            assert assert_settled(world).live == release(2, app), f"killed at step {step}"
        else:
            assert_waits(world, ("prepared", "switched")[number], app)
    # What has begun to take the place of the live release is not gone on with from the middle.
    assert (undone > 0) == (number == 1)


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("number", [0, 1], ids=["prepared", "switched"])
def test_an_abort_after_a_kill_anywhere_leads_back(name: str, number: int) -> None:
    """Also where the gateway had the new release already: the host was lost in the middle, and the others went back."""
    app, runs = SCENARIOS[name]
    start = world_after(present(release(1, app), app=app), *runs[:number])
    for step, world in killed_everywhere(start, runs[number]):
        aborted(Driver(world))
        assert assert_settled(world).live == release(1, app), f"killed at step {step}"


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("number", [0, 1, 2], ids=["prepared", "switched", "finalized"])
@pytest.mark.parametrize("same", [True, False], ids=["same", "other"])
def test_present_after_a_kill_anywhere_ends_well(name: str, number: int, same: bool) -> None:
    app, runs = SCENARIOS[name]
    start = world_after(present(release(1, app), app=app), *runs[:number])
    wanted = release(2 if same else 9, app)
    for step, world in killed_everywhere(start, runs[number]):
        present(wanted, app=app)(Driver(world))
        assert assert_settled(world).live == wanted, f"killed at step {step}"


@pytest.mark.parametrize("phase", ["prepared", "switched"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_an_abort_that_is_killed_anywhere_is_finished_by_the_next_run(phase: str, name: str) -> None:
    app, runs = SCENARIOS[name]
    start = world_after(present(release(1, app), app=app), *runs[: 2 if phase == "switched" else 1])
    for again in (aborted, switched):
        for step, world in killed_everywhere(start, aborted):
            if again is switched and loads("labs", world.state).hold is not None and step <= 2:
                continue
            try:
                again(Driver(world))
            except RolloutError as error:
                assert "Prepare it again" in str(error)
            assert assert_settled(world).live == release(1, app), f"killed at step {step}"


@pytest.mark.parametrize("phase", ["prepared", "switched"])
def test_absent_after_a_kill_anywhere_leaves_nothing(phase: str) -> None:
    start = world_after(FIRST, prepared(release(2)), *([switched] if phase == "switched" else []))
    for step, world in killed_everywhere(start, absent):
        absent(Driver(world))
        assert_gone(world, step)


def tried(number: int, canary: Canary) -> Run:
    return prepared(release(number, CANARIES), app=CANARIES, canary=canary)


CANARY_FIRST = present(release(1, CANARIES), app=CANARIES)


def test_a_canary_takes_its_steps_when_it_is_switched_to() -> None:
    world = world_after(CANARY_FIRST, tried(2, TIMED))
    assert world.shares == [] and live(world) == release(1, CANARIES).id
    switched(Driver(world))
    assert_waits(world, "switched", CANARIES)
    assert [weight for _, weight in world.shares] == [10, 50]
    finalized(Driver(world))
    assert assert_settled(world).previous == release(1, CANARIES)


def test_a_canary_that_waits_is_neither_switched_nor_final_until_it_is_promoted() -> None:
    world = world_after(CANARY_FIRST, tried(2, MANUAL), switched)
    was = copy.deepcopy(world)
    switched(Driver(world))
    assert world == was
    with pytest.raises(InputError, match="not every user meets it yet"):
        finalized(Driver(world))
    back = copy.deepcopy(world)
    aborted(Driver(back))
    assert assert_settled(back).live == release(1, CANARIES)
    promoted(Driver(world))
    assert assert_settled(world).live == release(2, CANARIES)


def test_who_promotes_finalizes_the_hosts_on_which_the_canary_did_not_wait() -> None:
    world = world_after(CANARY_FIRST, tried(2, TIMED), switched)
    operations = plan.plan_canary(current_of(Driver(world), loads("labs", world.state)), "promote", None)
    assert [operation.kind for operation in operations] == ["finalize"]


@pytest.mark.parametrize("canary", [TIMED, MANUAL], ids=["timed", "manual"])
def test_a_canary_that_is_prepared_goes_on_with_present(canary: Canary) -> None:
    world = world_after(CANARY_FIRST, tried(2, canary))
    present(release(2, CANARIES), app=CANARIES, canary=canary)(Driver(world))
    if canary is MANUAL:
        promoted(Driver(world))
    assert assert_settled(world).live == release(2, CANARIES)


def test_a_kill_in_the_steps_of_a_canary_is_made_good_by_the_same_command() -> None:
    start = world_after(CANARY_FIRST, tried(2, TIMED))
    for run in (switched, aborted):
        for step, world in killed_everywhere(start, switched):
            run(Driver(world))
            if run is switched:
                assert_waits(world, "switched", CANARIES)
            else:
                assert assert_settled(world).live == release(1, CANARIES), f"killed at step {step}"
