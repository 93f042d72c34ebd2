# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restoring a recovery point: fetch and examine first, save what is there, then put back and verify."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daffathan_backup._backup.objectives import Measure
from daffathan_backup.backup import back_up, now
from daffathan_backup.engines import ENGINES
from daffathan_backup.host import Completed, Host
from daffathan_backup.model import App, BackupError, iso_time, show_size
from daffathan_backup.points import SAFETY, Point, RestoreStep, Snapshot, points
from daffathan_backup.status import status_after, status_after_restore


@dataclass(frozen=True)
class Options:
    exact: bool
    safety: bool


def restore(host: Host, app: App, point: Point, steps: Sequence[RestoreStep], options: Options) -> dict[str, Any]:
    """Put the items of a point back. Until everything is fetched and examined, nothing on the host is touched."""
    measures: dict[str, Measure] = {}
    outcome = {"app": app.name, "point": point.id, "started": iso_time(now()), "safety": None, "error": None}
    try:
        with tempfile.TemporaryDirectory(prefix="restore-", dir=host.state) as staging:
            _restore(host, app, steps, options, Path(staging), outcome, measures)
    except BackupError as error:
        outcome["error"] = str(error)
        raise
    except BaseException as error:
        outcome["error"] = f"interrupted: {type(error).__name__}"
        raise
    finally:
        outcome["finished"] = iso_time(now())
        host.write_status(status_after_restore(host.read_status(), outcome, measures))
    return outcome


def _restore(
    host: Host,
    app: App,
    steps: Sequence[RestoreStep],
    options: Options,
    staging: Path,
    outcome: dict[str, Any],
    measures: dict[str, Measure],
) -> None:
    database = next((step for step in steps if step.item.kind == "database"), None)
    volumes = [(step, host.mountpoint(app, step.item.name)) for step in steps if step.item.kind == "volume"]
    dump = staging / "database"
    expected: set[str] = set()
    began = time.monotonic()
    if database:
        _fetch(host, database.snapshot, dump)
        expected = _examine(host, app, dump)
        print(f"{database.item}: dump fetched and read, {len(expected)} tables", flush=True)
        _rehearse(host, app, dump)
    prepared = time.monotonic() - began
    if options.safety:
        outcome["safety"] = _save_current(host, app)
    try:
        if database:
            began = time.monotonic()
            _load(host, app, dump, outcome["safety"], staging)
            _verify(host, app, expected)
            measures[database.item.id] = Measure(database.snapshot.size, round(prepared + time.monotonic() - began, 1))
            print(f"{database.item}: restored, all {len(expected)} tables are there", flush=True)
        for step, mountpoint in volumes:
            began = time.monotonic()
            delete = ["--delete"] if options.exact else []
            source = f"{step.snapshot.id}:{step.snapshot.path}"
            host.restic("restore", "--quiet", "--json", "--verify", *delete, "--target", mountpoint, source)
            measures[step.item.id] = Measure(step.snapshot.size, round(time.monotonic() - began, 1))
            print(f"{step.item}: restored, content verified", flush=True)
    except BackupError as error:
        back = f" The state before is backup {outcome['safety']}." if outcome["safety"] else ""
        raise BackupError(f"{error}{back}") from None


def _fetch(host: Host, snapshot: Snapshot, target: Path) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < snapshot.size * 1.1:
        raise BackupError(
            f"{target.parent} has {show_size(free)} free, but the dump takes {show_size(snapshot.size)}; "
            "make room first."
        )
    with open(target, "xb") as file:
        os.fchmod(file.fileno(), 0o600)
        host.restic("dump", snapshot.id, snapshot.path, stdout=file)
    if target.stat().st_size != snapshot.size:
        raise BackupError(
            f"Snapshot {snapshot.id[:8]} gave {target.stat().st_size} bytes instead of {snapshot.size}; "
            "`daffathan-backup restic check --read-data` examines the repository."
        )


def _in_container(host: Host, app: App, argv: Sequence[str], env: dict[str, str], dump: Path | None) -> Completed:
    """Run a database tool in the database's container, with the dump as its standard input."""
    container = host.container(app)
    env = {**env, **host.password(app, container)}
    taken_over = [part for name in env for part in ("--env", name)]
    with ExitStack() as stack:
        stdin = stack.enter_context(open(dump, "rb")) if dump else None
        interactive = ["--interactive"] if dump else []
        return host.run(["docker", "exec", *interactive, *taken_over, container, *argv], env=env, stdin=stdin)


def _said(completed: Completed) -> str:
    lines = [line.strip() for line in completed.stderr.splitlines() if line.strip()]
    lines = [line for line in lines if re.search(r"error|fatal", line, re.IGNORECASE)] or lines
    return " | ".join(lines[-5:]) or f"exit status {completed.returncode}"


def _examine(host: Host, app: App, dump: Path) -> set[str]:
    assert app.database is not None
    engine = ENGINES[app.database.engine]
    completed = _in_container(host, app, engine.examine(), {}, dump)
    if completed.returncode != 0:
        raise BackupError(f"The dump cannot be read: {_said(completed)}. Nothing was changed; choose another snapshot.")
    return engine.tables(completed.stdout)


def _rehearse(host: Host, app: App, dump: Path) -> None:
    """Load the dump into a scratch database first, where a load that fails half-way could not be taken back."""
    assert app.database is not None
    engine = ENGINES[app.database.engine]
    rehearsal = engine.rehearsal(app.database)
    if rehearsal is None:
        return
    scratch, prepare, remove = rehearsal
    try:
        for argv in prepare:
            made = _in_container(host, app, argv, {}, None)
            if made.returncode != 0:
                raise BackupError(
                    f"The restore cannot be tried first in the database {scratch.name}: {_said(made)}. "
                    f"Nothing was changed. Let {app.database.user} use it (GRANT ALL ON `{scratch.name}`.* TO ...), "
                    "or set `backup.database.user` to an administrator."
                )
        loaded = _in_container(host, app, engine.load(scratch), {}, dump)
        if loaded.returncode != 0:
            raise BackupError(
                f"The dump cannot be loaded: {_said(loaded)}. "
                f"It was tried in the database {scratch.name}; nothing was changed."
            )
    finally:
        _in_container(host, app, remove, {}, None)
    print(f"database {app.database.name}: the dump loads, tried in {scratch.name}", flush=True)


def _save_current(host: Host, app: App) -> str:
    """A backup of what the restore is going to replace."""
    print("Backing up the present state first.", flush=True)
    result = back_up(host, app, SAFETY)
    host.write_status(status_after(host.read_status(), result))
    if not result.ok:
        raise BackupError(
            f"The backup of the present state failed: {result.error}. Nothing was changed. "
            "If the present state is lost anyway, restore without it (--no-safety, backup_restore_safety: false)."
        )
    return result.point


def _load(host: Host, app: App, dump: Path, safety: str | None, staging: Path) -> None:
    assert app.database is not None
    engine = ENGINES[app.database.engine]
    loaded = _in_container(host, app, engine.load(app.database), dict(engine.load_environment), dump)
    if loaded.returncode == 0:
        return
    problem = f"The database was not restored: {_said(loaded)}."
    if engine.transactional:
        raise BackupError(f"{problem} It was one transaction: the old data are in place.")
    if safety is None:
        raise BackupError(f"{problem} The database may now hold a mixture; restore it again.")
    before = next(point for point in points(host.snapshots(app.name)) if point.id == safety)
    snapshot = next(snapshot for item, snapshot in before.items.items() if item.kind == "database")
    again = staging / "before"
    _fetch(host, snapshot, again)
    undone = _in_container(host, app, engine.load(app.database), {}, again)
    if undone.returncode == 0:
        raise BackupError(f"{problem} The old data were put back.")
    raise BackupError(f"{problem} Putting the old data back failed as well: {_said(undone)}.")


def _verify(host: Host, app: App, expected: set[str]) -> None:
    """Ask the server, not the exit status, whether the tables of the dump are there."""
    assert app.database is not None
    completed = _in_container(host, app, ENGINES[app.database.engine].list_tables(app.database), {}, None)
    missing = expected - set(completed.stdout.splitlines())
    if completed.returncode != 0 or missing:
        raise BackupError(
            f"After the restore the server does not show {', '.join(sorted(missing)) or _said(completed)}."
        )
