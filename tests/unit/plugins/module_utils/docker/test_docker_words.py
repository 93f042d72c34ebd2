# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a container's log stands in an error message.

The container is a stand-in, which writes its log as Docker does: the moments at which a real one ends and is started
again cannot be chosen.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._docker import probe


class Container:
    """One that was started again at 10:00:05.25, and has said much since; `log` has the lines of before."""

    name = "api-1"
    attrs = {"State": {"StartedAt": "2026-01-01T10:00:05.25Z"}}

    def __init__(self, *log: str) -> None:
        self.lines = [*log, *(f"2026-01-01T10:00:05.{250_000_001 + number}Z warm {number}" for number in range(100))]

    def logs(self, *, tail: int, until: Any = None, timestamps: bool = False) -> bytes:
        # Whole seconds are what the oldest SDK takes; this is the one behind 10:00:05.
        assert until in (None, 1767261606) and not isinstance(until, float)
        lines = self.lines if timestamps else [line.partition(" ")[2] for line in self.lines]
        return "".join(f"{line}\n" for line in lines[-tail:]).encode()


def test_what_was_said_before_the_container_was_started_again() -> None:
    container = Container("2026-01-01T10:00:04.900000000Z out of", "2026-01-01T10:00:05.249999999Z memory: by 3 MB")
    assert probe.last_words(container, again=True) == "\nLast lines of api-1:\nout of\nmemory: by 3 MB"


def test_the_last_of_many_lines() -> None:
    container = Container(*(f"2026-01-01T10:00:05.{number:09}Z line {number}" for number in range(500)))
    said = probe.last_words(container, again=True).splitlines()[2:]
    assert said == [f"line {number}" for number in range(480, 500)]


def test_nothing_was_said_before() -> None:
    assert probe.last_words(Container(), again=True).endswith("(it printed nothing)")


def test_one_that_was_not_started_again() -> None:
    assert probe.last_words(Container()).splitlines()[2:] == [f"warm {number}" for number in range(80, 100)]
