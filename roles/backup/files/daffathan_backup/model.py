# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What daffathan-backup is told: the configuration, its checks, and the words for times and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from daffathan_backup._backup.durations import parse_duration
from daffathan_backup._backup.objectives import Objective, parse_objectives

# The first with --stdin-from-command, without which a dump that dies half-way is stored as if it were whole.
MINIMUM_RESTIC = (0, 17, 0)

APP_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
COMPOSE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
DATABASE_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.$-]*")
REASON = re.compile(r"[a-z][a-z0-9-]{0,30}")
RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
ABSOLUTE_PATH = re.compile(r"/[^\0\n]*")
NO_OR_ABSOLUTE_PATH = re.compile(rf"({ABSOLUTE_PATH.pattern})?")


class BackupError(Exception):
    """Something the operator has to know; the message says what to do."""


PERIODS = ("daily", "weekly", "monthly")


@dataclass(frozen=True)
class Database:
    service: str
    engine: str
    name: str
    user: str
    password_file: str | None = None


@dataclass(frozen=True)
class Item:
    """One thing to back up: kind `database` or `volume`, and its name within the app."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def id(self) -> str:
        return item_id(self.kind, self.name)


def item_id(kind: str, name: str) -> str:
    """How an item is named to others."""
    return f"{kind}/{name}"


@dataclass(frozen=True)
class Retention:
    daily: int
    weekly: int
    monthly: int


@dataclass(frozen=True)
class App:
    name: str
    database: Database | None
    volumes: tuple[str, ...]
    objectives: tuple[Objective, ...] = ()
    retention: Retention | None = None

    @property
    def items(self) -> tuple[Item, ...]:
        database = (Item("database", self.database.name),) if self.database else ()
        return database + tuple(Item("volume", name) for name in self.volumes)


@dataclass(frozen=True)
class Timer:
    """When systemd starts a run: calendar event, and in seconds how much later, and when a run is ended."""

    event: str
    jitter: int
    timeout: int


@dataclass(frozen=True)
class Config:
    host: str
    restic: str
    repository: str
    password_file: str
    credentials_file: str
    state_directory: str
    cache_directory: str
    retention: Retention
    prune: bool
    check_interval_days: int
    check_read_percent: int
    timer: Timer
    metrics_file: str | None
    apps: tuple[App, ...]

    def app(self, name: str) -> App:
        for app in self.apps:
            if app.name == name:
                return app
        known = ", ".join(app.name for app in self.apps) or "none"
        raise BackupError(
            f"App {name!r} is not backed up on this host (backed up: {known}). Add `backup:` to its entry in `apps`."
        )


def parse_config(data: Any) -> Config:
    """The configuration as it stands in backup.json; BackupError names the key, the value and the remedy."""
    top = _Table(data, "backup.json")
    kept = _parse_retention(_Table(top.take("retention", dict), "retention"))
    timer = _Table(top.take("timer", dict), "timer")
    config = Config(
        host=top.take("host", str),
        restic=top.take("restic", str, pattern=ABSOLUTE_PATH),
        repository=top.take("repository", str),
        password_file=top.take("password_file", str, pattern=ABSOLUTE_PATH),
        credentials_file=top.take("credentials_file", str, pattern=ABSOLUTE_PATH),
        state_directory=top.take("state_directory", str, pattern=ABSOLUTE_PATH),
        cache_directory=top.take("cache_directory", str, pattern=ABSOLUTE_PATH),
        retention=kept,
        prune=top.take("prune", bool),
        check_interval_days=top.take("check_interval_days", int, least=1),
        check_read_percent=top.take("check_read_percent", int),
        timer=Timer(timer.take("event", str), *(_parse_span(timer, key) for key in ("jitter", "timeout"))),
        metrics_file=top.take("metrics_file", str, pattern=NO_OR_ABSOLUTE_PATH) or None,
        apps=tuple(_parse_app(entry, index, kept) for index, entry in enumerate(top.take("apps", list))),
    )
    timer.finish()
    top.finish()
    names = [app.name for app in config.apps]
    for name in names:
        if names.count(name) > 1:
            raise BackupError(f"apps: the name {name!r} is there {names.count(name)} times; app names are unique.")
    return config


def _parse_retention(table: _Table, default: Retention | None = None) -> Retention:
    counts = {key: {} if default is None else {"default": getattr(default, key)} for key in PERIODS}
    retention = Retention(*(table.take(key, int, **counts[key]) for key in PERIODS))
    table.finish()
    if not any(asdict(retention).values()):
        raise BackupError(
            f"{table.path}: all of daily, weekly and monthly are 0, which would keep nothing; set one above 0."
        )
    return retention


def _parse_app(data: Any, index: int, kept: Retention) -> App:
    entry = _Table(data, f"apps[{index}]")
    name = entry.take("name", str, pattern=APP_NAME)
    backup = entry.take("backup", dict)
    table = _Table(backup, f"apps[{name}].backup")
    entry.finish()
    volumes = table.take("volumes", list, default=[])
    for volume in volumes:
        if not isinstance(volume, str) or not COMPOSE_NAME.fullmatch(volume):
            raise BackupError(f"{table.path}.volumes: {volume!r} is not the name of a volume in the compose file.")
        if volumes.count(volume) > 1:
            raise BackupError(f"{table.path}.volumes: {volume!r} is named twice; name it once.")
    database = table.take("database", dict, default=None)
    retention = table.take("retention", dict, default=None)
    _take_objectives(table)
    table.finish()
    if database is None and not volumes:
        raise BackupError(f"{table.path} names neither a database nor volumes; name one, or remove `backup`.")
    parsed = _parse_database(database, table.path) if database is not None else None
    own = _parse_retention(_Table(retention, f"{table.path}.retention"), kept) if retention is not None else None
    try:
        return App(name, parsed, tuple(volumes), parse_objectives(name, backup), own)
    except ValueError as error:
        raise BackupError(str(error)) from None


def _take_objectives(table: _Table) -> None:
    for key in ("rpo", "rto"):
        table.take(key, str, default=None)


def _parse_span(table: _Table, key: str) -> int:
    try:
        return parse_duration(table.take(key, str), f"{table.path}.{key}", unit=False)
    except ValueError as error:
        raise BackupError(str(error)) from None


def _parse_database(data: Any, parent: str) -> Database:
    table = _Table(data, f"{parent}.database")
    engine = table.take("engine", str)
    if engine not in ("postgresql", "mariadb"):
        raise BackupError(f"{table.path}.engine: {engine!r} is not supported; use postgresql or mariadb.")
    name = table.take("name", str, pattern=DATABASE_NAME)
    database = Database(
        service=table.take("service", str, pattern=COMPOSE_NAME),
        engine=engine,
        name=name,
        user=table.take("user", str, default=name, pattern=DATABASE_NAME),
        password_file=table.take("password_file", str, default=None, pattern=ABSOLUTE_PATH),
    )
    _take_objectives(table)
    table.finish()
    return database


class _Table:
    """A JSON object read key by key; what is left over is a misspelling."""

    def __init__(self, data: Any, path: str) -> None:
        if not isinstance(data, Mapping):
            raise BackupError(f"{path}: expected an object, got {data!r}.")
        self.path = path
        self._left = dict(data)

    def take(
        self, key: str, kind: type, *, pattern: re.Pattern[str] | None = None, least: int = 0, **default: Any
    ) -> Any:
        value: Any = self._left.pop(key, None)
        if value is None:
            if "default" in default:
                return default["default"]
            raise BackupError(f"{self.path}: {key} is missing.")
        # bool is an int to Python, not to whoever writes the configuration.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise BackupError(f"{self.path}.{key}: {value!r} is not of type {kind.__name__}.")
        if pattern is not None and not pattern.fullmatch(str(value)):
            raise BackupError(f"{self.path}.{key}: {value!r} is not allowed; it must match {pattern.pattern}.")
        if isinstance(value, int) and value < least:
            raise BackupError(f"{self.path}.{key}: {value} is too small; the least is {least}.")
        return value

    def finish(self) -> None:
        if self._left:
            raise BackupError(f"{self.path}: unknown keys {', '.join(sorted(self._left))}; check the spelling.")


def parse_time(text: str) -> datetime:
    """A time as restic and this command write it; restic's nanoseconds are more than datetime holds."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if not match:
        raise BackupError(f"{text!r} is not a time of the form 2026-01-31T03:00:00Z.")
    seconds, fraction, zone = match.groups()
    return datetime.fromisoformat(f"{seconds}.{(fraction or '0')[:6]:0<6}{'+00:00' if zone == 'Z' else zone}")


def iso_time(time: datetime) -> str:
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def show_time(time: datetime) -> str:
    return time.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def show_size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def parse_version(text: str) -> tuple[int, int, int] | None:
    """The version in the output of `restic version`."""
    match = re.search(r"\brestic (\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text without the values of secrets, whatever program put them there."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
