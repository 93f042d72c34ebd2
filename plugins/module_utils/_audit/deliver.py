# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The outcome of an audit written to files, in the form that their readers want."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._audit import metrics, report, sarif
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    InputError,
    Outcome,
    clean,
    failing,
)
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import read_text, write_atomic

FORMATS = ("table", "json", "sarif", "metrics")


@dataclass(frozen=True)
class Report:
    """A file to write, and the option that names it to the caller."""

    format: str
    path: str
    option: str


@dataclass(frozen=True)
class Clock:
    """When an audit ended, in seconds since the epoch, and how long it took."""

    finished: float
    duration: float


def render(kind: str, outcome: Outcome, threshold: str, clock: Clock) -> str:
    """The outcome in one of the formats."""
    if kind == "sarif":
        return sarif.render(outcome.findings, os.getcwd())
    if kind == "metrics":
        return metrics.render(
            outcome.findings,
            outcome.reachable or [],
            success=not failing(outcome.findings, threshold),
            finished=clock.finished,
            duration=clock.duration,
        )
    return report.as_json(outcome) if kind == "json" else report.text(outcome)


def check(reports: Iterable[Report]) -> None:
    """Refuse a report that could not be written, before the audit takes its time."""
    for wanted in reports:
        directory = os.path.dirname(wanted.path) or "."
        if os.path.isdir(wanted.path) or not os.path.isdir(directory):
            what = "is a directory" if os.path.isdir(wanted.path) else f"cannot be written, there is no {directory}"
            raise InputError(f"{wanted.option}: {wanted.path} {what}. Name a file in a directory that exists.")


def write(reports: Iterable[Report], outcome: Outcome, threshold: str, clock: Clock, *, dry: bool) -> list[str]:
    """Write what differs; returns the paths whose content says something else than before.

    Metrics are written in every run, because they tell when that was.
    """
    changed = []
    for wanted in reports:
        kind, path = wanted.format, wanted.path
        content = render(kind, outcome, threshold, clock)
        try:
            present = read_text(path)
            if kind == "metrics":
                differs = present is None or metrics.lasting(present) != metrics.lasting(content)
            else:
                differs = present != content
            if differs:
                changed.append(path)
            if not dry and (differs or kind == "metrics"):
                write_atomic(path, content, mode=0o644)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{wanted.option}: {path} cannot be written: {clean(error)}.") from None
    return changed
