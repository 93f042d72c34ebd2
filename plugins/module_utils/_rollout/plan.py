# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""From what is and what is wanted to a list of operations, and to words for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.driver import Observed
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import release_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.jobs import contract_due
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    CONTRACT,
    App,
    InputError,
    Release,
    Service,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Route, State


@dataclass(frozen=True)
class Desired:
    """What a run with `state: present` asks for."""

    app: App
    release_hash: str
    base_hash: str | None
    # Pinned references by service.
    images: Mapping[str, str]
    base_images: Mapping[str, str]


@dataclass(frozen=True)
class Current:
    """What was found. `gateway_lost` is true where the gateway lacks the app's network or an alias."""

    state: State
    observed: Mapping[str, Observed]
    written: str | None
    loaded: str | None
    base_running: bool = True
    gateway_lost: bool = False


@dataclass(frozen=True)
class Operation:
    """`kind` is one of recover, base, release, route, contract, rollback, remove; `text` says why."""

    kind: str
    text: str


def route_of(app: App) -> Route:
    return Route(
        app.domains, {service.name: dict(asdict(service), routes=list(service.routes)) for service in app.services}
    )


def app_of(name: str, route: Route, release: Release) -> App:
    """The app as the gateway has to know it for a release: services that the release does not have are left out."""
    services = tuple(
        Service(**dict(route.services[key], routes=tuple(route.services[key]["routes"]), port=released.port))
        if key in route.services
        else Service(key, released.port)
        for key, released in sorted(release.services.items())
        if released.port is not None
    )
    return App(name, route.domains, services)


def served(route: Route) -> list[str]:
    """The services whose names the gateway carries in the network of the app."""
    return sorted(name for name, service in route.services.items() if service["port"] is not None)


def beside(release: Release, *, workers: bool) -> Release:
    """The services, or the workers, of a release that run beside those of the one they replace."""
    return release.only(
        [
            name
            for name, service in release.services.items()
            if service.strategy == "blue_green" and (service.port is None) is workers
        ]
    )


def in_place(release: Release) -> Release:
    """The part of a release that must not run before its predecessor has ended."""
    return release.only([name for name, service in release.services.items() if service.strategy == "stop_first"])


def workers(release: Release) -> Release:
    """The part of a release that takes no requests."""
    return release.only([name for name, service in release.services.items() if service.port is None])


def served_part(release: Release) -> Release:
    """The part of a release that takes requests."""
    return release.only([name for name, service in release.services.items() if service.port is not None])


def rolling(release: Release) -> Release:
    """The part of a release that replaces its predecessor container by container."""
    return release.only([name for name, service in release.services.items() if service.strategy == "rolling"])


def interrupted(state: State) -> bool:
    return state.candidate is not None or state.phase != "idle"


def serving(release: Release | None, observed: Mapping[str, Observed]) -> bool:
    """Whether every container of a release runs and is not ill."""
    if release is None or release.id not in observed:
        return False
    wanted = sum(len(service.addresses) for service in release.services.values())
    return observed[release.id].healthy >= wanted


def plan_present(current: Current, desired: Desired) -> list[Operation]:
    state = current.state
    operations = []
    if interrupted(state):
        operations.append(Operation("recover", f"finish or undo the run that was interrupted in phase {state.phase}"))
    if desired.base_hash is not None and state.base_hash != desired.base_hash:
        operations.append(
            Operation("base", "create the base services" if state.base_hash is None else "update the base services")
        )
    elif desired.base_hash is not None and not current.base_running:
        operations.append(Operation("base", "start base services that do not run"))
    live = state.live
    if live is None:
        operations.append(Operation("release", "first release"))
    elif live.hash != desired.release_hash:
        operations.append(Operation("release", f"replace {live.id}"))
    elif not serving(live, current.observed):
        operations.append(Operation("release", f"replace {live.id}, whose containers do not all run in good health"))
    elif current.gateway_lost:
        operations.append(Operation("route", "attach the gateway to the network of the app"))
    elif state.route != route_of(desired.app):
        operations.append(Operation("route", "change domains, routes or limits"))
    elif release_of(current.written) != live.id or current.loaded != current.written:
        operations.append(Operation("route", "load the app into the gateway"))
    if contract_due(state) and not any(operation.kind == "release" for operation in operations):
        operations.append(Operation("contract", f"run {CONTRACT} of {state.live.id if state.live else None}"))
    return operations


def plan_rollback(current: Current, wanted: str | None) -> tuple[list[Operation], Release | None]:
    """Operations, and the release to go back to."""
    state = current.state
    operations = []
    if interrupted(state):
        operations.append(Operation("recover", f"finish or undo the run that was interrupted in phase {state.phase}"))
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
            "that needs of the schema. Deploy the version you want instead."
        )
    return [*operations, Operation("rollback", f"from {state.live.id} to {target.id}")], target


def plan_absent(current: Current) -> list[Operation]:
    state = current.state
    known = (state.live, state.previous, state.candidate, state.network)
    if any(known) or current.observed or current.written:
        return [Operation("remove", f"remove {state.app}; its volumes stay")]
    return []


def check_other_apps(app: App, others: Mapping[str, State]) -> None:
    """Two apps under one domain: the gateway could not tell them apart."""
    for name, state in sorted(others.items()):
        if name == app.name:
            continue
        for route in (state.route, state.next_route):
            taken = sorted(set(app.domains) & set(route.domains)) if route else []
            if taken:
                raise InputError(
                    f"domains: {taken[0]} already belongs to app {name}. Remove it there first, or give {app.name} "
                    "another domain."
                )


def describe_release(release: Release | None) -> list[str]:
    if release is None:
        return []
    lines = [
        f"{name}: {service.image}@{service.digest} x{len(service.addresses)}"
        for name, service in sorted(release.services.items())
    ]
    return lines + [f"job {name}: {job.image}@{job.digest}" for name, job in sorted(release.jobs.items())]


def describe_route(route: Route | None) -> list[str]:
    if route is None:
        return []
    lines = [f"domain: {domain}" for domain in route.domains]
    for name, service in sorted(route.services.items()):
        lines += [f"route: {path} -> {name}:{service['port']}" for path in service["routes"]]
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


def with_limits(release: Release, route: Route) -> Release:
    """The release with what its route says of health and time: none of that is part of its containers."""
    keys = (
        "health",
        "start_timeout",
        "drain_timeout",
        "stop_timeout",
        "min_uptime",
        "strategy",
        "surge",
        "unavailable",
    )
    services = {
        name: replace(service, **{key: route.services[name][key] for key in keys if key in route.services[name]})
        if name in route.services
        else service
        for name, service in release.services.items()
    }
    return replace(release, services=services)


def promoted(state: State, candidate: Release, route: Route, *, rollback: bool, at: str) -> State:
    """The state after every fresh request meets the candidate."""
    old = state.live
    stopped = [release for release in state.kept if release.id != candidate.id]
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
        rolled_back_from=old.id if rollback and old is not None else None,
        progress={key: value for key, value in state.progress.items() if key == candidate.hash},
    )
    return new.with_event("rolled_back" if rollback else "deployed", candidate.id, at)
