# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verbs of daffathan-backup."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from daffathan_backup import backup
from daffathan_backup.host import Host, load_config, write_atomic
from daffathan_backup.metrics import render
from daffathan_backup.model import BackupError, iso_time, parse_time, show_size, show_time
from daffathan_backup.points import (
    Point,
    RestoreStep,
    check_labels,
    describe_restore,
    describe_run,
    plan_restore,
    points,
    select_point,
    select_time,
    wanted_items,
)
from daffathan_backup.restore import Options, restore
from daffathan_backup.status import describe_objective, view_status

CONFIG = "/etc/daffathan/backup.json"
WAIT = 3600


class Parser(argparse.ArgumentParser):
    """Takes options only in full: an abbreviation could come to mean another one."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(allow_abbrev=False, **keywords)


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="daffathan-backup", description="Backups of the apps of this host.")
    top.add_argument("--config", default=CONFIG, help=f"configuration ({CONFIG})")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser("run", help="back up all apps, or one")
    run.add_argument("--app", help="only this app")
    run.add_argument("--reason", default="manual", choices=["manual", "scheduled"], help="kept with the backup")
    run.add_argument("--dry-run", action="store_true", help="say what would be backed up")
    point = verbs.add_parser("point", help="a recovery point of the database of an app, read back before it counts")
    point.add_argument("--app", required=True)
    point.add_argument("--reason", default="on-request", help="kept with the point (on-request)")
    point.add_argument("--release", help="the release it is made for, kept with the point")
    point.add_argument("--timeout", type=int, default=WAIT, help=f"seconds it may take, with all waiting ({WAIT})")
    point.add_argument("--dry-run", action="store_true", help="see whether it could be made")
    show = verbs.add_parser("list", help="the backups in the repository")
    show.add_argument("--app", help="only this app")
    show.add_argument("--json", action="store_true")
    back = verbs.add_parser("restore", help="put back a backup of an app; the present state is backed up first")
    back.add_argument("--app", required=True)
    which = back.add_mutually_exclusive_group()
    which.add_argument("--snapshot", default="latest", help="id of a backup or of one of its snapshots (latest)")
    which.add_argument("--at", metavar="TIME", help="the last backup that ended by then, as 2026-01-31T03:00:00Z")
    back.add_argument("--database", action="store_true", help="only the database")
    back.add_argument("--volumes", action="store_true", help="only the volumes")
    back.add_argument("--exact", action="store_true", help="also delete files that the backup does not hold")
    back.add_argument("--no-safety", action="store_true", help="do not back up the present state first")
    back.add_argument("--dry-run", action="store_true", help="say what would be restored")
    status = verbs.add_parser("status", help="the outcome of the last runs")
    status.add_argument("--json", action="store_true")
    verbs.add_parser("init", help="make the password and the repository where they are missing")
    verbs.add_parser("verify", help="open the repository with the password")
    verbs.add_parser("validate", help="check the configuration alone")
    raw = verbs.add_parser("restic", help="restic on this repository: daffathan-backup restic -- snapshots")
    raw.add_argument("arguments", nargs=argparse.REMAINDER)
    return top


def do_run(host: Host, options: argparse.Namespace) -> int:
    apps = [host.config.app(options.app)] if options.app else list(host.config.apps)
    if options.dry_run:
        print("\n".join(describe_run(apps)) or "No app has a `backup:` key.")
        return 0
    if not apps:
        print("Nothing to back up: no app has a `backup:` key.")
    with host.lock(WAIT):
        return 0 if backup.run(host, apps, options.reason) else 1


def do_point(host: Host, options: argparse.Namespace) -> int:
    app = host.config.app(options.app)
    check_labels(options.reason, options.release)
    database = backup.database_of(app)
    facts = {"app": app.name, "reason": options.reason, "release": options.release, "databases": [database.name]}
    began = time.monotonic()
    if options.dry_run:
        host.check_repository()
        host.container(app)
        print(json.dumps({**facts, "point": None}))
        return 0

    def overdue(*_: object) -> None:
        raise BackupError(f"it was not done within {options.timeout} s; allow it more time.")

    with host.lock(options.timeout):
        signal.signal(signal.SIGALRM, overdue)
        signal.alarm(max(1, options.timeout - int(time.monotonic() - began)))
        at = iso_time(backup.now())
        result = backup.take_point(host, app, options.reason, options.release)
        signal.alarm(0)
    if not result.ok:
        raise BackupError(f"The recovery point of app {app.name!r} was not made: {result.error}")
    size, seconds = sum(item.bytes for item in result.items), round(time.monotonic() - began, 1)
    print(json.dumps({**facts, "point": result.point, "time": at, "bytes": size, "seconds": seconds}))
    return 0


def do_list(host: Host, options: argparse.Namespace) -> int:
    found = points(host.snapshots(options.app))
    if options.json:
        rows = [
            {
                "point": point.id,
                "app": point.app,
                "time": point.time.isoformat(),
                "reason": point.reason,
                "release": point.release,
                "complete": point.complete,
                "bytes": point.size,
                "items": {item.id: snapshot.id for item, snapshot in point.items.items()},
            }
            for point in found
        ]
        print(json.dumps(rows, indent=2))
        return 0
    for point in found:
        state = "complete" if point.complete else "INCOMPLETE"
        items = ", ".join(str(item) for item in point.items)
        columns = (point.id, point.app, show_time(point.time), show_size(point.size), state, point.reason, items)
        print("  ".join(columns))
    return 0


def do_restore(host: Host, options: argparse.Namespace) -> int:
    app = host.config.app(options.app)
    wanted = wanted_items(app, database=options.database, volumes=options.volumes)
    at = parse_time(options.at) if options.at else None

    def planned() -> tuple[Point, Sequence[RestoreStep]]:
        found, now = points(host.snapshots(app.name)), backup.now()
        point = (
            select_point(found, app.name, options.snapshot) if at is None else select_time(found, app, at, wanted, now)
        )
        steps = plan_restore(app, point, wanted)
        print("\n".join(describe_restore(app, point, steps, now=now, at=at)), flush=True)
        return point, steps

    if options.dry_run:
        planned()
        return 0
    with host.lock(WAIT):
        restore(host, app, *planned(), Options(exact=options.exact, safety=not options.no_safety))
    return 0


def view(host: Host) -> dict[str, Any]:
    return view_status(host.read_status(), host.config, host.schedule(), backup.now(), running=host.running())


def write_metrics(host: Host) -> None:
    """For the monitoring. That they cannot be written is no failure of a backup."""
    path = host.config.metrics_file
    try:
        if path is not None:
            write_atomic(Path(path), render(view(host)), 0o644)
    except (BackupError, OSError) as error:
        print(f"daffathan-backup: the metrics were not written: {error}", file=sys.stderr)


def do_status(host: Host, options: argparse.Namespace) -> int:
    told = view(host)
    if options.json:
        print(json.dumps(told, indent=2))
        return 0
    print(f"state: {told['state']}" + (f" ({told['error']})" if told["error"] else ""))
    for name, entry in told["apps"].items():
        success = entry.get("last_success")
        last = f"last backup {success['point']}, {show_size(success['bytes'])}" if success else "no backup yet"
        error = (entry.get("last_attempt") or {}).get("error")
        print(f"app {name}: {entry['state']}, {last}" + (f"; last error: {error}" if error else ""))
        for objective in entry["objectives"]:
            print("  " + describe_objective(objective))
    return 0


def do_init(host: Host) -> int:
    with host.lock(WAIT):
        made = backup.initialise(host)
    print(json.dumps({"changed": bool(made), "made": made}))
    return 0


def do_verify(host: Host) -> int:
    host.check_repository()
    return 0


def do_restic(host: Host, options: argparse.Namespace) -> int:
    arguments = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    os.execve(host.config.restic, [host.config.restic, *arguments], {**os.environ, **host.restic_environment()})


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    # systemd ends a unit with SIGTERM: the status has to say that the run did not come to its end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        config = load_config(options.config)
        if options.verb == "validate":
            return 0
        host = Host(config)
        if options.verb in {"init", "verify"}:
            return do_init(host) if options.verb == "init" else do_verify(host)
        verbs = {
            "run": do_run,
            "point": do_point,
            "list": do_list,
            "restore": do_restore,
            "status": do_status,
            "restic": do_restic,
        }
        try:
            return verbs[options.verb](host, options)
        finally:
            if options.verb in {"run", "point", "restore"} and not options.dry_run:
                write_metrics(host)
    except BackupError as error:
        print(f"daffathan-backup: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
