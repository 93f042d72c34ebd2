# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What is done once for a release: the jobs of services, and the migration of a schema."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.context import Context
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    CONTRACT,
    MIGRATE,
    MIGRATE_BACK,
    SCHEMA,
    Release,
    RolloutError,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State


def contract_due(state: State) -> bool:
    """Whether the live release has something to take away from the schema that it grew."""
    if state.live is None or CONTRACT not in state.live.jobs:
        return False
    done = state.progress_of(state.live).done
    return MIGRATE in done and CONTRACT not in done


class Jobs:
    """The one-shots of releases. A container that ended well, and the line in the state, say what is done."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.driver, self.journal = context.driver, context.journal

    def _once(self, state: State, release: Release, name: str, version: str = "") -> State:
        """Run a one-shot, unless it has ended well for this content before."""
        if name not in release.jobs or name in state.progress_of(release).done:
            return state
        with self.journal.step("job", release=release.id, job=name):
            self.driver.run(release, name, version)
        return self.context.save(state.with_done(release, name))

    def before_start(self, state: State, candidate: Release) -> State:
        """The schema grows first, then the jobs of the services run."""
        with self.journal.step("stage", release=candidate.id):
            self.driver.stage(candidate)
        if MIGRATE in candidate.jobs:
            state = self._point(state, candidate)
            progress = state.progress_of(candidate)
            # Where an interrupted migration began is known from the first time.
            if MIGRATE not in progress.done and progress.schema_before is None:
                before = self._schema(candidate, fresh=state.schema is None)
                state = self.context.save(state.with_progress(candidate, schema_before=before))
            state = self._once(state, candidate, MIGRATE)
            state = self.context.save(replace(state, schema=self._schema(candidate)))
        for name in sorted(set(candidate.jobs) - {MIGRATE, MIGRATE_BACK, CONTRACT, SCHEMA}):
            state = self._once(state, candidate, name)
        return state

    def _point(self, state: State, candidate: Release) -> State:
        """A way back to the data as they are now, made once, before anything asks or changes the schema."""
        progress = state.progress_of(candidate)
        wanted = candidate.jobs[MIGRATE].recovery_point and MIGRATE not in progress.done
        if not wanted or progress.point is not None:
            return state
        with self.journal.step("point", release=candidate.id) as outcome:
            point = self.driver.make_point(candidate)
            outcome.update(point=point.id, bytes=point.bytes)
        return self.context.save(state.with_progress(candidate, point=point))

    def _schema(self, release: Release, *, fresh: bool = False) -> str | None:
        """The version that the schema has, as the release itself tells; one that is `fresh` may not know any."""
        if SCHEMA not in release.jobs:
            return None
        self.driver.discard(release, [SCHEMA])
        try:
            with self.journal.step("job", release=release.id, job=SCHEMA) as outcome:
                version = outcome["schema"] = self.driver.run(release, SCHEMA)
        except RolloutError:
            if not fresh:
                raise
            return ""
        return version

    def migrate_back(self, state: State, candidate: Release) -> State:
        """Undo the migration of a release that failed and has been stopped, where it changed anything."""
        progress = state.progress_of(candidate)
        ended_well = MIGRATE in progress.done
        # One that failed may have come some way, which only the version of the schema tells.
        known = SCHEMA in candidate.jobs and progress.schema_before is not None
        if MIGRATE_BACK not in candidate.jobs or not (ended_well or known):
            return state
        try:
            # Where no version could be told before either, none is told now: there is nothing to go back to.
            fresh = not ended_well and not progress.schema_before
            if SCHEMA in candidate.jobs and self._schema(candidate, fresh=fresh) == progress.schema_before:
                return state
            state = self._adopt(state, candidate, {MIGRATE_BACK})
            state = self._once(state, candidate, MIGRATE_BACK, progress.schema_before or "")
            return self.context.save(replace(state, schema=self._schema(candidate, fresh=True)))
        except RolloutError as error:
            # The candidate has to go all the same.
            self.context.warnings.append(f"The migration of {candidate.id} could not be undone: {error}")
            return state

    def adopt(self, state: State, candidate: Release) -> State:
        """What the one-shots of an interrupted run did is not done again: they ran on when that run was gone."""
        return self._adopt(state, candidate, set(candidate.jobs) - {SCHEMA, MIGRATE_BACK, CONTRACT})

    def _adopt(self, state: State, release: Release, names: set[str]) -> State:
        begun = names & set(self.driver.begun(release))
        for name in sorted(begun - set(state.progress_of(release).done)):
            # One that failed, or ended with the host, is run again by whoever needs it.
            with contextlib.suppress(RolloutError):
                state = self._once(state, release, name)
        if begun:
            self.driver.discard(release, begun)
        return state

    def contract(self, state: State) -> State:
        """Take away from the schema what only the releases before the live one needed."""
        live = state.live
        if live is None:
            return state
        # Before it begins: nobody knows what it has done where it fails.
        state = self.context.save(replace(state, contracted=live.id))
        try:
            state = self._once(state, live, CONTRACT)
        except RolloutError as error:
            self.driver.discard(live, [CONTRACT])
            raise RolloutError(f"{error}\nThe release {live.id} serves. The next run tries this again.") from error
        self.driver.discard(live, [CONTRACT])
        return state

    def collect(self, state: State) -> State:
        """Remove the containers of one-shots of the live release, once what they did is known."""
        live = state.live
        if live is not None and live.jobs:
            state = self._adopt(state, live, {CONTRACT})
            left = self.driver.begun(live)
            if left:
                self.driver.discard(live, left)
        return state
