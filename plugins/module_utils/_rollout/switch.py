# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The switch: every fresh request meets the candidate, and whatever cannot run twice is exchanged for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import lifecycle, selection
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.context import Context
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.rolling import Rolling, check_ports
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Route, State
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.watch import watch


class Switch:
    """From the live release to a candidate that is ready. Nothing of the live one is lost but what runs in place."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.driver, self.journal = context.driver, context.journal

    def run(self, state: State, candidate: Release, route: Route, start: Callable[[Release], None]) -> State:
        # A worker takes work as soon as it runs: not before the rest of its release is known to be good.
        workers = selection.beside(candidate, workers=True)
        if workers.services:
            with self.journal.step("workers", release=candidate.id):
                start(workers)
                self.driver.ready(workers)
        if selection.in_place(candidate).services:
            state = self.context.save(replace(state, phase="swap"))
            self._swap(state, selection.in_place(candidate), start)
        if selection.rolling(candidate).services:
            state = self._roll(state, selection.rolling(candidate), start)
        # Before the gateway names it: after a reboot, what the gateway names has to come back.
        self.driver.keep(candidate, True)
        state = self.context.save(replace(state, phase="shift"))
        with self.journal.step("shift", release=candidate.id) as outcome:
            generation = outcome["generation"] = self.driver.shift(candidate, route)
        with self.journal.step("fence", generation=generation):
            self.driver.fence(generation)
        return self.met_by_all(self.bake(state, candidate), candidate, route)

    def met_by_all(self, state: State, candidate: Release, route: Route) -> State:
        if state.hold is not None:
            return self.context.save(replace(state, phase="switched", trial=None))
        rollback, keep = candidate in state.stopped, self.context.keep
        return self.context.save(
            lifecycle.promoted(
                state, candidate, route, rollback=rollback, at=self.context.at(), run=self.journal.run, keep=keep
            )
        )

    def bake(self, state: State, candidate: Release) -> State:
        """Watch the candidate while the old release still runs."""
        if state.bake is None:
            return state
        # An interrupted run is gone on with for the time that is left.
        bake = state.bake if state.bake.since else replace(state.bake, since=self.context.now().isoformat())
        state = self.context.save(replace(state, bake=bake))
        with self.journal.step("bake", release=candidate.id) as outcome:
            tell = self.journal.progress.waits
            clocks = (self.context.now, self.context.sleep, self.context.elapsed)
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
        state = self.context.save(replace(state, phase="roll"))
        Rolling(self.driver, self.journal).run(live, route, part, start)
        return state
