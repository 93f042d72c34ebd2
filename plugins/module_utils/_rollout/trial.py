# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The steps of a canary: share out the users, look at what both releases answer, then go on, wait, or give up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import canary as analysis
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import selection
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Pool, Verdict
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import Canary, Step
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.context import Context
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.progress import Waiting
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.split import split_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Route, State, Trial
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.watch import Complaints, explain

UNSEEN = (
    "No request of a user was seen at all: where there were some, the gateway is older than this collection; run role "
    "daffathan.platform.gateway"
)
# Seconds between looks at the containers where no requests are analysed.
LOOK = 5


class CanaryAborted(RolloutError):
    """The canary is not to serve."""


@dataclass(frozen=True)
class Parts:
    """What a state with a canary under way has, for certain."""

    trial: Trial
    live: Release
    candidate: Release
    route: Route

    @property
    def policy(self) -> Canary:
        return self.trial.canary


def parts_of(state: State) -> Parts:
    if state.trial is None or state.live is None or state.candidate is None or state.route is None:
        raise RolloutError(f"state.json of {state.app} has a canary without its releases. Deploy {state.app} again.")
    return Parts(state.trial, state.live, state.candidate, state.route)


class Steps:
    """Takes a canary through the steps that it has left."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.driver, self.journal = context.driver, context.journal
        self._complaints = Complaints()

    def run(self, state: State) -> State:
        """The state has passed all steps, or waits for a person. :raises CanaryAborted: the canary is bad."""
        # Before the gateway names it: after a reboot, what the gateway names has to come back.
        self.driver.keep(selection.beside(parts_of(state).candidate, workers=False), True)
        while True:
            parts = parts_of(state)
            if parts.trial.step == len(parts.policy.steps):
                return state
            step = parts.policy.steps[parts.trial.step]
            with self.journal.step("canary", release=parts.candidate.id, weight=step.weight):
                self.driver.fence(self.driver.shift(parts.live, parts.route, split_of(state)))
            state = self._save(state, since=self.context.now().isoformat())
            with self.journal.phase("canary"):
                why = self._watch(state, step)
            if why is not None:
                self.journal.write("pause", "canary", release=parts.candidate.id, weight=step.weight, why=why)
                return self._save(state, paused=why)
            state = self._save(state, step=parts.trial.step + 1)

    def rehearse(self, state: State) -> None:
        """Have the gateway test what the step of the state will load; behind the last one, what the switch will."""
        parts = parts_of(state)
        if parts.trial.step < len(parts.policy.steps):
            self.driver.rehearse(parts.live, parts.route, split_of(state))
        elif state.next_route is not None:
            self.driver.rehearse(parts.candidate, state.next_route)

    def promote(self, state: State) -> State:
        """Past the step at which the canary waits, unless what it answered meanwhile speaks against it."""
        parts = parts_of(state)
        if parts.policy.analysis is not None:
            self._raise_if_bad(parts, self._look(parts, over=False))
        return self._save(state, step=parts.trial.step + 1, paused=None)

    def _save(self, state: State, **changes: Any) -> State:
        return self.context.save(replace(state, trial=replace(parts_of(state).trial, **changes)))

    def _watch(self, state: State, step: Step) -> str | None:
        """Why the canary has to wait for a person after the step; None when it may go on."""
        parts = parts_of(state)
        policy = parts.policy
        following: State | None = replace(state, trial=replace(parts.trial, step=parts.trial.step + 1))
        # Without somebody to look at it, a step that waits for a person is looked at until it is known to be good.
        least = step.pause or 0
        longest = least + (policy.max_wait if policy.analysis is not None else 0)
        begun = self.context.elapsed()
        while True:
            passed = self.context.elapsed() - begun
            verdict = self._look(parts, over=passed >= longest)
            self._raise_if_bad(parts, verdict)
            if verdict.kind == analysis.INCONCLUSIVE:
                if policy.on_inconclusive == "abort" and step.pause is not None:
                    raise CanaryAborted(
                        f"canary {parts.candidate.id}: nothing is known after {longest} s with {step.weight} % of the "
                        f"users: {verdict.why}. Raise `canary.analysis.max_wait` or the pause of the step, lower "
                        "`min_requests`, or set `on_inconclusive: pause`."
                    )
                return f"inconclusive: {verdict.why}"
            if passed >= least and verdict.kind == analysis.PROMOTE:
                return None if step.pause is not None else "waits to be promoted"
            pause = policy.interval if policy.analysis is not None else LOOK
            left = longest - passed if passed >= least else least - passed
            self.journal.progress.waits(_waiting, parts, step, left, verdict)
            self.context.sleep(max(0.0, min(pause, left)))
            if following is not None:
                # While users are watched anyway: a test takes a good part of a core, and would at the switch.
                self.rehearse(following)
                following = None

    def _look(self, parts: Parts, *, over: bool) -> Verdict:
        """What is known of the canary since the step began."""
        try:
            ill = self.driver.unwell(selection.beside(parts.candidate, workers=False))
        except RolloutError as error:
            return Verdict(analysis.ABORT, str(error))
        why = self._complaints.add(ill)
        if ill is not None and why is not None:
            return Verdict(analysis.ABORT, why, detail=self.driver.words(parts.candidate.only([ill.service])))
        if ill is not None:
            return Verdict(analysis.INCONCLUSIVE if over else analysis.CONTINUE, str(ill))
        if parts.policy.analysis is None:
            return Verdict(analysis.PROMOTE, "its containers are healthy")
        pools = self.driver.traffic(datetime.fromisoformat(str(parts.trial.since)))
        stable, canary = (pools.get(release.id, Pool()) for release in (parts.live, parts.candidate))
        verdict = analysis.decide(stable, canary, parts.policy.analysis, over=over)
        if over and not pools:
            verdict = replace(verdict, why=f"{verdict.why}. {UNSEEN}")
        self.journal.write(
            *("look", "canary"),
            release=parts.candidate.id,
            verdict=verdict.kind,
            why=verdict.why,
            canary=analysis.describe(canary),
            stable=analysis.describe(stable),
        )
        if verdict.kind == analysis.ABORT:
            return replace(verdict, detail=explain(self.driver, parts.candidate, canary, latency=verdict.latency))
        return verdict

    def _raise_if_bad(self, parts: Parts, verdict: Verdict) -> None:
        if verdict.kind == analysis.ABORT:
            weight = parts.policy.steps[parts.trial.step].weight
            raise CanaryAborted(
                f"canary {parts.candidate.id}, met by {weight} % of the users: {verdict.why}.{verdict.detail}"
            )


def _waiting(parts: Parts, step: Step, left: float, verdict: Verdict) -> Waiting:
    where = f"step {parts.trial.step + 1} of {len(parts.policy.steps)}, {step.weight} % of the users"
    return Waiting((where, verdict.kind), f"{where}, {left:.0f} s left: {verdict.why}")
