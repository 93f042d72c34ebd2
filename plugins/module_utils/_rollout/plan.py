# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""From what is and what is wanted to a list of operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import Canary
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.driver import Observed
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import release_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.jobs import contract_due
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.lifecycle import (
    held,
    interrupted,
    serving,
    surplus,
    well,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    CONTRACT,
    App,
    InputError,
    Release,
    RolloutError,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.routing import route_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.split import tried
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State


@dataclass(frozen=True)
class Desired:
    """What a run with `state: present` asks for."""

    app: App
    release_hash: str
    base_hash: str | None
    # Pinned references by service.
    images: Mapping[str, str]
    base_images: Mapping[str, str]
    canary: Canary | None = None
    # How many releases are to outlive the run.
    keep: int | None = None


@dataclass(frozen=True)
class Current:
    """What was found. `gateway_lost` is true where the gateway lacks its address in the app's network.

    `orphans` are releases that have containers or files and are not kept.
    """

    state: State
    observed: Mapping[str, Observed]
    written: str | None
    loaded: str | None
    base_running: bool = True
    gateway_lost: bool = False
    orphans: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operation:
    """`kind` is what is done: recover, base, release, canary, promote, switch, finalize, abort, route, contract,
    prune, rollback or remove.
    """

    kind: str
    text: str


def canary_for(current: Current, desired: Desired) -> Canary | None:
    """The canary of a new release; None where there is nothing good, or nothing else, to compare it with."""
    state = current.state
    # What in-place services stop for a release that is switched runs again when that is taken away.
    good = (held(state) or serving(state.live, current.observed)) and tried(state, route_of(desired.app))
    new = state.live is None or state.live.hash != desired.release_hash
    return desired.canary if good and new else None


def _recovery(state: State) -> list[Operation]:
    if not interrupted(state):
        return []
    return [Operation("recover", f"finish or undo the run that was interrupted in phase {state.phase}")]


def plan_present(current: Current, desired: Desired, *, hold: bool = False) -> list[Operation]:
    """:param hold: only until the release is ready beside the live one (`state: prepared`)"""
    state = current.state
    operations = _recovery(state)
    if desired.base_hash is not None and state.base_hash != desired.base_hash:
        operations.append(
            Operation("base", "create the base services" if state.base_hash is None else "update the base services")
        )
    elif desired.base_hash is not None and not current.base_running:
        operations.append(Operation("base", "start base services that do not run"))
    live, candidate = state.live, state.candidate
    if state.trial is not None and candidate is not None:
        if candidate.hash == desired.release_hash:
            return [*operations, *([] if hold else _go_on(state, candidate))]
        operations.append(Operation("abort", f"{_away(state, candidate)}: another version is wanted"))
    elif held(state) and candidate is not None:
        same = (candidate.hash, state.next_route) == (desired.release_hash, route_of(desired.app))
        if same and well(state, candidate, current.observed):
            return [*operations, *([] if hold else _complete(state, candidate))]
        # Since it was left to wait nobody has looked at it.
        why = "its containers do not all run in good health" if same else "another version is wanted"
        operations.append(Operation("abort", f"{_away(state, candidate)}: {why}"))
    if live is None:
        operations.append(Operation("release", "first release"))
    elif live.hash != desired.release_hash:
        canary = canary_for(current, desired)
        steps = f" in steps: {', '.join(map(str, canary.steps))}, then all" if canary is not None else ""
        operations.append(Operation("release", f"replace {live.id}{steps}"))
    elif held(state) and state.route == route_of(desired.app):
        # Taking the other one away leaves the live release whole, and the gateway with it.
        pass
    elif not held(state) and not serving(live, current.observed):
        operations.append(Operation("release", f"replace {live.id}, whose containers do not all run in good health"))
    elif hold and state.route != route_of(desired.app):
        # What the gateway is told changes with a switch, which can be taken back.
        operations.append(Operation("release", f"replace {live.id} by the same content, for other domains or routes"))
    elif current.gateway_lost:
        operations.append(Operation("route", "attach the gateway to the network of the app"))
    elif state.route != route_of(desired.app):
        operations.append(Operation("route", "change domains, routes or limits"))
    elif release_of(current.written) != live.id or current.loaded != current.written:
        operations.append(Operation("route", "load the app into the gateway"))
    if not any(operation.kind == "release" for operation in operations):
        # A release that replaces another prunes by itself.
        gone = [*(release.id for release in surplus(state, desired.keep)), *current.orphans]
        operations += _contract(state)
        operations += [Operation("prune", f"remove what is kept no more: {', '.join(gone)}")] if gone else []
    return operations


def put_off(state: State, desired: Desired) -> list[str]:
    """What is asked for and cannot be had while the canary of the same version is under way."""
    candidate = state.candidate
    if state.trial is None or candidate is None or candidate.hash != desired.release_hash:
        return []
    if state.next_route == route_of(desired.app):
        return []
    return [
        f"domains, routes, limits or maintenance of {state.app} are others now, and stay as they were while the canary "
        f"{candidate.id} is under way. Deploy again when it has been promoted or aborted."
    ]


def _contract(state: State) -> list[Operation]:
    if not contract_due(state) or state.live is None:
        return []
    return [Operation("contract", f"run {CONTRACT} of {state.live.id}")]


def _complete(state: State, candidate: Release) -> list[Operation]:
    """What is left to do of a release that waits."""
    switch = [Operation("switch", f"to {candidate.id}, which is prepared")] if state.phase == "prepared" else []
    return [*switch, Operation("finalize", _finalizing(state, candidate))]


def _finalizing(state: State, candidate: Release) -> str:
    return f"{candidate.id}: {state.live.id} is drained and stopped" if state.live else f"{candidate.id}"


def _away(state: State, candidate: Release) -> str:
    if state.trial is not None:
        return f"take the canary {candidate.id} away"
    if state.phase == "switched":
        return f"switch back from {candidate.id} to {state.live.id if state.live else 'nothing'}"
    return f"take {candidate.id} away, which is prepared"


def _go_on(state: State, candidate: Release) -> list[Operation]:
    """What the same version again is to do while its canary is under way."""
    if state.trial is None or state.trial.paused is not None:
        return []
    return [Operation("canary", f"go on with {candidate.id}, whose run was interrupted")]


def plan_canary(current: Current, verb: str, wanted: str | None) -> list[Operation]:
    """Operations of `promote` and `abort`. Without a canary, or a release that waits, there is nothing to do."""
    state = current.state
    operations = _recovery(state)
    candidate = state.candidate if state.trial is not None or held(state) else None
    if wanted is not None and (candidate is None or candidate.id != wanted):
        there = f"The one under way is {candidate.id}." if candidate else "None is under way."
        raise InputError(f"release: {wanted} is no canary of {state.app}. {there}")
    if candidate is None:
        # Of a promotion that was killed behind the switch.
        return [*operations, *_contract(state)] if verb == "promote" else operations
    if verb == "abort":
        return [*operations, Operation("abort", _away(state, candidate))]
    if state.trial is None:
        # A canary of which every user was met on this host, and not yet on another.
        return [*operations, *(_complete(state, candidate) if state.phase == "switched" else [])]
    if state.trial.paused is None:
        return [*operations, *_go_on(state, candidate)]
    later = state.trial.canary.steps[state.trial.step + 1 :]
    steps = ", ".join([*map(str, later), "all"])
    return [*operations, Operation("promote", f"go on with {candidate.id}: {steps}")]


def plan_held(current: Current, verb: str, wanted: str | None, before: State | None = None) -> list[Operation]:
    """Operations of `switched` and `finalized`. Without a release that waits there is nothing to do.

    :param before: the state before an interrupted run was dealt with
    """
    state = current.state
    if before is not None and before.hold is not None and before.candidate is not None and state.hold is None:
        raise RolloutError(
            f"{before.candidate.id} was taken away, because its run was interrupted in phase {before.phase}. "
            f"Prepare it again. {f'{state.live.id} keeps serving.' if state.live else ''}"
        )
    operations = _recovery(state)
    live, candidate = state.live, state.candidate if state.trial is not None or held(state) else None
    if wanted is not None and wanted not in [release.id for release in (live, candidate) if release is not None]:
        raise InputError(
            f"release: {wanted} of {state.app} is not prepared on this host (any more). Prepare it again, with "
            "playbooks/deploy.yml or `state: prepared`."
        )
    if candidate is None or (live is not None and wanted == live.id):
        return operations if verb == "switched" or interrupted(state) else [*operations, *_contract(state)]
    if verb == "switched":
        if state.trial is not None:
            return [*operations, *_go_on(state, candidate)]
        return [*operations, *_complete(state, candidate)[:-1]]
    if state.phase != "switched":
        raise InputError(
            f"app: {state.app} has {candidate.id} prepared, but not every user meets it yet, so there is nothing to "
            "finalize. Take it on with `state: switched`, or away with `state: aborted`."
        )
    return [*operations, Operation("finalize", _finalizing(state, candidate))]


def plan_rollback(current: Current, wanted: str | None) -> tuple[list[Operation], Release | None]:
    """Operations, and the release to go back to."""
    state = current.state
    operations = _recovery(state)
    if held(state) and state.candidate is not None:
        raise InputError(
            f"app: {state.app} has {state.candidate.id}, which is {state.phase} and not final. Take it away first, "
            "with playbooks/abort.yml or `state: aborted`; that is the way back from it."
        )
    if state.trial is not None and state.candidate is not None:
        raise InputError(
            f"app: {state.app} has the canary {state.candidate.id} under way, beside the release that serves. Take it "
            "away first, with playbooks/abort.yml or `state: aborted`; that ends what the new version does to users."
        )
    if state.live is None:
        raise InputError(f"app: {state.app} has no live release on this host, so there is nothing to roll back.")
    if wanted is None and state.previous is not None and state.rolled_back_from == state.previous.id:
        return operations, None
    if wanted == state.live.id:
        return operations, None
    target = next((release for release in state.stopped if wanted in (None, release.id)), None)
    if target is None:
        kept = ", ".join(release.id for release in state.stopped) or "none"
        asked = f"release: {wanted} of" if wanted else "app:"
        raise InputError(
            f"{asked} {state.app} cannot be rolled back to. Kept are: {kept}. Deploy the version you want instead."
        )
    # Ids of releases begin with their time.
    if state.contracted is not None and target.id < state.contracted:
        raise InputError(
            f"app: {state.app} cannot be rolled back to {target.id}: {CONTRACT} of {state.contracted} took away what "
            f"that needs of the schema. {way_back(state, target)}"
        )
    return [*operations, Operation("rollback", f"from {state.live.id} to {target.id}")], target


def way_back(state: State, target: Release) -> str:
    """What a person can do who wants the version of a release for which the schema has gone too far."""
    after = sorted(name for name in state.migrations if name > target.id)
    # What a later migration began with is not what that version knows.
    point = state.migrations[after[0]].recovery_point if after else None
    if point is None:
        return "Deploy the version you want instead."
    return (
        f"Deploy the version you want instead. The data as they were for it, at {point.time} before the migration of "
        f"{after[0]}, are the recovery point {point.id}; this puts them back, and what was written since is lost: "
        f"{point.restore}"
    )


def plan_absent(current: Current, *, remains: bool) -> list[Operation]:
    """:param remains: whether there are files or a network of the app."""
    if remains or current.observed or current.written:
        return [Operation("remove", f"remove {current.state.app}; its volumes stay")]
    return []
