# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module does with each `state`, on a host in memory, and what is true of that when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import lifecycle, plan, routing
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Analysis
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import Canary, Step
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import generation, release_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.jobs import contract_due
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.journal import Journal
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, Release
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.phases import Rollout
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State, loads

from tests.unit.plugins.module_utils.rollout.apps import WORKERS
from tests.unit.plugins.module_utils.rollout.simulation import NETWORK, Driver, World

ROUTE = routing.route_of(WORKERS)
Run = Callable[[Driver], State]
TIMED = Canary((Step(10, 20), Step(50, 10)), analysis=Analysis(min_requests=50))
MANUAL = replace(TIMED, steps=(Step(10, None), Step(50, 10)))


def rollout_of(driver: Driver, keep: int | None = None) -> Rollout:
    return Rollout(driver, Journal(None), driver.now, driver.sleep, keep=keep, elapsed=driver.elapsed)


def current_of(driver: Driver, state: State) -> plan.Current:
    return plan.Current(state, driver.inventory(), driver.written_generation(), driver.loaded_generation())


def present(candidate: Release, keep: int = 2, bake: Bake | None = None, keep_warm: int = 0) -> Run:
    """What the module does with `state: present`: settle the past, then deploy when the content differs."""

    def run(driver: Driver) -> State:
        rollout = Rollout(
            *(driver, Journal(None), driver.now, driver.sleep),
            keep=keep,
            keep_warm=keep_warm,
            elapsed=driver.elapsed,
        )
        state = rollout.recover()
        if lifecycle.surplus(state, keep) or rollout.orphans(state):
            state = rollout.prune()
        same = state.live is not None and state.live.hash == candidate.hash
        if same and lifecycle.serving(state.live, driver.inventory()):
            return rollout.jobs.contract(state) if contract_due(state) else state
        return rollout.deploy(candidate, ROUTE, bake)

    return run


def rolled_back(driver: Driver, wanted: str | None = None) -> State:
    rollout = Rollout(driver, Journal(None))
    current = plan.Current(rollout.recover(), driver.inventory(), None, None)
    _, target = plan.plan_rollback(current, wanted)
    return current.state if target is None else rollout.roll_back(target, ROUTE)


def rolled_back_to(wanted: Release) -> Run:
    return lambda driver: rolled_back(driver, wanted.id)


def absent(driver: Driver) -> State:
    Rollout(driver, Journal(None)).remove()
    return State("labs")


def planned(
    candidate: Release, app: App, *, hold: bool = False, canary: Canary | None = None, bake: Bake | None = None
) -> Run:
    """What the module does with `state: present` and, on `hold`, with `state: prepared`: what its plan says."""

    def run(driver: Driver) -> State:
        rollout = rollout_of(driver, keep=2)
        state = rollout.recover()
        current = current_of(driver, state)
        desired = plan.Desired(app, candidate.hash, None, {}, {}, canary)
        kinds = {operation.kind for operation in plan.plan_present(current, desired, hold=hold)}
        if "abort" in kinds:
            state = rollout.abort()
        if "release" in kinds:
            trial = plan.canary_for(current, desired)
            return rollout.deploy(candidate, routing.route_of(app), bake, trial, hold=hold)
        if "canary" in kinds:
            state = rollout.go_on()
        elif "route" in kinds:
            state = rollout.reroute(routing.route_of(app))
        if "switch" in kinds:
            state = rollout.switch()
        return rollout.finalize() if "finalize" in kinds else state

    return run


def judged(verb: str) -> Run:
    """What the module does with `state: promoted` and `state: aborted`."""

    def run(driver: Driver) -> State:
        rollout = rollout_of(driver)
        state = rollout.recover()
        kinds = {operation.kind for operation in plan.plan_canary(current_of(driver, state), verb, None)}
        if "abort" in kinds:
            return rollout.abort()
        if "contract" in kinds:
            return rollout.jobs.contract(state)
        return rollout.go_on(promote="promote" in kinds) if kinds & {"promote", "canary"} else state

    return run


def held(verb: str, wanted: str | None = None) -> Run:
    """What the module does with `state: switched` and `state: finalized`."""

    def run(driver: Driver) -> State:
        rollout = rollout_of(driver)
        before = driver.load()
        state = rollout.recover()
        kinds = {operation.kind for operation in plan.plan_held(current_of(driver, state), verb, wanted, before)}
        if "contract" in kinds:
            return rollout.jobs.contract(state)
        if "finalize" in kinds:
            return rollout.finalize()
        return rollout.switch() if kinds & {"switch", "canary"} else state

    return run


promoted, aborted = judged("promote"), judged("abort")
switched, finalized = held("switched"), held("finalized")


def world_after(*runs: Run) -> World:
    world = World()
    world.state = State("labs", network=NETWORK).dumps()
    for run in runs:
        run(Driver(world))
    assert world.broken == []
    return world


def live(world: World) -> str | None:
    return release_of(generation(world.loaded))


def assert_settled(world: World) -> State:
    """I1-I8 once a run has ended: one release live, the others it knows stopped, nothing left over."""
    state = loads("labs", world.state)
    kept = {entry.id for entry in state.kept}
    assert world.broken == []
    assert state.phase == "idle" and state.candidate is None and state.next_route is None
    assert {name for name, _ in world.containers} == kept == world.files
    assert world.jobs == {}
    assert state.live is None or live(world) == state.live.id == release_of(generation(world.written))
    for (name, _), container in world.containers.items():
        is_live = state.live is not None and name == state.live.id
        assert container.running == is_live, name
        assert container.restart == ("unless-stopped" if is_live else "no"), name
    return state


def assert_gone(world: World, when: object = None) -> None:
    """Nothing of the app is left."""
    assert (world.state, world.containers, world.files, world.loaded) == (None, {}, set(), None), when
    assert world.broken == []
