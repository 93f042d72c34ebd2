# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The phases of a rollout: journalled, in an order in which a kill at any point can be made good by the next run."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timezone

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import jobs, routing, selection
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import Canary
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.context import Context
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.driver import Driver
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.journal import Journal
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.recovery import Recovery
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.retirement import Retirement
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Hold, Route, State, Trial
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.switch import Switch
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.trial import Steps
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.undo import Undo


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Rollout:
    """Runs the phases of one app over a driver. The caller holds the app's lock."""

    def __init__(
        self,
        driver: Driver,
        journal: Journal,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        *,
        keep: int | None = None,
        keep_warm: int = 0,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param now: the calendar, which may be set back and forward at any time
        :param elapsed: seconds since some moment, whatever the calendar is set to
        :param keep: how many releases outlive a run, the live one included; None for as many as there are
        :param keep_warm: for how many seconds the release before runs on after the switch
        """
        self.driver = driver
        self.journal = journal
        self.context = context = Context(driver, journal, now, sleep, elapsed, keep, keep_warm)
        self.jobs = jobs.Jobs(context)
        self.steps = Steps(context)
        self._switch = Switch(context)
        self._undo = Undo(context, self.jobs)
        self._retirement = Retirement(context, self.jobs)
        self._recovery = Recovery(context, self.jobs, self._switch, self._undo, self._retirement)

    def recover(self) -> State:
        return self._recovery.run()

    def apply_base(self, base_hash: str | None, images: Mapping[str, str], references: Mapping[str, str]) -> State:
        """The services that are never swapped."""
        with self.journal.step("base"):
            self.driver.apply_base()
        state = self.driver.load()
        return self.context.save(replace(state, base_hash=base_hash, base_images=images, base_references=references))

    def fetch(self, references: Collection[str]) -> list[str]:
        with self.journal.step("fetch") as outcome:
            pulled = outcome["pulled"] = self.driver.fetch(references)
        return pulled

    def deploy(
        self,
        candidate: Release,
        route: Route,
        bake: Bake | None = None,
        canary: Canary | None = None,
        *,
        hold: bool = False,
    ) -> State:
        """A new release beside the live one, the steps of its canary, then the switch.

        :param hold: what follows its readiness waits for `switch`, and what follows the switch for `finalize`
        """
        held = Hold(self.context.keep, self.context.keep_warm) if hold else None
        state = replace(self.driver.load(), candidate=candidate, next_route=route, phase="start", bake=bake, hold=held)
        state = self.context.save(state)
        trial = None if canary is None else Trial(canary, keep=self.context.keep, keep_warm=self.context.keep_warm)
        with self._undo.on_failure(state, candidate):
            if candidate.jobs:
                state = self.jobs.before_start(state, candidate)
            with self.journal.step("start", release=candidate.id):
                self.driver.stage(candidate)
                self.driver.start(selection.beside(candidate, workers=False))
                # While they get ready; behind that, every moment counts in which users meet the old release.
                self.driver.rehearse(candidate, route)
                if trial is not None:
                    self.steps.rehearse(replace(state, trial=trial))
            self._ready(candidate)
            if trial is None and not hold:
                state = self._switch.run(state, candidate, route, self.driver.start)
            else:
                # What may have to wait is taken up again after a reboot.
                self.driver.keep(selection.beside(candidate, workers=False), True)
        if trial is not None:
            state = self.context.save(replace(state, phase="canary", trial=trial))
            return state if hold else self._try(state, candidate, route)
        return self.context.save(replace(state, phase="prepared")) if hold else self._deployed(state)

    def switch(self) -> State:
        """What was prepared serves, after the steps of its canary. The release before runs on beside it."""
        state, candidate, route = self._held()
        with self._undo.on_failure(state, candidate):
            # It was ready when it was prepared; that may have been long ago.
            self._ready(candidate)
            if state.trial is not None:
                state = self.steps.run(state)
                if state.trial is not None and state.trial.paused is not None:
                    return state
            return self._switch.run(state, candidate, route, self.driver.start)

    def finalize(self) -> State:
        """There is no way back to the release before without a start any more: it is drained and stopped."""
        state, candidate, route = self._held()
        if state.hold is not None:
            self.context.keep, self.context.keep_warm = state.hold.keep, state.hold.keep_warm
        return self._deployed(self._switch.met_by_all(replace(state, hold=None), candidate, route))

    def _held(self) -> tuple[State, Release, Route]:
        state = self.driver.load()
        if state.candidate is None or state.next_route is None:
            raise RolloutError(f"{state.app} has no release prepared. Prepare one first.")
        return state, state.candidate, state.next_route

    def go_on(self, *, promote: bool = False) -> State:
        """The canary goes on in the step in which its run was interrupted, or in the one after its pause (promote)."""
        state = self.driver.load()
        candidate, route = state.candidate, state.next_route
        if state.trial is None or candidate is None or route is None:
            raise RolloutError(f"{state.app} has no canary under way. Deploy a release with `canary` first.")
        self.context.keep, self.context.keep_warm = state.trial.keep, state.trial.keep_warm
        with self._undo.on_failure(state, candidate):
            self._ready(candidate)
            if promote:
                state = self.steps.promote(state)
        return self._try(state, candidate, route)

    def _try(self, state: State, candidate: Release, route: Route) -> State:
        with self._undo.on_failure(state, candidate):
            state = self.steps.run(state)
            if state.trial is not None and state.trial.paused is not None:
                return state
            # Whoever goes on without `switch` wants all of it.
            state = self._switch.run(replace(state, hold=None), candidate, route, self.driver.start)
        return self._deployed(state)

    def _deployed(self, state: State) -> State:
        state = self._retirement.finish(state)
        return self.jobs.contract(state) if jobs.contract_due(state) else state

    def abort(self) -> State:
        """The candidate is taken away, and the live release has all users again."""
        candidate = self.driver.load().candidate
        if candidate is None:
            raise RolloutError("there is no candidate to take away.")
        with self.journal.step("undo", release=candidate.id):
            return self._undo.run(self._undo.give_up(), candidate, "aborted")

    def roll_back(self, target: Release, route: Route) -> State:
        """The previous release is started again, checked like a new one, and switched to."""
        state = self.context.save(replace(self.driver.load(), candidate=target, next_route=route, phase="start"))
        with self._undo.on_failure(state, target):
            with self.journal.step("start", release=target.id):
                self.driver.cancel_stop(target)
                self.driver.resume(selection.beside(target, workers=False))
                self.driver.rehearse(target, route)
            self._ready(target)
            state = self._switch.run(state, target, route, self.driver.resume)
        return self._retirement.finish(state)

    def prune(self) -> State:
        """Remove the releases that are kept no more, and what a release left that is not known."""
        state = self.driver.load()
        return self._retirement.prune(self.context.save(replace(state, keep=self.context.keeping(state))))

    def orphans(self, state: State) -> list[str]:
        return self._retirement.orphans(state)

    def reroute(self, route: Route) -> State:
        """The live release stays, the gateway learns other domains, routes or limits."""
        state = self.driver.load()
        if state.live is None:
            raise RolloutError(f"{state.app} has no live release whose routes could change. Deploy it first.")
        live = routing.with_limits(state.live, route)
        with self.journal.step("shift", release=live.id):
            generation = self.driver.shift(live, route)
        with self.journal.step("fence", generation=generation):
            self.driver.fence(generation)
        return self.context.save(replace(state, route=route, live=live))

    def remove(self) -> None:
        self._retirement.remove()

    def _ready(self, candidate: Release) -> None:
        with self.journal.step("ready", release=candidate.id):
            self.driver.ready(selection.beside(candidate, workers=False))

    def note_times(self) -> None:
        """Called when the run is over, however it ended: what it took belongs to what it did."""
        state = self.driver.load()
        noted = state.with_times(self.journal.run, self.journal.progress.elapsed, self.journal.timings)
        if noted != state:
            self.context.save(noted)
