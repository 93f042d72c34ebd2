# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What an interrupted run left is finished or undone.

Truth is looked for where it cannot be wrong: first the gateway's file and answer, then the containers, then state.json.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import lifecycle
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.context import Context
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import release_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.jobs import Jobs
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.retirement import Retirement
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.switch import Switch
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.undo import Undo


class Recovery:
    """Begins every run."""

    def __init__(self, context: Context, jobs: Jobs, switch: Switch, undo: Undo, retirement: Retirement) -> None:
        self.context = context
        self.driver, self.journal = context.driver, context.journal
        self.jobs = jobs
        self.switch = switch
        self.undo = undo
        self.retirement = retirement

    def run(self) -> State:
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
            if not self.context.serves(state.live):
                self.retirement.remove()
                return State(state.app)
            # A removal that has not reached the traffic is given up: what serves is replaced, not torn down first.
            with self.journal.step("recover", release=state.live.id if state.live else None) as outcome:
                outcome["outcome"] = "removal given up"
        return self.retirement.finish(state) if state.phase != "idle" else self.jobs.collect(state)

    def _settle(self, state: State, candidate: Release, outcome: dict[str, Any]) -> State:
        if state.phase == "undo":
            outcome["outcome"] = "undone"
            return self.undo.run(state, candidate, "failed")
        route = state.next_route
        if release_of(self.driver.written_generation()) == candidate.id and route is not None:
            try:
                # It was ready when the file was written; a reboot since then may have changed that.
                self.driver.keep(candidate, True)
                self.driver.ready(candidate)
                self.driver.fence(self.driver.shift(candidate, route))
                state = self.switch.bake(state, candidate)
            except RolloutError as error:
                outcome["why"] = str(error)
                if state.bake is not None:
                    self.context.warnings.append(
                        f"The release {candidate.id} of the run before was taken away: {error}"
                    )
                    outcome["outcome"] = "undone"
                    state = self.context.save(replace(state, phase="undo"))
                    return self.undo.run(state, candidate, "failed", str(error))
            else:
                outcome["outcome"] = "finished" if state.hold is None else "switched"
                return self.switch.met_by_all(state, candidate, route)
        outcome["outcome"] = "undone"
        return self.undo.run(self.jobs.adopt(state, candidate), candidate, "interrupted")
