# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""How far apart the runs of a timer of systemd can be, and how old the newest backup can become with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

# Enough to see, around a change of the clocks, a week of a timer that runs every minute.
ITERATIONS = 20000
WEEK = timedelta(days=8)
# systemd knows no time after the year 2199: a schedule that it follows until then has no end.
LAST_YEAR = 2190
_TIME = re.compile(r"(?:elapse|#\d+|UTC\)): \w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)? UTC$", re.MULTILINE)
Ask = Callable[[Sequence[str]], str]


@dataclass(frozen=True)
class Schedule:
    """A timer and the unit it starts; times in seconds.

    :param event: the calendar event. :param gap: the longest time between two of them; None where there is a last one
    :param jitter: how much later a run may start. :param timeout: after that a run is ended, and has failed
    """

    event: str
    gap: int | None
    jitter: int
    timeout: int

    @property
    def worst(self) -> int | None:
        """The age that the data of the newest backup can reach, as long as no run fails; None where it has no bound.

        A backup has the data of the moment when its run began, and counts when the run has ended. A run that takes
        longer than the gap is followed by the next at once.
        """
        return None if self.gap is None else max(self.gap + self.jitter, self.timeout) + self.timeout


def largest_gap(event: str, ask: Ask, now: datetime) -> int | None:
    """The longest time between two runs within the next year; None where there is a last run.

    When clocks are put back, an event in local time waits an hour more; when they are put forward, one in the hour that
    is left out does not happen. So both days are looked at, however far away they are.

    :param ask: runs a command and returns what it printed
    """
    gaps: list[float] = []
    seen = now
    for begin in (now, *(change - WEEK for change in clock_changes(now))):
        if begin < seen:
            continue
        since = begin.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
        argv = ["systemd-analyze", "calendar", f"--base-time={since}", f"--iterations={ITERATIONS}", event]
        times = [begin, *parse_times(ask(argv))]
        if len(times) <= ITERATIONS and times[-1].year < LAST_YEAR:
            return None
        gaps += [(late - early).total_seconds() for early, late in zip(times, times[1:])]
        seen = times[-1] - WEEK - timedelta(days=2)
    return round(max(gaps))


def parse_times(output: str) -> list[datetime]:
    """The times in the output of `systemd-analyze calendar`: each in local time and, if that differs, in UTC."""
    return [datetime.fromisoformat(text).replace(tzinfo=timezone.utc) for text in _TIME.findall(output)]


def clock_changes(now: datetime) -> Iterable[datetime]:
    """When the clocks of this host change within the next year, to the hour."""
    offset = now.astimezone().utcoffset()
    for hours in range(1, 366 * 24):
        time = now + timedelta(hours=hours)
        if time.astimezone().utcoffset() != offset:
            offset = time.astimezone().utcoffset()
            yield time
