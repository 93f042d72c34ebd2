# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What was declared of each app that is backed up, RPO and RTO, and whether the plan can keep it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Relative, since role backup installs these files beside its command as well.
from .durations import parse_duration, show_duration
from .schedule import Schedule

# Bytes per second that a restore brings back, until one was measured on the host. Two cores with a fast disk did about
# twice as much. MariaDB loads a dump twice, the first time on trial.
ASSUMED_RATES = {"postgresql": 30e6, "mariadb": 5e6, "volume": 50e6}
# A restore of less says how long it takes to begin, not how fast it is.
TELLING = 64 * 2**20
# Timers to choose from, the rarest first: event, seconds between two runs, jitter, time limit. Events in UTC happen on
# the days as well on which the clocks change.
PROPOSALS = (
    ("*-*-* 03:00:00 UTC", 86400, "30m", "4h"),
    ("*-*-* 00/12:00:00 UTC", 43200, "15m", "2h"),
    ("*-*-* 00/6:00:00 UTC", 21600, "10m", "1h"),
    ("*-*-* 00/3:00:00 UTC", 10800, "5m", "30m"),
    ("*-*-* *:00:00 UTC", 3600, "2m", "15m"),
    ("*:0/30 UTC", 1800, "1m", "10m"),
    ("*:0/15 UTC", 900, "30s", "4m"),
    ("*:0/5 UTC", 300, "15s", "2m"),
)


@dataclass(frozen=True)
class Item:
    """One thing that is backed up, as `database/<name>` or `volume/<name>`, and what brings it back."""

    id: str
    engine: str


@dataclass(frozen=True)
class Objective:
    """What was declared of some items of an app, in seconds.

    :param path: the variable that declares it. :param scope: `app` for all of it, or `database`
    """

    path: str
    app: str
    scope: str
    items: tuple[Item, ...]
    rpo: int | None
    rto: int | None


@dataclass(frozen=True)
class Measure:
    """How long something of a size took."""

    bytes: int
    seconds: float


@dataclass(frozen=True)
class Known:
    """What a host has recorded of an app: by item its last good backup and its last restore."""

    backups: Mapping[str, Measure]
    restores: Mapping[str, Measure]


@dataclass(frozen=True)
class Assessment:
    """An objective and what can be expected, in seconds.

    :param rpo_worst: None without a bound. :param rto_expected: None before the first backup
    :param measured: whether the restores of all its items have been measured on this host
    """

    objective: Objective
    rpo_worst: int | None
    rto_expected: int | None
    measured: bool

    @property
    def rpo_met(self) -> bool:
        rpo = self.objective.rpo
        return rpo is None or (self.rpo_worst is not None and self.rpo_worst <= rpo)

    @property
    def rto_met(self) -> bool:
        rto = self.objective.rto
        return rto is None or self.rto_expected is None or self.rto_expected <= rto

    def to_json(self) -> dict[str, Any]:
        return {
            "app": self.objective.app,
            "scope": self.objective.scope,
            "covers": [item.id for item in self.objective.items],
            "rpo": self.objective.rpo,
            "rpo_worst": self.rpo_worst,
            "rpo_met": self.rpo_met,
            "rto": self.objective.rto,
            "rto_expected": self.rto_expected,
            "rto_met": self.rto_met,
            "rto_measured": self.measured,
        }


def parse_objectives(app: str, backup: Mapping[str, Any]) -> tuple[Objective, ...]:
    """What `apps[].backup` declares of all the app, and what its database declares of itself.

    ValueError names the variable, the value and the remedy.
    """
    path, database = f"apps[{app}].backup", backup.get("database")
    if database and not (database.get("name") and database.get("engine") in ("postgresql", "mariadb")):
        raise ValueError(f"{path}.database is {database}. It needs a name, and an engine: postgresql or mariadb.")
    data = (Item(f"database/{database['name']}", database["engine"]),) if database else ()
    volumes = tuple(Item(f"volume/{name}", "volume") for name in backup.get("volumes") or ())
    found = [_objective(path, app, "app", data + volumes, backup)]
    if database:
        own = _objective(f"{path}.database", app, "database", data, database)
        found += [own] if own.rpo is not None or own.rto is not None else []
    return tuple(found)


def _objective(path: str, app: str, scope: str, items: tuple[Item, ...], declared: Mapping[str, Any]) -> Objective:
    spans = {key: declared.get(key) for key in ("rpo", "rto")}
    seconds = {key: None if text is None else parse_duration(str(text), f"{path}.{key}") for key, text in spans.items()}
    for key, value in seconds.items():
        if value == 0:
            raise ValueError(f"{path}.{key} is {spans[key]}, which nothing can keep. Write for example 15m, 12h or 2d.")
    return Objective(path, app, scope, items, seconds["rpo"], seconds["rto"])


def parse_known(entry: Mapping[str, Any]) -> Known:
    """What the status of a host tells of an app; what an older command has written tells less."""
    backups, restores = (
        {item: Measure(**measure) for item, measure in entry.get(key, {}).items()} for key in ("backups", "restores")
    )
    return Known(backups, restores)


def assess(objective: Objective, schedule: Schedule, known: Known) -> Assessment:
    """What to expect of an objective's items: they come back one after the other, after a backup of what is there."""
    expected: float | None = sum(measure.seconds for measure in known.backups.values())
    for item in objective.items:
        size, restored = known.backups.get(item.id), known.restores.get(item.id)
        if size is None or expected is None:
            expected = None
        else:
            expected += _restore_seconds(item, size.bytes, restored)
    measured = all(item.id in known.restores for item in objective.items)
    return Assessment(objective, schedule.worst, None if expected is None else round(expected), measured)


def _restore_seconds(item: Item, size: int, restored: Measure | None) -> float:
    assumed = ASSUMED_RATES[item.engine]
    if restored is None:
        return size / assumed
    rate = restored.bytes / restored.seconds if restored.bytes >= TELLING and restored.seconds > 0 else assumed
    return restored.seconds + max(0, size - restored.bytes) / rate


def problems(assessments: Iterable[Assessment], schedule: Schedule) -> list[str]:
    """The objectives that cannot be met: the variable, the value, what to expect instead, and the remedy."""
    found = []
    for told in assessments:
        objective = told.objective
        if objective.rpo is not None and not told.rpo_met:
            found.append(f"{objective.path}.rpo is {show_duration(objective.rpo)}, {_lost(told, schedule)}")
        if objective.rto is not None and not told.rto_met and told.rto_expected is not None:
            basis = "measured by its last restores" if told.measured else "assumed until a restore was measured here"
            found.append(
                f"{objective.path}.rto is {show_duration(objective.rto)}, but a restore of what it holds now takes "
                f"{show_duration(told.rto_expected)}, with the backup of the present state before it ({basis}). "
                f"Declare {_at_least(told.rto_expected)} or more, or let it hold less."
            )
    return found


def _lost(told: Assessment, schedule: Schedule) -> str:
    rpo, worst = told.objective.rpo or 0, told.rpo_worst
    if worst is None:
        return f"but backup_schedule {schedule.event} has a last run, after which nothing is backed up. {_remedy(rpo)}."
    return (
        f"but with this plan the data of up to {show_duration(worst)} can be lost: backups begin up to "
        f"{show_duration(schedule.gap or 0)} apart (backup_schedule {schedule.event}), up to "
        f"{show_duration(schedule.jitter)} late (backup_schedule_jitter), and count when they have ended, after up to "
        f"{show_duration(schedule.timeout)} (backup_timeout). {_remedy(rpo)}, or declare {_at_least(worst)} or more."
    )


def _remedy(rpo: int) -> str:
    for event, gap, jitter, timeout in PROPOSALS:
        spans = parse_duration(jitter, "jitter"), parse_duration(timeout, "timeout")
        worst = Schedule(event, gap, *spans).worst
        if worst is not None and worst <= rpo:
            return f'Set backup_schedule: "{event}", backup_schedule_jitter: {jitter} and backup_timeout: {timeout}'
    return "No schedule of dumps keeps that"


def _at_least(seconds: float) -> str:
    """A span to declare, in whole minutes or hours."""
    unit, size = ("m", 60) if seconds < 2 * 3600 else ("h", 3600)
    return f"{-(-round(seconds) // size)}{unit}"
