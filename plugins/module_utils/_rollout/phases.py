# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The phases of a rollout: journalled, in an order in which a kill at any point can be made good by the next run.

Truth is looked for where it cannot be wrong: first the gateway's file and answer, then the containers, then state.json.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import (
    describe,
    jobs,
    lifecycle,
    routing,
    selection,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import Canary
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.driver import Driver
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import release_of, releases_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.journal import Journal
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import CONTRACT, Release, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.rolling import Rolling, check_ports
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.room import explain
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import (
    Hold,
    Route,
    State,
    Trial,
    told,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.trial import CanaryAborted, Steps
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.watch import watch


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
        self.now = now
        self.sleep = sleep
        self.elapsed = elapsed
        self.keep = keep
        self.keep_warm = keep_warm
        self.drained: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.jobs = jobs.Jobs(driver, journal, self.warnings)
        self.steps = Steps(driver, journal, now, sleep, elapsed, self._save)

    def _at(self) -> str:
        return self.now().isoformat(timespec="seconds")

    # What an interrupted run left

    def recover(self) -> State:
        """Finish the run that was interrupted where traffic has moved, undo it where it has not."""
        state = self.driver.load()
        if state.trial is not None:
            # Whether it is still wanted is for the caller to say.
            return state
        if state.candidate is not None and not lifecycle.held(state):
            with self.journal.step("recover", release=state.candidate.id) as outcome:
                state = self._settle(state, state.candidate, outcome)
        if lifecycle.held(state):
            return state
        if state.phase == "remove":
            if not self._serves(state.live):
                self.remove()
                return State(state.app)
            # A removal that has not reached the traffic is given up: what serves is replaced, not torn down first.
            with self.journal.step("recover", release=state.live.id if state.live else None) as outcome:
                outcome["outcome"] = "removal given up"
        return self._finish(state) if state.phase != "idle" else self.jobs.collect(state)

    def _serves(self, release: Release | None) -> bool:
        """Whether the gateway names the release, in its file or in what it has loaded."""
        return release is not None and release.id in self._named()

    def _named(self) -> frozenset[str]:
        return releases_of(self.driver.written_generation()) | releases_of(self.driver.loaded_generation())

    def _settle(self, state: State, candidate: Release, outcome: dict[str, Any]) -> State:
        if state.phase == "undo":
            outcome["outcome"] = "undone"
            return self._undo(state, candidate, "failed")
        route = state.next_route
        if release_of(self.driver.written_generation()) == candidate.id and route is not None:
            try:
                # It was ready when the file was written; a reboot since then may have changed that.
                self.driver.keep(candidate, True)
                self.driver.ready(candidate)
                self.driver.fence(self.driver.shift(candidate, route))
                state = self._bake(state, candidate)
            except RolloutError as error:
                outcome["why"] = str(error)
                if state.bake is not None:
                    self.warnings.append(f"The release {candidate.id} of the run before was taken away: {error}")
                    outcome["outcome"] = "undone"
                    return self._undo(self._save(replace(state, phase="undo")), candidate, "failed", str(error))
            else:
                outcome["outcome"] = "finished" if state.hold is None else "switched"
                return self._met_by_all(state, candidate, route)
        outcome["outcome"] = "undone"
        return self._undo(self.jobs.adopt(state, candidate), candidate, "interrupted")

    # Verbs

    def apply_base(self, base_hash: str | None, images: Mapping[str, str], references: Mapping[str, str]) -> State:
        """The services that are never swapped."""
        with self.journal.step("base"):
            self.driver.apply_base()
        state = self.driver.load()
        return self._save(replace(state, base_hash=base_hash, base_images=images, base_references=references))

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
        held = Hold(self.keep, self.keep_warm) if hold else None
        state = replace(self.driver.load(), candidate=candidate, next_route=route, phase="start", bake=bake, hold=held)
        state = self._save(state)
        with self._undoing(state, candidate):
            if candidate.jobs:
                state = self.jobs.before_start(state, candidate)
            with self.journal.step("start", release=candidate.id):
                self.driver.stage(candidate)
                self.driver.start(selection.beside(candidate, workers=False))
                # While they get ready; behind that, every moment counts in which users meet the old release.
                self.driver.rehearse(candidate, route)
            self._ready(candidate)
            if canary is None and not hold:
                state = self._switch(state, candidate, route, self.driver.start)
            else:
                # What may have to wait is taken up again after a reboot.
                self.driver.keep(selection.beside(candidate, workers=False), True)
        if canary is not None:
            trial = Trial(canary, keep=self.keep, keep_warm=self.keep_warm)
            state = self._save(replace(state, phase="canary", trial=trial))
            return state if hold else self._try(state, candidate, route)
        return self._save(replace(state, phase="prepared")) if hold else self._deployed(state)

    def switch(self) -> State:
        """What was prepared serves, after the steps of its canary. The release before runs on beside it."""
        state, candidate, route = self._held()
        with self._undoing(state, candidate):
            # It was ready when it was prepared; that may have been long ago.
            self._ready(candidate)
            if state.trial is not None:
                state = self.steps.run(state)
                if state.trial is not None and state.trial.paused is not None:
                    return state
            return self._switch(state, candidate, route, self.driver.start)

    def finalize(self) -> State:
        """There is no way back to the release before without a start any more: it is drained and stopped."""
        state, candidate, route = self._held()
        if state.hold is not None:
            self.keep, self.keep_warm = state.hold.keep, state.hold.keep_warm
        return self._deployed(self._met_by_all(replace(state, hold=None), candidate, route))

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
        self.keep, self.keep_warm = state.trial.keep, state.trial.keep_warm
        with self._undoing(state, candidate):
            self._ready(candidate)
            if promote:
                state = self.steps.promote(state)
        return self._try(state, candidate, route)

    def _try(self, state: State, candidate: Release, route: Route) -> State:
        with self._undoing(state, candidate):
            state = self.steps.run(state)
            if state.trial is not None and state.trial.paused is not None:
                return state
            # Whoever goes on without `switch` wants all of it.
            state = self._switch(replace(state, hold=None), candidate, route, self.driver.start)
        return self._deployed(state)

    def _deployed(self, state: State) -> State:
        state = self._finish(state)
        return self.jobs.contract(state) if jobs.contract_due(state) else state

    def abort(self) -> State:
        """The candidate is taken away, and the live release has all users again."""
        candidate = self.driver.load().candidate
        if candidate is None:
            raise RolloutError("there is no candidate to take away.")
        with self.journal.step("undo", release=candidate.id):
            return self._undo(self._given_up(), candidate, "aborted")

    def roll_back(self, target: Release, route: Route) -> State:
        """The previous release is started again, checked like a new one, and switched to."""
        state = self._save(replace(self.driver.load(), candidate=target, next_route=route, phase="start"))
        with self._undoing(state, target):
            with self.journal.step("start", release=target.id):
                self.driver.cancel_stop(target)
                self.driver.resume(selection.beside(target, workers=False))
                self.driver.rehearse(target, route)
            self._ready(target)
            state = self._switch(state, target, route, self.driver.resume)
        return self._finish(state)

    def prune(self) -> State:
        """Remove the releases that are kept no more, and what a release left that is not known."""
        state = self.driver.load()
        return self._prune(self._save(replace(state, keep=state.keep if self.keep is None else self.keep)))

    def orphans(self, state: State) -> list[str]:
        """Releases that have containers or files and are not kept."""
        keep = {release.id for release in (*state.kept, state.candidate) if release is not None}
        # What the gateway names is never removed, whatever the state says.
        return sorted((set(self.driver.inventory()) | set(self.driver.release_files())) - keep - self._named())

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
        return self._save(replace(state, route=route, live=live))

    def remove(self) -> None:
        """Everything of the app except its volumes."""
        state = self.driver.load()
        known = state.live is not None or self.driver.written_generation() is not None
        if known:
            # Before anything is remembered: a removal that cannot begin must leave no trace.
            self.driver.check_gateway()
        state = self._save(replace(state, phase="remove", trial=None, hold=None))
        if known:
            with self.journal.step("shift"):
                self.driver.forget()
            with self.journal.step("fence"):
                self.driver.fence(None)
        observed = self.driver.inventory()
        # A run that was interrupted may have left more than one that requests are still on their way to.
        for release in (state.live, state.candidate, state.previous):
            if release is not None and release.id in observed and observed[release.id].running:
                self._drain(release)
                with self.journal.step("stop", release=release.id):
                    self.driver.keep(release, False)
                    self.driver.stop(release)
        # Nothing is kept for a rollback any more, so their images go as well.
        self._save(replace(state, live=None, previous=None, older=(), candidate=None, next_route=None))
        with self.journal.step("prune"):
            for name in sorted(set(self.driver.inventory()) | set(self.driver.release_files())):
                self.driver.remove(name)
            self.driver.remove_base()
        self.driver.erase()

    # Steps

    def _ready(self, candidate: Release) -> None:
        with self.journal.step("ready", release=candidate.id):
            self.driver.ready(selection.beside(candidate, workers=False))

    def _switch(self, state: State, candidate: Release, route: Route, start: Callable[[Release], None]) -> State:
        # A worker takes work as soon as it runs: not before the rest of its release is known to be good.
        workers = selection.beside(candidate, workers=True)
        if workers.services:
            with self.journal.step("workers", release=candidate.id):
                start(workers)
                self.driver.ready(workers)
        if selection.in_place(candidate).services:
            state = self._save(replace(state, phase="swap"))
            self._swap(state, selection.in_place(candidate), start)
        if selection.rolling(candidate).services:
            state = self._roll(state, selection.rolling(candidate), start)
        # Before the gateway names it: after a reboot, what the gateway names has to come back.
        self.driver.keep(candidate, True)
        state = self._save(replace(state, phase="shift"))
        with self.journal.step("shift", release=candidate.id) as outcome:
            generation = outcome["generation"] = self.driver.shift(candidate, route)
        with self.journal.step("fence", generation=generation):
            self.driver.fence(generation)
        return self._met_by_all(self._bake(state, candidate), candidate, route)

    def _met_by_all(self, state: State, candidate: Release, route: Route) -> State:
        if state.hold is not None:
            return self._save(replace(state, phase="switched", trial=None))
        rollback = candidate in state.stopped
        return self._save(
            lifecycle.promoted(
                state, candidate, route, rollback=rollback, at=self._at(), run=self.journal.run, keep=self.keep
            )
        )

    def _bake(self, state: State, candidate: Release) -> State:
        """Watch the candidate while the old release still runs."""
        if state.bake is None:
            return state
        # An interrupted run is gone on with for the time that is left.
        bake = state.bake if state.bake.since else replace(state.bake, since=self.now().isoformat())
        state = self._save(replace(state, bake=bake))
        with self.journal.step("bake", release=candidate.id) as outcome:
            tell = self.journal.progress.waits
            clocks = (self.now, self.sleep, self.elapsed)
            outcome["answered"] = watch(self.driver, state.live, candidate, bake, *clocks, tell)
        return state

    def _swap(self, state: State, part: Release, start: Callable[[Release], None]) -> None:
        """The old ones end before the new ones start."""
        with self.journal.step("swap", release=part.id, services=sorted(part.services)):
            if state.live is not None:
                old = state.live.only(part.services)
                self.driver.keep(old, False)
                self.driver.stop(old)
            start(part)
            self.driver.ready(part)

    def _roll(self, state: State, part: Release, start: Callable[[Release], None]) -> State:
        """The old ones are replaced by the new ones a few at a time, before the eyes of the gateway."""
        live, route = state.live, state.route
        if live is None or route is None:
            with self.journal.step("roll", release=part.id):
                start(part)
                self.driver.ready(part)
            return state
        check_ports(live, part)
        state = self._save(replace(state, phase="roll"))
        Rolling(self.driver, self.journal).run(live, route, part, start)
        return state

    def _swap_back(self, state: State, candidate: Release) -> None:
        """What ended for the candidate runs again, and never beside it."""
        part, rolled = selection.in_place(candidate), selection.rolling(candidate)
        old = state.live.only({**part.services, **rolled.services}) if state.live is not None else None
        if old is None or not old.services:
            return
        # Those that are replaced one by one may run beside each other.
        self.driver.keep(part, False)
        self.driver.stop(part)
        try:
            self.driver.finish_stop(old)
            self.driver.resume(old)
            self.driver.ready(old)
            self.driver.keep(old, True)
        except RolloutError as error:
            # The candidate has to go all the same. The next run finds that the live release is ill, and replaces it.
            self.warnings.append(f"{', '.join(sorted(old.services))} of {old.id} could not be started again: {error}")

    def _finish(self, state: State) -> State:
        """Behind the switch nothing fails the run any more: the new release serves."""
        observed = self.driver.inventory()
        previous = state.previous
        if previous is not None and previous.id in observed:
            running = observed[previous.id].running
            if running:
                self._drain(previous)
            with self.journal.step("stop", release=previous.id):
                # Also where it is down: a reboot would bring it back.
                self.driver.keep(previous, False)
                if running:
                    self._stop(state, previous)
        for release in state.older:
            if release.id in observed and observed[release.id].running:
                self.driver.stop(release)
        state = self._prune(self.jobs.collect(state))
        return self._save(replace(state, phase="idle"))

    def _stop(self, state: State, previous: Release) -> None:
        """At once, or later where a rollback is to find it running."""
        if not self.keep_warm or (state.live is not None and CONTRACT in state.live.jobs):
            self.driver.stop(previous)
            return
        # A worker would go on taking work.
        self.driver.stop(selection.workers(previous))
        try:
            self.driver.stop_later(selection.served_part(previous), self.keep_warm)
        except RolloutError as error:
            self.warnings.append(f"{previous.id} was stopped at once instead of in {self.keep_warm} s: {error}")
            self.driver.stop(previous)

    def _drain(self, release: Release) -> None:
        with self.journal.step("drain", release=release.id) as outcome:
            self.drained = dict(self.driver.drain(release))
            outcome["drained"] = self.drained

    def _prune(self, state: State) -> State:
        surplus = lifecycle.surplus(state, state.keep if self.keep is None else self.keep)
        if surplus:
            # Before they go: nobody can return to them from here on.
            state = self._save(replace(state, older=tuple(each for each in state.older if each not in surplus)))
        orphans = self.orphans(state)
        if orphans:
            with self.journal.step("prune", releases=orphans):
                for release in orphans:
                    self.driver.remove(release)
        return state

    @contextlib.contextmanager
    def _undoing(self, state: State, candidate: Release) -> Any:
        try:
            yield
        # A file that cannot be written says as much as a verb that fails.
        except (RolloutError, OSError) as error:
            point = self.driver.load().progress_of(candidate).point
            try:
                with self.journal.step("undo", release=candidate.id):
                    event = "aborted" if isinstance(error, CanaryAborted) else "failed"
                    self._undo(self._given_up(), candidate, event, str(error))
            except (RolloutError, OSError) as second:
                raise RolloutError(
                    f"{explain(error)}\nTaking the candidate {candidate.id} away failed as well: {explain(second)} The "
                    "next run does it."
                ) from error
            live = f"{state.live.id} keeps serving" if state.live else "there was no live release before"
            before = [f"The data before its migration: {point.restore}"] if point else []
            lines = (explain(error), f"The candidate {candidate.id} was taken away; {live}.", *before, *self.warnings)
            raise RolloutError("\n".join(lines)) from error

    def _given_up(self) -> State:
        """From here on there is nothing to do with the candidate but to undo it, whoever does it."""
        state = replace(self.driver.load(), phase="undo", trial=None)
        # On a full disk too: it is for a run after a kill, which without it tells by the gateway's file what to do.
        with contextlib.suppress(OSError):
            self._save(state)
        return state

    def _undo(self, state: State, candidate: Release, event: str, why: str = "") -> State:
        """Old release live, candidate gone."""
        self._swap_back(state, candidate)
        # A replacement one by one puts containers of the candidate behind the name of the live release.
        if self._serves(candidate) or selection.rolling(candidate).services:
            self.driver.put_back(state.live, state.route)
        # Also where the gateway does not name it: the run that was interrupted may have come so far.
        self.driver.drain(candidate)
        self.driver.keep(candidate, False)
        # A worker may be at its work, and a stream still open.
        self.driver.stop(candidate)
        migration = None
        if candidate.jobs and event != "interrupted":
            state = self.jobs.migrate_back(state, candidate)
            migration = state.migration_of(candidate)
            # Saved before the files of the candidate go: without them nothing more can be asked of it.
            state = self._save(state.without_progress(candidate))
        if candidate not in state.stopped:
            self.driver.remove(candidate.id)
        new = replace(state, candidate=None, next_route=None, bake=None, hold=None, phase="idle")
        more = {"run": self.journal.run, "strategy": selection.strategy_of(candidate)}
        if why:
            more["why"] = self.journal.redact(describe.headline(why))
        return self._save(new.with_event(event, candidate.id, self._at(), **more, **told(migration)))

    def note_times(self) -> None:
        """Called when the run is over, however it ended: what it took belongs to what it did."""
        state = self.driver.load()
        noted = state.with_times(self.journal.run, self.journal.progress.elapsed, self.journal.timings)
        if noted != state:
            self._save(noted)

    def _save(self, state: State) -> State:
        self.driver.save(state)
        return state
