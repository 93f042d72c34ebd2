# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The gateway's access log, read again and again: each line counts once, behind the engine's time stamp."""

from __future__ import annotations

from datetime import datetime, timezone


def stamp(moment: datetime) -> str:
    """A moment as the engine writes it before a line."""
    return f"{moment.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%S.%f}000Z"


def attempts(text: str) -> list[str]:
    """The values of a variable of nginx that has one for each server it tried."""
    return [part.strip() for part in text.replace(" : ", ",").split(",")]


class Reader:
    """Gives each new line to `count`."""

    def __init__(self, since: str, until: str | None = None) -> None:
        """
        :param since: lines up to this time stamp are of the past
        :param until: lines behind this one are not asked for
        """
        self.begin = since
        # The time stamp of the last line; before there is one, `since`.
        self.seen = since
        self.until = until

    def wanted(self, now: datetime) -> str:
        """From which time stamp on the log has to be read: the clock may have been set back since the last line."""
        return min(self.seen, stamp(now))

    def begin_behind(self, last: str) -> None:
        """The past ends with this line. That is sure; by the time alone it is not, where the clock was set back."""
        at, space, rest = last.partition(" ")
        if space:
            self.seen = at

    def feed(self, text: str) -> None:
        lines = [line.partition(" ") for line in text.splitlines()]
        # Nine digits behind the second tell one line from another. Behind it, the order of the log counts: where the
        # clock was set back, later lines have earlier time stamps.
        found = [index for index, (at, space, rest) in enumerate(lines) if at == self.seen]
        if found:
            lines = lines[found[-1] + 1 :]
        behind = bool(found)
        for at, space, rest in lines:
            behind = behind or at > self.seen
            if space and behind:
                self.seen = at
                if self.until is None or at <= self.until:
                    self.count(rest)

    def count(self, line: str) -> None:
        """Take one line of the log, whatever it is."""
