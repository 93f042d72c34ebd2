# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of the backups: what is recorded after a run, and how it is judged. No process, no file, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from daffathan_backup._backup.durations import show_duration
from daffathan_backup._backup.objectives import Measure, assess, parse_known
from daffathan_backup._backup.schedule import Schedule
from daffathan_backup.model import Config, iso_time, item_id, parse_time
from daffathan_backup.points import REGULAR, point_time


@dataclass(frozen=True)
class ItemResult:
    kind: str
    name: str
    snapshot: str | None
    bytes: int
    seconds: float
    error: str | None

    @property
    def id(self) -> str:
        return item_id(self.kind, self.name)


@dataclass(frozen=True)
class AppResult:
    app: str
    point: str
    reason: str
    finished: str
    items: tuple[ItemResult, ...]
    error: str | None

    @property
    def ok(self) -> bool:
        return self.error is None


def status_after(status: Mapping[str, Any], result: AppResult) -> dict[str, Any]:
    """The status with the outcome of one app; a failure keeps what is known of the last success."""
    regular = result.ok and result.reason in REGULAR
    # What the app no longer has is not known of it any more.
    backups = {} if regular else dict(status.get("apps", {}).get(result.app, {}).get("backups", {}))
    good = [item for item in result.items if item.error is None]
    backups.update({item.id: asdict(Measure(item.bytes, item.seconds)) for item in good})
    changes: dict[str, Any] = {"last_attempt": _told(result), "backups": backups}
    if regular:
        changes["last_success"] = {
            "point": result.point,
            "finished": result.finished,
            "bytes": sum(item.bytes for item in result.items),
            "snapshots": {item.id: item.snapshot for item in result.items},
        }
    return _with(status, result.app, changes)


def status_after_point(status: Mapping[str, Any], result: AppResult) -> dict[str, Any]:
    """The status with a point that was made on an occasion, which makes no failed schedule good and no good one bad."""
    changes: dict[str, Any] = {"last_point": _told(result)}
    if result.ok:
        known = dict(status.get("apps", {}).get(result.app, {}).get("recoverable", {}))
        for item in result.items:
            time, before = iso_time(point_time(result.point)), known.get(item.id, {})
            known[item.id] = {"oldest": time, **before, "points": before.get("points", 0) + 1, "newest": time}
        changes["recoverable"] = known
    return _with(status, result.app, changes)


def status_after_listing(status: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The status with what the repository holds; an app of which it holds nothing has nothing."""
    changed = dict(status)
    for app in {*status.get("apps", {}), *found}:
        changed = _with(changed, app, {"recoverable": found.get(app, {})})
    return changed


def status_after_restore(
    status: Mapping[str, Any], outcome: Mapping[str, Any], measures: Mapping[str, Measure]
) -> dict[str, Any]:
    """The status with a restore, and how long each item took that was restored."""
    app = outcome["app"]
    restores = {**status.get("apps", {}).get(app, {}).get("restores", {})}
    restores.update({item: asdict(measure) for item, measure in measures.items()})
    return _with({**status, "last_restore": dict(outcome)}, app, {"restores": restores})


def _told(result: AppResult) -> dict[str, Any]:
    return {
        "point": result.point,
        "reason": result.reason,
        "finished": result.finished,
        "error": result.error,
        "items": [asdict(item) for item in result.items],
    }


def _with(status: Mapping[str, Any], app: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    apps = dict(status.get("apps", {}))
    return {**status, "apps": {**apps, app: {**apps.get(app, {}), **changes}}}


def view_status(
    status: Mapping[str, Any], config: Config, schedule: Schedule, now: datetime, *, running: bool
) -> dict[str, Any]:
    """What `status --json` prints: the recorded facts, judged."""
    recorded = status.get("apps", {})
    apps: dict[str, Any] = {}
    for app in config.apps:
        entry = dict(recorded.get(app.name, {}))
        attempt, success = entry.get("last_attempt"), entry.get("last_success")
        entry["state"] = "never" if attempt is None else "failed" if attempt["error"] else "ok"
        entry["age_seconds"] = int((now - parse_time(success["finished"])).total_seconds()) if success else None
        known = parse_known(entry)
        entry["objectives"] = [assess(objective, schedule, known).to_json() for objective in app.objectives]
        apps[app.name] = entry
    states = {entry["state"] for entry in apps.values()}
    interrupted = status.get("started") is not None and not running
    if running:
        state = "running"
    elif status.get("error") or "failed" in states or (status.get("check") or {}).get("error"):
        state = "failed"
    elif interrupted:
        state = "interrupted"
    elif not apps:
        state = "empty"
    else:
        state = "never" if "never" in states else "ok"
    return {
        "state": state,
        "host": config.host,
        "repository": config.repository,
        "password_file": config.password_file,
        "error": status.get("error"),
        "finished": status.get("finished"),
        "check": status.get("check"),
        "last_restore": status.get("last_restore"),
        "apps": apps,
    }


def describe_objective(told: Mapping[str, Any]) -> str:
    """One objective of the view, in one line."""
    rpo = show_duration(told["rpo_worst"]) if told["rpo_worst"] is not None else "without a bound"
    rto = show_duration(told["rto_expected"]) if told["rto_expected"] is not None else "not known yet"
    parts = []
    for key, text in (("rpo", f"RPO {rpo} at worst"), ("rto", f"RTO {rto} expected")):
        declared, verdict = told[key], "met" if told[f"{key}_met"] else "NOT MET"
        parts.append(text + (f" (declared {show_duration(declared)}: {verdict})" if declared is not None else ""))
    return f"{', '.join(told['covers'])}: {', '.join(parts)}"


def check_due(status: Mapping[str, Any], interval_days: int, now: datetime) -> bool:
    """Whether the repository's structure is to be checked after this run; a failed check is repeated at once."""
    check = status.get("check")
    return not check or bool(check.get("error")) or now - parse_time(check["finished"]) >= timedelta(days=interval_days)
