# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Where the releases of an app stand: which one waits, which was interrupted, which serve and which are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import selection
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.driver import Observed
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Route, State, told


def held(state: State) -> bool:
    """Whether the candidate waits to be switched to, or to be finalized."""
    return state.trial is None and state.candidate is not None and state.phase in ("prepared", "switched")


def interrupted(state: State) -> bool:
    """What waits is no interruption, nor is a canary: the next run goes on with it, or takes it away."""
    return state.trial is None and not held(state) and (state.candidate is not None or state.phase != "idle")


def serving(release: Release | None, observed: Mapping[str, Observed]) -> bool:
    """Whether every container of a release runs and is not ill."""
    if release is None or release.id not in observed:
        return False
    return observed[release.id].healthy >= selection.containers(release)


def well(state: State, candidate: Release, observed: Mapping[str, Observed]) -> bool:
    """Whether all that was started of a release that waits runs and is not ill."""
    started = candidate if state.phase == "switched" else selection.beside(candidate, workers=False)
    return not started.services or serving(started, observed)


def surplus(state: State, keep: int | None) -> tuple[Release, ...]:
    """The releases that are one too many. The live one and the one before are always kept."""
    return state.older[max(0, keep - 2) :] if keep is not None and len(state.kept) > keep else ()


def promoted(
    state: State, candidate: Release, route: Route, *, rollback: bool, at: str, run: str, keep: int | None = None
) -> State:
    """The state after every fresh request meets the candidate."""
    old = state.live
    stopped = [release for release in state.kept if release.id != candidate.id]
    migration = state.migration_of(candidate)
    known = {**state.migrations, **({candidate.id: migration} if migration else {})}
    # Ids of releases begin with their time. What came before the oldest that is kept leads back to nothing.
    oldest = min(release.id for release in (candidate, *stopped))
    new = replace(
        state,
        phase="drain",
        live=candidate,
        previous=stopped[0] if stopped else None,
        older=tuple(stopped[1:]),
        candidate=None,
        route=route,
        next_route=None,
        bake=None,
        trial=None,
        keep=state.keep if keep is None else keep,
        hold=None,
        rolled_back_from=old.id if rollback and old is not None else None,
        progress={key: value for key, value in state.progress.items() if key == candidate.hash},
        migrations={key: value for key, value in known.items() if key >= oldest},
    )
    event = "rolled_back" if rollback else "deployed"
    return new.with_event(
        event, candidate.id, at, run=run, strategy=selection.strategy_of(candidate), **told(migration)
    )
