# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recovery points: finding, choosing, keeping and restoring them. No process, no file, no clock.

A recovery point is one app at one time: a restic snapshot per item (database or volume) and, written last, a manifest.
A point without its manifest is incomplete and is never restored, so a run that died cannot pass for a backup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from daffathan_backup._backup.durations import show_duration
from daffathan_backup.model import (
    REASON,
    RELEASE,
    App,
    BackupError,
    Item,
    Retention,
    iso_time,
    parse_time,
    show_size,
    show_time,
)

TAG = "daffathan"
SAFETY = "safety"
# What the schedule and a person make of a whole app. Everything else is made on an occasion, and displaces nothing.
REGULAR = ("manual", "scheduled")
# A backup made by hand after an accident must not push out the good one of the same day.
RECENT_KEPT = timedelta(days=2)
INCOMPLETE_KEPT = timedelta(days=7)
OCCASION_KEPT = timedelta(days=30)


@dataclass(frozen=True)
class Snapshot:
    id: str
    time: datetime
    path: str
    tags: Mapping[str, str]
    size: int

    @property
    def item(self) -> Item:
        return Item(self.tags.get("kind", ""), self.tags.get("item", ""))


@dataclass(frozen=True)
class Point:
    """One app at one time."""

    id: str
    app: str
    reason: str
    time: datetime
    snapshots: tuple[Snapshot, ...]

    @property
    def complete(self) -> bool:
        return any(snapshot.item.kind == "manifest" for snapshot in self.snapshots)

    @property
    def regular(self) -> bool:
        """Complete, and of the whole app: one that `latest` may mean."""
        return self.complete and self.reason in REGULAR

    @property
    def release(self) -> str | None:
        """The release it was made for."""
        return self.snapshots[0].tags.get("release")

    @property
    def items(self) -> dict[Item, Snapshot]:
        """The newest snapshot of each item: an attempt that was repeated leaves an older one behind."""
        return {s.item: s for s in sorted(self.snapshots, key=lambda s: s.time) if s.item.kind != "manifest"}

    @property
    def ended(self) -> datetime:
        """When the last of it was begun to be stored. In a complete point that is the manifest, behind all data."""
        return max(snapshot.time for snapshot in self.snapshots)

    @property
    def size(self) -> int:
        return sum(snapshot.size for snapshot in self.items.values())


def point_id(now: datetime) -> str:
    return now.astimezone(timezone.utc).strftime("%Y%m%dt%H%M%Sz")


def point_time(point: str) -> datetime:
    """When the point of this id was begun."""
    return datetime.strptime(point, "%Y%m%dt%H%M%Sz").replace(tzinfo=timezone.utc)


def check_labels(reason: str, release: str | None) -> None:
    """Refuse what a point on an occasion cannot be labelled with; a comma would begin another label."""
    for option, value, pattern in (("reason", reason, REASON), ("release", release, RELEASE)):
        if value is not None and not pattern.fullmatch(value):
            raise BackupError(f"{option}: {value!r} is not allowed; it must match {pattern.pattern}.")
    if reason in (*REGULAR, SAFETY):
        raise BackupError(f"reason: {reason!r} is how other backups are told and kept; use another word.")


def tags(app: str, item: Item, point: str, reason: str, release: str | None = None) -> str:
    """The value of restic's --tag for one snapshot of a point."""
    words = [TAG, f"app:{app}", f"kind:{item.kind}", f"item:{item.name}", f"point:{point}", f"reason:{reason}"]
    return ",".join([*words, *([f"release:{release}"] if release else [])])


def parse_snapshots(data: Iterable[Mapping[str, Any]]) -> tuple[Snapshot, ...]:
    """Snapshots from `restic snapshots --json`; those of other programs in the same repository are left out."""
    found = []
    for entry in data:
        labels = dict(tag.split(":", 1) for tag in entry.get("tags") or () if ":" in tag)
        if {"app", "kind", "item", "point"} <= labels.keys() and len(entry.get("paths") or ()) == 1:
            size = (entry.get("summary") or {}).get("total_bytes_processed", 0)
            found.append(Snapshot(entry["id"], parse_time(entry["time"]), entry["paths"][0], labels, size))
    return tuple(found)


def points(snapshots: Iterable[Snapshot]) -> tuple[Point, ...]:
    """The recovery points in a repository, oldest first."""
    groups: dict[tuple[str, str], list[Snapshot]] = {}
    for snapshot in snapshots:
        groups.setdefault((snapshot.tags["app"], snapshot.tags["point"]), []).append(snapshot)
    found = [
        Point(point, app, group[0].tags.get("reason", ""), min(s.time for s in group), tuple(group))
        for (app, point), group in groups.items()
    ]
    return tuple(sorted(found, key=lambda point: (point.time, point.app)))


def select_point(found: Iterable[Point], app: str, wanted: str) -> Point:
    """The point to restore: `latest`, the id of a point, or the beginning of a restic snapshot id."""
    own = [point for point in found if point.app == app]
    regular = [point for point in own if point.regular]
    remedy = f"`daffathan-backup list --app {app}` shows the points."
    if wanted == "latest":
        if regular:
            return regular[-1]
        raise BackupError(
            f"There is no complete backup of app {app!r} ({len(own)} points that are incomplete or were made on an "
            f"occasion). {remedy}"
        )
    matches = [point for point in own if point.id == wanted]
    if not matches and re.fullmatch(r"[0-9a-f]{6,64}", wanted):
        matches = [point for point in own if any(snapshot.id.startswith(wanted) for snapshot in point.snapshots)]
    if len(matches) != 1:
        problem = "is not a backup" if not matches else "fits more than one backup"
        raise BackupError(f"snapshot: {wanted!r} {problem} of app {app!r}. {remedy}")
    if not matches[0].complete:
        raise BackupError(
            f"snapshot: {wanted!r} is an incomplete backup of app {app!r} (its run failed before the end) "
            f"and is not restored. Choose a complete one: {remedy}"
        )
    return matches[0]


def recoverable(found: Iterable[Point]) -> dict[str, dict[str, dict[str, Any]]]:
    """By app and item how many complete points there are, and the times of the oldest and the newest."""
    told: dict[str, dict[str, dict[str, Any]]] = {}
    for point in sorted(found, key=lambda point: point.time):
        for item in point.items if point.complete else ():
            one = {"oldest": iso_time(point.time), "points": 0}
            entry = told.setdefault(point.app, {}).setdefault(item.id, one)
            entry.update(newest=iso_time(point.time), points=entry["points"] + 1)
    return told


def select_time(found: Iterable[Point], app: App, wanted: datetime, parts: Sequence[Item], now: datetime) -> Point:
    """The newest complete point of these items that ended by then, so that nothing younger is in it."""
    whole = [point for point in found if point.app == app.name and point.complete and {*parts} <= {*point.items}]
    if not whole:
        what = ", ".join(str(item) for item in parts)
        raise BackupError(f"There is no complete backup of app {app.name!r} that holds {what}.")
    # To the second, so that the time which is named here can be asked for.
    times = [point.ended.replace(microsecond=0) + timedelta(seconds=1) for point in whole]
    if wanted > now:
        raise BackupError(
            f"at: {show_time(wanted)} has not come yet. The last that app {app.name!r} can be taken back to is "
            f"{iso_time(times[-1])}."
        )
    older = [point for point in whole if point.ended <= wanted]
    if not older:
        raise BackupError(
            f"at: {show_time(wanted)} is before the oldest backup of app {app.name!r} that holds all of it. It can be "
            f"taken back to what it was between {iso_time(times[0])} and {iso_time(times[-1])}."
        )
    return max(older, key=lambda point: point.ended)


def expired(
    found: Sequence[Point], retention: Retention, now: datetime, own_retention: Mapping[str, Retention] | None = None
) -> tuple[Point, ...]:
    """The points that retention lets go, whole points only; apps may have a retention of their own.

    Per app stay the newest complete point of each kept day, week and month, and whatever is recent. The last point that
    was made for a release is the way back from it, however old it is.
    """
    gone: list[Point] = []
    for app in sorted({point.app for point in found}):
        own = [point for point in found if point.app == app]
        kept = _kept([point for point in own if point.regular], (own_retention or {}).get(app, retention))
        kept.update([point.id for point in own if point.complete and point.release][-1:])
        for point in own:
            if not point.complete:
                keep = now - point.time < INCOMPLETE_KEPT
            else:
                young = RECENT_KEPT if point.regular else OCCASION_KEPT
                keep = point.id in kept or now - point.time < young
            if not keep:
                gone.append(point)
    return tuple(gone)


def _kept(regular: Sequence[Point], retention: Retention) -> set[str]:
    kept: set[str] = set()
    for count, period in ((retention.daily, "%Y-%m-%d"), (retention.weekly, "%G-%V"), (retention.monthly, "%Y-%m")):
        newest: dict[str, str] = {}
        for point in sorted(regular, key=lambda point: point.time, reverse=True):
            newest.setdefault(point.time.astimezone(timezone.utc).strftime(period), point.id)
        kept.update(list(newest.values())[:count])
    return kept


@dataclass(frozen=True)
class RestoreStep:
    item: Item
    snapshot: Snapshot


def wanted_items(app: App, *, database: bool, volumes: bool) -> tuple[Item, ...]:
    """What is to come back, database first; neither part named means both."""
    everything = database == volumes
    wanted = [item for item in app.items if everything or item.kind == ("database" if database else "volume")]
    if not wanted:
        part = "database" if database else "volumes"
        raise BackupError(f"App {app.name!r} has no {part} in its `backup:`; leave the choice of parts away.")
    return tuple(wanted)


def plan_restore(app: App, point: Point, wanted: Sequence[Item]) -> tuple[RestoreStep, ...]:
    """Where each item comes from."""
    missing = [str(item) for item in wanted if item not in point.items]
    if missing:
        has = ", ".join(str(item) for item in point.items) or "nothing"
        raise BackupError(
            f"Backup {point.id} of app {app.name!r} does not hold {', '.join(missing)} (it holds {has}); "
            "choose another snapshot, or restore only the database or only the volumes."
        )
    return tuple(RestoreStep(item, point.items[item]) for item in wanted)


def describe_restore(
    app: App, point: Point, steps: Sequence[RestoreStep], *, now: datetime, at: datetime | None = None
) -> list[str]:
    """What a restore does, and what it costs: everything that was written since the backup began."""
    age = f"backup {point.id} of {show_time(point.time)} ({point.reason})"
    lines = [f"app {app.name}: restore from {age}"]
    lines.append(f"  what was written in the last {show_duration((now - point.time).total_seconds())} will be gone")
    if at is not None:
        before = show_duration((at - point.time).total_seconds())
        lines.append(f"  the data are {before} older than {show_time(at)}, the time asked for")
    for step in steps:
        target = f"service {app.database.service}" if step.item.kind == "database" and app.database else "its files"
        lines.append(f"  {step.item} -> {target}: snapshot {step.snapshot.id[:8]}, {show_size(step.snapshot.size)}")
    return lines


def describe_run(apps: Sequence[App]) -> list[str]:
    return [f"app {app.name}: {item}" for app in apps for item in app.items]
