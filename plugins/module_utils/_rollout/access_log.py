# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The gateway's access log: which of its lines belong to a window of time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

# In front of all that a client can choose.
_MOMENT = re.compile(rb'\{"time":"[^"]*","msec":(\d+(?:\.\d+)?),')


def attempts(text: str) -> list[str]:
    """The values of a variable of nginx that has one for each server it tried."""
    return [part.strip() for part in text.replace(" : ", ",").split(",")]


def moment(line: bytes) -> float | None:
    """When a line was written, in seconds since 1970; None where it does not say."""
    found = _MOMENT.match(line)
    return float(found[1]) if found is not None else None


class Lines:
    """The whole lines of a file that is read in pieces while it grows."""

    def __init__(self) -> None:
        self._rest = b""

    def split(self, piece: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return lines


class Reader:
    """Gives each line of a window to `count`. Where the window begins is a place in the log, found once."""

    def __init__(self, since: datetime, until: datetime | None = None) -> None:
        """:param until: lines behind this moment are not asked for"""
        self._begin = since.timestamp()
        self._end = until.timestamp() if until is not None else None

    def past(self, line: bytes, now: float) -> bool:
        """Whether the window begins behind this line, which was written before it or by a clock that was ahead."""
        at = moment(line)
        return at is not None and not self._begin <= at <= now

    def begin(self, lines: Iterable[bytes], now: float) -> int:
        """How many bytes of the lines are before the window.

        Behind that place the order of the log counts: where the clock is set back, later lines have earlier times.
        """
        size = before = 0
        for line in lines:
            size += len(line)
            if self.past(line, now):
                before = size
        return before

    def feed(self, lines: Iterable[bytes]) -> None:
        """Count lines, none of which was given before and none of which is of the past."""
        for line in lines:
            at = moment(line)
            if self._end is None or at is None or at <= self._end:
                self.count(line.decode("utf-8", "replace"))

    def count(self, line: str) -> None:
        """Take one line of the log, whatever it is."""
