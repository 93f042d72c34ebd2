# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""A recovery point: what is asked of the command of role backup, and what its answer means. No process, no file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

COMMAND = "/usr/local/sbin/daffathan-backup"
CONFIG = "/etc/daffathan/backup.json"
STATUS = "/var/lib/daffathan/backup/status.json"
SET_UP = "Give the app a `backup.database` in `apps`, and run role daffathan.platform.backup (playbooks/site.yml)."

APP = re.compile(r"[a-z][a-z0-9-]{0,30}")
REASON = re.compile(r"[a-z][a-z0-9-]{0,30}")
RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
RESERVED = ("manual", "safety", "scheduled")


class BackupError(Exception):
    """What is wrong and what to do, for a person to read."""


class InputError(BackupError):
    """An option asks for something that cannot be; nothing was changed."""


@dataclass(frozen=True)
class Request:
    """A point to be made now. `timeout` is in seconds, with the wait for a run that is under way."""

    app: str
    reason: str
    release: str | None = None
    timeout: int = 3600


@dataclass(frozen=True)
class RecoveryPoint:
    """A time to which the databases of an app can be taken back."""

    id: str
    app: str
    time: str
    bytes: int
    databases: tuple[str, ...]
    seconds: float
    reason: str
    release: str | None = None

    def to_json(self) -> dict[str, Any]:
        return dict(asdict(self), databases=list(self.databases))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RecoveryPoint:
        return cls(**dict(data, databases=tuple(data["databases"])))

    @property
    def restore(self) -> str:
        """What a person runs to get its data back."""
        wanted = {"app": self.app, "snapshot": self.id, "parts": "database", "confirm": self.app}
        return " ".join(["ansible-playbook playbooks/restore.yml", *(f"-e {key}={wanted[key]}" for key in wanted)])


def parse_request(options: Mapping[str, Any]) -> Request:
    """The point that the module's options ask for, or InputError with the first thing that is wrong."""
    check_app(options["app"])
    for key, pattern, example in (("reason", REASON, "before-import"), ("release", RELEASE, "1.2")):
        value = options.get(key)
        if value is not None and not pattern.fullmatch(value):
            raise InputError(f"{key}: {value!r} does not match {pattern.pattern}. Write for example {example}.")
    if options["reason"] in RESERVED:
        raise InputError(
            f"reason: {options['reason']!r} is how role backup tells its own backups, which are chosen and kept by it. "
            "Use another word, for example before-import."
        )
    if not 1 <= options["timeout"] <= 86400:
        raise InputError(f"timeout: {options['timeout']} is not a number from 1 to 86400.")
    return Request(options["app"], options["reason"], options.get("release"), options["timeout"])


def check_app(name: str) -> str:
    if not APP.fullmatch(name):
        raise InputError(f"app: {name!r} does not match {APP.pattern}. Write for example my-app.")
    return name


def arguments(request: Request, *, dry_run: bool) -> list[str]:
    """The command that makes the point, or looks whether it could be made. There is no secret in it."""
    argv = [COMMAND, "point", "--app", request.app, "--reason", request.reason, "--timeout", str(request.timeout)]
    argv += ["--release", request.release] if request.release else []
    return [*argv, "--dry-run"] if dry_run else argv


def lacking(app: str, config: str | None) -> str | None:
    """Why no point of the app can be made on a host with this configuration; None where one can."""
    if config is None:
        return f"backups are not set up on this host. {SET_UP}"
    try:
        apps = {entry["name"]: entry["backup"] for entry in json.loads(config)["apps"]}
        databases = {name for name, backup in apps.items() if backup.get("database")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{CONFIG} cannot be read ({error!r}). Run role daffathan.platform.backup again (playbooks/site.yml)."
    if app not in databases:
        there = ", ".join(sorted(databases)) or "none"
        return f"no database of {app} is backed up on this host (apps with one: {there}). {SET_UP}"
    return None


def parse_point(output: str) -> RecoveryPoint:
    """The point that the command has made: the last line it printed. Anything else is no point."""
    last = (output.strip().splitlines() or [""])[-1]
    try:
        said = json.loads(last)
        return RecoveryPoint(
            id=str(said["point"] or ""),
            app=said["app"],
            time=said.get("time") or "",
            bytes=int(said.get("bytes") or 0),
            databases=tuple(said["databases"]),
            seconds=float(said.get("seconds") or 0),
            reason=said["reason"],
            release=said["release"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(
            f"{COMMAND} ended well without telling of a point (its last line was {last!r}); nothing is taken for made. "
            "Run role daffathan.platform.backup again (playbooks/site.yml)."
        ) from error


def explain(status: int, stdout: str, stderr: str) -> str:
    """Why the command failed, as it told."""
    if status == 2 and "invalid choice: 'point'" in stderr:
        return (
            f"{COMMAND} on this host is older than this collection. Run role daffathan.platform.backup again "
            "(playbooks/site.yml)."
        )
    words = stderr.strip() or stdout.strip() or "it said nothing"
    text = " | ".join(
        line.strip().removeprefix("daffathan-backup: ") for line in words.splitlines()[-5:] if line.strip()
    )
    return text if status == 1 else f"{text} (exit status {status})"


def parse_objectives_of(output: str, app: str | None) -> list[dict[str, Any]]:
    """The objectives in the status of the host, of one app or of all."""
    try:
        apps = json.loads(output)["apps"]
        return [told for name in apps if app in (None, name) for told in apps[name]["objectives"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError(
            f"{COMMAND} status gave what cannot be read: {error!r}. Run role daffathan.platform.backup again "
            "(playbooks/site.yml)."
        ) from error


def parse_list(output: str, now: datetime) -> Sequence[dict[str, Any]]:
    """The points of a repository, the oldest first, each with its age."""
    try:
        return [
            {
                "id": point["point"],
                "app": point["app"],
                "time": point["time"],
                "age": int((now - datetime.fromisoformat(point["time"])).total_seconds()),
                "reason": point["reason"],
                "release": point.get("release"),
                "complete": point["complete"],
                "bytes": point["bytes"],
                "snapshots": dict(point["items"]),
            }
            for point in json.loads(output)
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{COMMAND} list gave what cannot be read: {error!r}. Run role backup again.") from error
