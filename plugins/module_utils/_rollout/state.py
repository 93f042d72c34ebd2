# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What is remembered about an app between two runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._backup.model import RecoveryPoint
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import Canary
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release, RolloutError

VERSION = 1
HISTORY = 50


@dataclass(frozen=True)
class Network:
    """The private network of an app."""

    name: str
    subnet: str
    gateway: str


@dataclass(frozen=True)
class Route:
    """What other apps must not claim again, and what a rollback needs to write the gateway's file."""

    domains: tuple[str, ...]
    services: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Progress:
    """The one-shots that are done for a content, and the version that its schema had before the first of them."""

    done: tuple[str, ...] = ()
    schema_before: str | None = None
    # Made before the first of them.
    point: RecoveryPoint | None = None


@dataclass(frozen=True)
class Migration:
    """What a release did to the schema: its versions, and the way back to the data as they were."""

    schema_before: str | None = None
    schema_after: str | None = None
    recovery_point: RecoveryPoint | None = None

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self), recovery_point=self.recovery_point.to_json() if self.recovery_point else None)


def told(migration: Migration | None) -> dict[str, Any]:
    """What an event tells of a migration: of its recovery point, the id."""
    if migration is None:
        return {}
    point = migration.recovery_point
    return {"migration": dict(vars(migration), recovery_point=point.id if point else None)}


@dataclass(frozen=True)
class Trial:
    """A canary under way: the step it is in, and since when. One that is not paused has a run at work, or had one."""

    canary: Canary
    step: int = 0
    since: str | None = None
    # Why it waits for a person.
    paused: str | None = None
    # What the run that began it was told of the releases before; who promotes it is not asked again.
    keep: int | None = None
    keep_warm: int = 0


@dataclass(frozen=True)
class Hold:
    """A release whose switch, and what follows it, are asked for one by one, so that several hosts act as one."""

    # What the run that prepared it was told of the releases before; who finalizes it is not asked again.
    keep: int | None = None
    keep_warm: int = 0


@dataclass(frozen=True)
class State:
    """`phase` is idle, or the point at which a run was when this was written."""

    app: str
    phase: str = "idle"
    live: Release | None = None
    previous: Release | None = None
    # More releases that can be returned to, the latest first.
    older: tuple[Release, ...] = ()
    candidate: Release | None = None
    # The release that a rollback left; it tells a repeated rollback from a new one.
    rolled_back_from: str | None = None
    network: Network | None = None
    base_hash: str | None = None
    # Pinned references of the base services by name, and the digest each reference stood for then.
    base_images: Mapping[str, str] | None = None
    base_references: Mapping[str, str] | None = None
    route: Route | None = None
    # What the gateway is told with the candidate.
    next_route: Route | None = None
    # How the candidate is watched once it serves.
    bake: Bake | None = None
    # The candidate is a canary, which serves a part of the users beside the live release.
    trial: Trial | None = None
    # How many releases outlive the run that was asked for the live one, which may be another that finishes it.
    keep: int | None = None
    # The candidate goes no further than it is asked to.
    hold: Hold | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    # By the hash of the release: the next one of the same content goes on where one was interrupted.
    progress: Mapping[str, Progress] = field(default_factory=dict)
    # By the id of the release, for those that are kept and those between them.
    migrations: Mapping[str, Migration] = field(default_factory=dict)
    schema: str | None = None
    # The release that took away what the ones before it need.
    contracted: str | None = None

    @property
    def stopped(self) -> tuple[Release, ...]:
        """The releases that can be returned to, the latest first."""
        return (*((self.previous,) if self.previous is not None else ()), *self.older)

    @property
    def kept(self) -> tuple[Release, ...]:
        """The releases whose containers are there, or should be."""
        return (*((self.live,) if self.live is not None else ()), *self.stopped)

    @property
    def ids(self) -> frozenset[str]:
        """The releases that anything is known of."""
        known = (*self.kept, *((self.candidate,) if self.candidate is not None else ()))
        past = [entry["release"] for entry in self.history] + ([self.contracted] if self.contracted else [])
        return frozenset([release.id for release in known] + past)

    def progress_of(self, release: Release) -> Progress:
        return self.progress.get(release.hash, Progress())

    def with_progress(self, release: Release, **changes: Any) -> State:
        return replace(self, progress={**self.progress, release.hash: replace(self.progress_of(release), **changes)})

    def with_done(self, release: Release, job: str) -> State:
        return self.with_progress(release, done=(*self.progress_of(release).done, job))

    def without_progress(self, release: Release) -> State:
        return replace(self, progress={key: value for key, value in self.progress.items() if key != release.hash})

    def migration_of(self, release: Release) -> Migration | None:
        """What the one-shots of a release have done to the schema so far; None where nothing is known of it."""
        progress = self.progress_of(release)
        if progress.schema_before is None and progress.point is None:
            return None
        return Migration(progress.schema_before, self.schema, progress.point)

    def with_event(self, event: str, release: str, at: str, **more: Any) -> State:
        entry = {"event": event, "release": release, "at": at, **more}
        return replace(self, history=(*self.history, entry)[-HISTORY:])

    def with_times(self, run: str, ms: int, phases: Mapping[str, int]) -> State:
        """What a run took, beside the last thing it did; the same where it did nothing worth an event."""
        *before, last = self.history or ({},)
        if last.get("run") != run:
            return self
        return replace(self, history=(*before, {**last, "ms": ms, "phases": dict(phases)}))

    def dumps(self) -> str:
        data = {
            "version": VERSION,
            "app": self.app,
            "phase": self.phase,
            "live": self.live.to_json() if self.live else None,
            "previous": self.previous.to_json() if self.previous else None,
            "older": [release.to_json() for release in self.older],
            "candidate": self.candidate.to_json() if self.candidate else None,
            "rolled_back_from": self.rolled_back_from,
            "network": vars(self.network) if self.network else None,
            "base_hash": self.base_hash,
            "base_images": dict(self.base_images or {}),
            "base_references": dict(self.base_references or {}),
            "route": _dump_route(self.route),
            "next_route": _dump_route(self.next_route),
            "bake": self.bake.to_json() if self.bake else None,
            "trial": dict(vars(self.trial), canary=self.trial.canary.to_json()) if self.trial else None,
            "keep": self.keep,
            "hold": vars(self.hold) if self.hold else None,
            "history": list(self.history),
            "progress": {
                key: {
                    "done": list(value.done),
                    "schema_before": value.schema_before,
                    "point": value.point.to_json() if value.point else None,
                }
                for key, value in self.progress.items()
            },
            "migrations": {key: value.to_json() for key, value in self.migrations.items()},
            "schema": self.schema,
            "contracted": self.contracted,
        }
        return json.dumps(data, indent=1, sort_keys=True) + "\n"


def loads(app: str, text: str | None) -> State:
    """The state that `text` holds; a fresh one where there is none."""
    if text is None:
        return State(app)
    try:
        data = json.loads(text)
        if data["version"] != VERSION:
            raise RolloutError(
                f"state.json of {app} has version {data['version']}, this collection reads {VERSION}. Upgrade it."
            )
        return State(
            app=app,
            phase=data["phase"],
            live=_release(data["live"]),
            previous=_release(data["previous"]),
            older=tuple(Release.from_json(release) for release in data.get("older", [])),
            candidate=_release(data["candidate"]),
            rolled_back_from=data["rolled_back_from"],
            network=Network(**data["network"]) if data["network"] else None,
            base_hash=data["base_hash"],
            base_images=data["base_images"],
            base_references=data["base_references"],
            route=_route(data["route"]),
            next_route=_route(data["next_route"]),
            bake=Bake.from_json(data["bake"]) if data.get("bake") else None,
            trial=_trial(data.get("trial")),
            keep=data.get("keep"),
            hold=Hold(**data["hold"]) if data.get("hold") else None,
            history=tuple(data["history"]),
            progress={
                key: Progress(tuple(value["done"]), value["schema_before"], _point(value.get("point")))
                for key, value in data.get("progress", {}).items()
            },
            migrations={
                key: Migration(**dict(value, recovery_point=_point(value["recovery_point"])))
                for key, value in data.get("migrations", {}).items()
            },
            schema=data.get("schema"),
            contracted=data.get("contracted"),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RolloutError(
            f"state.json of {app} cannot be read ({error!r}). Restore it from a backup, or move it away and deploy."
        ) from error


def _release(data: Mapping[str, Any] | None) -> Release | None:
    return Release.from_json(data) if data else None


def _point(data: Mapping[str, Any] | None) -> RecoveryPoint | None:
    return RecoveryPoint.from_json(data) if data else None


def _trial(data: Mapping[str, Any] | None) -> Trial | None:
    return Trial(**dict(data, canary=Canary.from_json(data["canary"]))) if data else None


def _route(data: Mapping[str, Any] | None) -> Route | None:
    return Route(tuple(data["domains"]), data["services"]) if data else None


def _dump_route(route: Route | None) -> dict[str, Any] | None:
    return {"domains": list(route.domains), "services": dict(route.services)} if route else None
