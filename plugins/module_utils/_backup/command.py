# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The command of role backup on this host: the one place that knows the repository and its secrets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._backup.model import (
    COMMAND,
    CONFIG,
    SET_UP,
    BackupError,
    RecoveryPoint,
    Request,
    arguments,
    check_app,
    explain,
    lacking,
    parse_list,
    parse_objectives_of,
    parse_point,
)
from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError, run
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import read_text

# Seconds that the command has beyond its own time to end by itself, and to tell why.
GRACE = 120


class NotSetUp(BackupError):
    """Role backup has not run on this host."""


def lacking_here(app: str) -> str | None:
    """Why no point of the app can be made on this host; None where one can."""
    return lacking(app, read_text(CONFIG) if os.path.exists(COMMAND) else None)


def make_point(request: Request, *, dry_run: bool = False) -> RecoveryPoint:
    """Make the point, waiting for a backup that is under way. BackupError where there is no point that can be restored.

    :param dry_run: only look whether the repository answers and the database runs; the point has no id then
    """
    point = parse_point(_run(arguments(request, dry_run=dry_run), request.timeout + GRACE))
    if not dry_run and not point.id:
        raise BackupError(f"{COMMAND} named no point; nothing is taken for made.")
    return point


def list_points(app: str | None) -> Sequence[dict[str, Any]]:
    which = ["--app", check_app(app)] if app is not None else []
    return parse_list(_run([COMMAND, "list", "--json", *which], 600), datetime.now(timezone.utc))


def list_objectives(app: str | None) -> list[dict[str, Any]]:
    return parse_objectives_of(_run([COMMAND, "status", "--json"], 600), app)


def _run(argv: Sequence[str], timeout: int) -> str:
    if not os.path.exists(COMMAND):
        raise NotSetUp(f"backups are not set up on this host: there is no {COMMAND}. {SET_UP}")
    try:
        done = run(argv, timeout=timeout, check=False)
    except CommandError as error:
        raise BackupError(str(error)) from error
    if done.rc != 0:
        raise BackupError(explain(done.rc, done.stdout, done.stderr))
    return done.stdout
