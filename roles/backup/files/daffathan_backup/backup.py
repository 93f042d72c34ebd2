# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Taking backups: one recovery point per app, then retention and the periodic check of the repository."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from hashlib import sha1
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

from daffathan_backup.engines import ENGINES, dump_name
from daffathan_backup.host import Host, write_atomic
from daffathan_backup.model import App, BackupError, Database, Item, iso_time, show_size
from daffathan_backup.points import Point, expired, point_id, points, recoverable, tags
from daffathan_backup.status import (
    AppResult,
    ItemResult,
    check_due,
    status_after,
    status_after_listing,
    status_after_point,
)


def now() -> datetime:
    return datetime.now(timezone.utc)


def run(host: Host, apps: Sequence[App], reason: str) -> bool:
    """Back up each app, whatever happens to the others; the status tells of each. False when anything failed."""
    status = {**host.read_status(), "started": iso_time(now()), "error": None}
    host.write_status(status)
    good = True
    try:
        host.check_restic()
        # Removes only locks whose process is gone or that are older than half an hour.
        host.restic("unlock")
        for app in apps:
            result = back_up(host, app, reason)
            status = status_after(status, result)
            host.write_status(status)
            good = good and result.ok
        status = status_after_listing(status, recoverable(forget_expired(host)))
        status = _check(host, status)
        good = good and not (status.get("check") or {}).get("error")
    except BackupError as error:
        status["error"] = str(error)
        raise
    except BaseException as error:
        status["error"] = f"interrupted: {type(error).__name__}"
        raise
    finally:
        host.write_status({**status, "started": None, "finished": iso_time(now())})
    return good


def take_point(host: Host, app: App, reason: str, release: str | None) -> AppResult:
    """A recovery point of the app's database alone, which is read back from the repository before it counts.

    The status of the schedule stays what it was: this one says nothing of the volumes.
    """
    host.check_repository()
    host.restic("unlock")
    result = back_up(host, replace(app, volumes=()), reason, release=release, read_back=True)
    host.write_status(status_after_point(host.read_status(), result))
    return result


def database_of(app: App) -> Database:
    """What a point of the app is made of."""
    if app.database is None:
        raise BackupError(
            f"App {app.name!r} has no database in its `backup:`, so there is nothing to make a point of. Add "
            "`backup.database` to its entry in `apps`, and run role backup."
        )
    return app.database


def back_up(host: Host, app: App, reason: str, *, release: str | None = None, read_back: bool = False) -> AppResult:
    """One recovery point of one app. Only when all items are stored is it committed by its manifest.

    :param read_back: whether dumps are read from the repository, by the tool that would restore them, before that
    """
    point = point_id(now())
    results: list[ItemResult] = []
    for item in app.items:
        started = time.monotonic()
        try:
            summary = _store(host, app, item, tags(app.name, item, point, reason, release))
            snapshot, size, error = summary["snapshot_id"], summary["total_bytes_processed"], None
            if read_back and item.kind == "database":
                _read_back(host, app, snapshot)
            print(f"app {app.name}: {item}: snapshot {snapshot[:8]}, {show_size(size)}", flush=True)
        except BackupError as problem:
            snapshot, size, error = None, 0, str(problem)
            print(f"app {app.name}: {item}: FAILED: {problem}", flush=True)
        results.append(ItemResult(item.kind, item.name, snapshot, size, round(time.monotonic() - started, 1), error))
    errors = [f"{result.kind} {result.name}: {result.error}" for result in results if result.error]
    if not errors:
        try:
            label = tags(app.name, Item("manifest", "manifest"), point, reason, release)
            _commit(host, app, point, label, results)
        except BackupError as problem:
            errors.append(f"manifest: {problem}")
            print(f"app {app.name}: manifest: FAILED: {problem}", flush=True)
    return AppResult(app.name, point, reason, iso_time(now()), tuple(results), "; ".join(errors) or None)


def _store(host: Host, app: App, item: Item, tag: str) -> dict[str, Any]:
    label = ["--json", "--quiet", "--host", host.config.host, "--tag", tag]
    if item.kind == "database":
        assert app.database is not None
        engine, container = ENGINES[app.database.engine], host.container(app)
        password = host.password(app, container)
        taken_over = [part for name in password for part in ("--env", name)]
        dump = ["docker", "exec", *taken_over, container, *engine.dump(app.database)]
        named = ["--stdin-filename", dump_name(app.name, app.database)]
        completed = host.restic("backup", *label, *named, "--stdin-from-command", "--", *dump, env=password)
    else:
        source = host.mountpoint(app, item.name)
        completed = host.restic("backup", *label, "--", source, accept=(0, 3))
        if completed.returncode == 3:
            # A file that vanished while it was read: usual in a live volume, and gone the second time.
            completed = host.restic("backup", *label, "--", source)
    return _summary(completed.stdout)


def _read_back(host: Host, app: App, snapshot: str) -> None:
    """A tool that failed without saying so has left a dump that no tool can read."""
    database = database_of(app)
    engine, container = ENGINES[database.engine], host.container(app)
    reader = ["docker", "exec", "--interactive", container, *engine.read_through()]
    read = host.restic_into(reader, "dump", snapshot, f"/{dump_name(app.name, database)}")
    if read.returncode != 0:
        words = " | ".join(line.strip() for line in read.stderr.splitlines() if line.strip())
        raise BackupError(f"The dump was stored, but cannot be read: {words or f'exit status {read.returncode}'}.")
    engine.tables(read.stdout)


def _commit(host: Host, app: App, point: str, tag: str, results: Sequence[ItemResult]) -> None:
    manifest = {"version": 1, "app": app.name, "point": point, "items": [result.__dict__ for result in results]}
    label = ["--json", "--quiet", "--host", host.config.host, "--tag", tag]
    with tempfile.TemporaryFile() as content:
        content.write(json.dumps(manifest).encode())
        content.seek(0)
        host.restic("backup", *label, "--stdin", "--stdin-filename", f"{app.name}-manifest.json", stdin=content)


def _summary(output: str) -> dict[str, Any]:
    for line in reversed(output.splitlines()):
        entry = json.loads(line)
        if entry.get("message_type") == "summary" and entry.get("snapshot_id"):
            return dict(entry)
    raise BackupError("restic backup: it ended without naming a snapshot; nothing is taken for stored.")


def forget_expired(host: Host) -> Sequence[Point]:
    """Remove the points that retention lets go, whole points only; returns the others."""
    found = points(host.snapshots())
    own = {app.name: app.retention for app in host.config.apps if app.retention is not None}
    gone = expired(found, host.config.retention, now(), own) if host.config.prune else ()
    if gone:
        ids = [snapshot.id for point in gone for snapshot in point.snapshots]
        host.restic("forget", "--quiet", "--prune", *ids)
        print(f"Removed {len(gone)} expired points: {', '.join(point.id for point in gone)}.", flush=True)
    return [point for point in found if point not in gone]


def _check(host: Host, status: dict[str, Any]) -> dict[str, Any]:
    if not check_due(status, host.config.check_interval_days, now()):
        return status
    error = None
    percent = host.config.check_read_percent
    try:
        host.restic("check", "--quiet", *([f"--read-data-subset={percent}%"] if percent else []))
        print("Repository checked.", flush=True)
    except BackupError as problem:
        error = str(problem)
        print(f"Repository check FAILED: {problem}", flush=True)
    return {**status, "check": {"finished": iso_time(now()), "read_percent": percent, "error": error}}


def initialise(host: Host) -> list[str]:
    """Make the password and the repository where they are missing; says what was made."""
    made: list[str] = []
    host.check_restic()
    password = host.config.password_file
    present = host.restic("cat", "config", "--no-lock", accept=(0, 10)) if os.path.exists(password) else None
    if present is None:
        if os.path.exists(os.path.join(host.config.repository, "config")):
            raise BackupError(
                f"The repository {host.config.repository} exists, but its password file {password} is gone; "
                "put back the copy you stored elsewhere, or give it as backup_password."
            )
        # Renamed only when the repository has it: a crash in between must not lose the password of a repository.
        fresh = Path(f"{password}.new")
        if not fresh.exists():
            write_atomic(fresh, token_urlsafe(32) + "\n", 0o400)
        host.restic("init", "--quiet", env={"RESTIC_PASSWORD_FILE": str(fresh)})
        os.replace(fresh, password)
        made += [f"password {password}", f"repository {host.config.repository}"]
    elif present.returncode == 10:
        host.restic("init", "--quiet")
        made.append(f"repository {host.config.repository}")
    write_atomic(made_marker(host), iso_time(now()) + "\n", 0o600)
    return made


def made_marker(host: Host) -> Path:
    """Tells role backup that the repository was made: should it vanish, no empty one quietly takes its place."""
    return host.state / f"made-{sha1(host.config.repository.encode()).hexdigest()}"
