# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Plans and releases in words for a person; a secret is never part of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.lifecycle import held
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    TCP,
    Release,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.plan import Operation
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Route, State


def describe_release(release: Release | None) -> list[str]:
    if release is None:
        return []
    lines = [
        f"{name}: {service.image}@{service.digest} x{len(service.addresses)}"
        for name, service in sorted(release.services.items())
    ]
    lines += [f"recovery point before {name}" for name, job in sorted(release.jobs.items()) if job.recovery_point]
    return lines + [f"job {name}: {job.image}@{job.digest}" for name, job in sorted(release.jobs.items())]


def describe_canary(state: State) -> dict[str, Any] | None:
    """The canary under way, in results and facts."""
    trial, candidate = state.trial, state.candidate
    if trial is None or candidate is None or (state.hold is not None and trial.since is None):
        return None
    steps = trial.canary.steps
    step = min(trial.step, len(steps) - 1)
    return {
        "release": candidate.id,
        "weight": steps[step].weight,
        "step": step + 1,
        "steps": [str(each) for each in steps],
        "paused": trial.paused,
    }


def headline(message: str, length: int = 300) -> str:
    """The first line of a message, for a table; what a container printed is left to the message itself."""
    first = message.partition("\n")[0]
    return first if len(first) <= length else f"{first[: length - 3]}..."


def describe_held(state: State) -> dict[str, str] | None:
    """The release that waits for its switch, or to be finalized, in results and facts."""
    if state.candidate is None or not (held(state) or (state.trial is not None and state.hold is not None)):
        return None
    return {"release": state.candidate.id, "phase": "prepared" if state.trial is not None else state.phase}


def describe_route(route: Route | None) -> list[str]:
    if route is None:
        return []
    lines = [f"domain: {domain}" for domain in route.domains]
    for name, service in sorted(route.services.items()):
        lines += [f"route: {path} -> {name}:{service['port']}" for path in service["routes"]]
        if service.get("protocol") == TCP:
            lines.append(f"stream: {name}:{service['port']}")
        serving = sorted(service.get("serving", {}).items())
        lines += [f"serving: {name}: {key}: {headline(str(value))}" for key, value in serving]
    return lines


def describe(
    state: State, operations: list[Operation], *, release: Release | None, route: Route | None, base: Mapping[str, str]
) -> dict[str, str]:
    """Before and after in the form of Ansible's diff; a secret is never part of it."""
    header = f"compose_rollout {state.app}"
    before = [*describe_release(state.live), *describe_route(state.route)]
    before += [f"base {name}: {image}" for name, image in sorted((state.base_images or {}).items())]
    if state.live is not None:
        before.insert(0, f"release: {state.live.id} ({state.live.colour}) {state.live.hash[:12]}")
    after = [*describe_release(release), *describe_route(route)]
    after += [f"base {name}: {image}" for name, image in sorted(base.items())]
    if release is not None:
        after.insert(0, f"release: {release.id} ({release.colour}) {release.hash[:12]}")
    after += [f"do: {operation.kind}: {operation.text}" for operation in operations]
    return {
        "before_header": header,
        "after_header": header,
        "before": "".join(f"{line}\n" for line in before),
        "after": "".join(f"{line}\n" for line in after),
    }
