# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The way back from a candidate: the release before serves, and nothing of the candidate is left."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import describe, selection
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.context import Context
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.jobs import Jobs
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.room import explain
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State, told
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.trial import CanaryAborted


class Undo:
    """May be begun anew at any point of itself."""

    def __init__(self, context: Context, jobs: Jobs) -> None:
        self.context = context
        self.driver, self.journal = context.driver, context.journal
        self.jobs = jobs

    @contextlib.contextmanager
    def on_failure(self, state: State, candidate: Release) -> Any:
        try:
            yield
        # A file that cannot be written says as much as a verb that fails.
        except (RolloutError, OSError) as error:
            point = self.driver.load().progress_of(candidate).point
            try:
                with self.journal.step("undo", release=candidate.id):
                    event = "aborted" if isinstance(error, CanaryAborted) else "failed"
                    self.run(self.give_up(), candidate, event, str(error))
            except (RolloutError, OSError) as second:
                raise RolloutError(
                    f"{explain(error)}\nTaking the candidate {candidate.id} away failed as well: {explain(second)} The "
                    "next run does it."
                ) from error
            live = f"{state.live.id} keeps serving" if state.live else "there was no live release before"
            before = [f"The data before its migration: {point.restore}"] if point else []
            end = f"The candidate {candidate.id} was taken away; {live}."
            raise RolloutError("\n".join((explain(error), end, *before, *self.context.warnings))) from error

    def give_up(self) -> State:
        """From here on there is nothing to do with the candidate but to undo it, whoever does it."""
        state = replace(self.driver.load(), phase="undo", trial=None)
        # On a full disk too: it is for a run after a kill, which without it tells by the gateway's file what to do.
        with contextlib.suppress(OSError):
            self.context.save(state)
        return state

    def run(self, state: State, candidate: Release, event: str, why: str = "") -> State:
        """Old release live, candidate gone."""
        self._swap_back(state, candidate)
        # A replacement one by one puts containers of the candidate behind the name of the live release.
        if self.context.serves(candidate) or selection.rolling(candidate).services:
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
            state = self.context.save(state.without_progress(candidate))
        if candidate not in state.stopped:
            self.driver.remove(candidate.id)
        new = replace(state, candidate=None, next_route=None, bake=None, hold=None, phase="idle")
        more = {"run": self.journal.run, "strategy": selection.strategy_of(candidate)}
        if why:
            more["why"] = self.journal.redact(describe.headline(why))
        return self.context.save(new.with_event(event, candidate.id, self.context.at(), **more, **told(migration)))

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
            names = ", ".join(sorted(old.services))
            self.context.warnings.append(f"{names} of {old.id} could not be started again: {error}")
