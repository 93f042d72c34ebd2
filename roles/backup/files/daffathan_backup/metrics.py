# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status as metrics of Prometheus. No process, no file, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from daffathan_backup._common.prometheus import Sample, family
from daffathan_backup.model import parse_time


def render(view: Mapping[str, Any]) -> str:
    """What `status --json` prints, as far as it is numbers; what is not known has no sample."""
    apps, check = view["apps"], view["check"] or {}
    items = [
        ({"app": app, "item": item}, facts)
        for app, entry in apps.items()
        for item, facts in entry.get("recoverable", {}).items()
    ]
    stored = [
        ({"app": app, "item": item}, measure)
        for app, entry in apps.items()
        for item, measure in entry.get("backups", {}).items()
    ]
    scopes = [
        ({"app": app, "scope": objective["scope"]}, objective)
        for app, entry in apps.items()
        for objective in entry["objectives"]
    ]
    lines = [
        *_times("last_recoverable_point", "Time of the newest data that can be restored.", items, "newest"),
        *_times("oldest_recoverable_point", "Time of the oldest data that can be restored.", items, "oldest"),
        *_numbers("recoverable_points", "Complete recovery points.", items, "points"),
        *_numbers("size_bytes", "Size of the content at the last backup of it.", stored, "bytes"),
        *_numbers("duration_seconds", "How long the last backup of it took.", stored, "seconds"),
        *_family("rpo_objective_seconds", "Data that may be lost, as declared.", _strictest(apps, "rpo")),
        *_family("rpo_worst_seconds", "Data that the schedule can lose.", _strictest(apps, "rpo_worst")),
        *_numbers("rto_objective_seconds", "Time that a restore may take, as declared.", scopes, "rto"),
        *_numbers("rto_expected_seconds", "Time that a restore is expected to take.", scopes, "rto_expected"),
        *_family(
            "success",
            "1 if the last attempt stored all of the app.",
            [({"app": app}, entry["state"] == "ok") for app, entry in apps.items() if entry["state"] != "never"],
        ),
        *_family("run_success", "1 if the last run, or the one under way, has no error.", [({}, not view["error"])]),
        *_times("last_run", "When the last run ended.", [({}, view)], "finished"),
        *_family("check_success", "1 if the last check of the repository found it whole.", _checked(check)),
        *_times("last_check", "When the repository was last checked.", [({}, check)], "finished"),
    ]
    return "\n".join(lines) + "\n"


def _family(name: str, text: str, samples: Iterable[Sample]) -> list[str]:
    return family(f"daffathan_backup_{name}", text, samples)


Facts = Iterable[tuple[Mapping[str, str], Mapping[str, Any]]]


def _numbers(name: str, text: str, facts: Facts, key: str) -> list[str]:
    return _family(name, text, [(labels, one[key]) for labels, one in facts if one[key] is not None])


def _times(name: str, text: str, facts: Facts, key: str) -> list[str]:
    known = [(labels, one[key]) for labels, one in facts if one.get(key)]
    return _family(f"{name}_timestamp_seconds", text, [(labels, parse_time(at).timestamp()) for labels, at in known])


def _strictest(apps: Mapping[str, Any], key: str) -> list[Sample]:
    """The least value by item, since more than one objective can be about it."""
    found: dict[tuple[str, str], float] = {}
    for app, entry in apps.items():
        for objective in entry["objectives"]:
            for item in objective["covers"] if objective[key] is not None else ():
                found[app, item] = min(objective[key], found.get((app, item), objective[key]))
    return [({"app": app, "item": item}, value) for (app, item), value in found.items()]


def _checked(check: Mapping[str, Any]) -> list[Sample]:
    return [({}, not check["error"])] if check else []
