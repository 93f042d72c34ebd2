# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far apart the runs of a timer are, told by the systemd of this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timezone

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._backup.objectives import PROPOSALS
from ansible_collections.daffathan.platform.plugins.module_utils._backup.schedule import (
    ITERATIONS,
    clock_changes,
    largest_gap,
    parse_times,
)
from ansible_collections.daffathan.platform.plugins.module_utils._common.command import run

HOUR = 3600
NOW = datetime(2026, 7, 1, 12, 34, 56, tzinfo=timezone.utc)


def ask(argv: Sequence[str]) -> str:
    return run(argv).stdout


@pytest.fixture(params=["UTC", "Europe/Berlin"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    request.addfinalizer(time.tzset)
    request.addfinalizer(monkeypatch.undo)
    return str(request.param)


@pytest.mark.parametrize(
    ("event", "gap", "in_berlin"),
    [
        ("*-*-* 03:00:00", 24, 25),
        # On the last Sunday of March there is no half past two.
        ("*-*-* 02:30:00", 24, 47),
        # On the last Sunday of October the hour after two comes twice, and timers run in one of them.
        ("hourly", 1, 2),
        ("hourly UTC", 1, 1),
        ("*:0/5", 1 / 12, 13 / 12),
        ("Mon..Fri *-*-* 08..18:0/5", 61 + 1 / 12, 62 + 1 / 12),
        ("Mon *:*", 144 + 1 / 60, 145 + 1 / 60),
        ("weekly", 168, 169),
        ("2026-12-01 03:00:00", None, None),
        ("2020-12-01 03:00:00", None, None),
    ],
)
def test_longest_time_between_two_runs_is_found(
    zone: str, event: str, gap: float | None, in_berlin: float | None
) -> None:
    expected = gap if zone == "UTC" else in_berlin
    assert largest_gap(event, ask, NOW) == (None if expected is None else round(expected * HOUR))


def test_proposed_timers_are_as_often_as_they_are_said_to_be(zone: str) -> None:
    assert {event: largest_gap(event, ask, NOW) for event, *others in PROPOSALS} == {
        event: gap for event, gap, *others in PROPOSALS
    }


def test_time_until_the_first_run_counts() -> None:
    said = (
        "    Next elapse: Thu 2026-07-02 12:34:56 UTC\n" + "       Iter. #2: Thu 2026-07-02 13:34:56 UTC\n" * ITERATIONS
    )
    assert largest_gap("x", lambda argv: said, NOW) == 24 * HOUR


def test_clock_changes_of_a_year_are_found(zone: str) -> None:
    found = [change.strftime("%m-%d") for change in clock_changes(NOW)]
    assert found == ([] if zone == "UTC" else ["10-25", "03-28"])


def test_output_is_read_in_utc_whatever_the_zone() -> None:
    local = "    Next elapse: Mon 2026-11-23 03:00:00 CET\n       (in UTC): Mon 2026-11-23 02:00:00 UTC\n"
    assert parse_times(f"{local}       From now: 6h\n") == [datetime(2026, 11, 23, 2, tzinfo=timezone.utc)]
    assert parse_times("    Next elapse: never\n") == []
