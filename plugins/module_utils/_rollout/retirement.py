# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What becomes of releases that serve no more: drained, stopped, kept for a rollback, and removed in the end."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import lifecycle, selection
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.context import Context
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.jobs import Jobs
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import CONTRACT, Release, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State


class Retirement:
    """Takes from releases what they need no more, one step at a time, and never from what the gateway names."""

    def __init__(self, context: Context, jobs: Jobs) -> None:
        self.context = context
        self.driver, self.journal = context.driver, context.journal
        self.jobs = jobs

    def finish(self, state: State) -> State:
        """Behind the switch nothing fails the run any more: the new release serves."""
        self.driver.settle_switch()
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
        state = self.prune(self.jobs.collect(state))
        return self.context.save(replace(state, phase="idle"))

    def _stop(self, state: State, previous: Release) -> None:
        """At once, or later where a rollback is to find it running."""
        if not self.context.keep_warm or (state.live is not None and CONTRACT in state.live.jobs):
            self.driver.stop(previous)
            return
        # A worker would go on taking work.
        self.driver.stop(selection.workers(previous))
        try:
            self.driver.stop_later(selection.served_part(previous), self.context.keep_warm)
        except RolloutError as error:
            seconds = self.context.keep_warm
            self.context.warnings.append(f"{previous.id} was stopped at once instead of in {seconds} s: {error}")
            self.driver.stop(previous)

    def _drain(self, release: Release) -> None:
        with self.journal.step("drain", release=release.id) as outcome:
            self.context.drained = dict(self.driver.drain(release))
            outcome["drained"] = self.context.drained

    def prune(self, state: State) -> State:
        surplus = lifecycle.surplus(state, self.context.keeping(state))
        if surplus:
            # Before they go: nobody can return to them from here on.
            state = self.context.save(replace(state, older=tuple(each for each in state.older if each not in surplus)))
        orphans = self.orphans(state)
        if orphans:
            with self.journal.step("prune", releases=orphans):
                for release in orphans:
                    self.driver.remove(release)
        return state

    def orphans(self, state: State) -> list[str]:
        """Releases that have containers or files and are not kept."""
        keep = {release.id for release in (*state.kept, state.candidate) if release is not None}
        # What the gateway names is never removed, whatever the state says.
        return sorted((set(self.driver.inventory()) | set(self.driver.release_files())) - keep - self.context.named())

    def remove(self) -> None:
        """Everything of the app except its volumes."""
        state = self.driver.load()
        known = state.live is not None or self.driver.written_generation() is not None
        if known:
            # Before anything is remembered: a removal that cannot begin must leave no trace.
            self.driver.check_gateway()
        state = self.context.save(replace(state, phase="remove", trial=None, hold=None))
        if known:
            with self.journal.step("shift"):
                self.driver.forget()
            with self.journal.step("fence"):
                self.driver.fence(None)
            self.driver.settle_switch()
        observed = self.driver.inventory()
        # A run that was interrupted may have left more than one that requests are still on their way to.
        for release in (state.live, state.candidate, state.previous):
            if release is not None and release.id in observed and observed[release.id].running:
                self._drain(release)
                with self.journal.step("stop", release=release.id):
                    self.driver.keep(release, False)
                    self.driver.stop(release)
        # Nothing is kept for a rollback any more, so their images go as well.
        self.context.save(replace(state, live=None, previous=None, older=(), candidate=None, next_route=None))
        with self.journal.step("prune"):
            for name in sorted(set(self.driver.inventory()) | set(self.driver.release_files())):
                self.driver.remove(name)
            self.driver.remove_base()
        self.driver.erase()
