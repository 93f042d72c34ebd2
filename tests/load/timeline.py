# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The journals of many deploys laid over the load that went on meanwhile. Pure; times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.load.report import OK, percentiles

SWITCH, ROLL, DEPLOY, STEADY = "switch", "roll", "deploy", "steady"
# What a switch leaves behind in queues shows in the requests that follow.
AFTER = 1.0
# Until processor and disk have come to rest after a deploy.
REST = 5.0


@dataclass(frozen=True)
class Span:
    begin: float
    end: float

    def has(self, at: float) -> bool:
        return self.begin <= at <= self.end


def at(line: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(str(line["at"])).timestamp()


def spans(lines: Sequence[Mapping[str, Any]], first: str, last: str) -> list[Span]:
    """From the begin of each step `first` to the end of the step `last` that follows it."""
    found: list[Span] = []
    begun: float | None = None
    for line in lines:
        if (line["step"], line["event"]) == (first, "begin"):
            begun = at(line)
        elif begun is not None and (line["step"], line["event"]) == (last, "done"):
            found.append(Span(begun, at(line)))
            begun = None
    return found


def switches(lines: Sequence[Mapping[str, Any]]) -> list[Span]:
    """Each time that requests went another way; a step of a canary is one."""
    found = spans(lines, "shift", "fence") + spans(lines, "canary", "canary")
    return [Span(span.begin, span.end + AFTER) for span in found]


def phases(deploys: Sequence[Span], lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, Span]]:
    """What went on when, the narrowest first. A deploy is its command, from start to end, and a little rest."""
    return [
        *((SWITCH, span) for span in switches(lines)),
        *((ROLL, Span(span.begin, span.end + AFTER)) for span in spans(lines, "roll", "roll")),
        *((DEPLOY, Span(span.begin, span.end + REST)) for span in deploys),
    ]


def latencies(
    samples: Iterable[str], started: float, found: Sequence[tuple[str, Span]], kind: str
) -> dict[str, dict[str, float]]:
    """Percentiles of the good answers of one kind, by what went on when the request was due.

    :param samples: the lines of the generator's file, and `started` when its times begin
    :param found: what went on; of two at a time, that which is named first in the list
    """
    ordered = sorted(found, key=lambda entry: entry[1].begin)
    rank = list(dict.fromkeys([*(name for name, _ in found), STEADY]))
    values: dict[str, list[float]] = {name: [] for name in rank}
    open_: list[tuple[str, Span]] = []
    place = 0
    rows = (line.split(",") for line in samples)
    for due, took in sorted(
        (started + float(row[0]), float(row[3])) for row in rows if (row[1], row[4].strip()) == (kind, OK)
    ):
        while place < len(ordered) and ordered[place][1].begin <= due:
            open_.append(ordered[place])
            place += 1
        open_ = [entry for entry in open_ if due <= entry[1].end]
        values[min((name for name, _ in open_), key=rank.index, default=STEADY)].append(took / 1000)
    return {name: {**percentiles(seconds), "requests": len(seconds)} for name, seconds in values.items()}


def early(ends: Iterable[float], lines: Sequence[Mapping[str, Any]], grace: float) -> list[float]:
    """The ends of held connections that no release was due for: it is told to end once its grace has passed."""
    due = [*spans(lines, "drain", "stop"), *spans(lines, "roll", "roll")]
    due = [Span(span.begin + grace, span.end + AFTER) for span in due]
    return [end for end in ends if not any(span.has(end) for span in due)]
