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
        self.begin = self.seen = since
        self.until = until

    def feed(self, text: str) -> None:
        for line in text.splitlines():
            at, found, rest = line.partition(" ")
            # The engine writes nine digits behind the second: as texts they are in the order of time.
            if found and at > self.seen:
                self.seen = at
                if self.until is None or at <= self.until:
                    self.count(rest)

    def count(self, line: str) -> None:
        """Take one line of the log, whatever it is."""
