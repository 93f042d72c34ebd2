# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objectives of backups, and the worst that a plan can do to them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._backup.durations import (
    parse_duration,
    show_duration,
)
from ansible_collections.daffathan.platform.plugins.module_utils._backup.objectives import (
    PROPOSALS,
    TELLING,
    Assessment,
    Known,
    Measure,
    assess,
    parse_known,
    parse_objectives,
    problems,
)
from ansible_collections.daffathan.platform.plugins.module_utils._backup.schedule import Schedule
from hypothesis import given
from hypothesis import strategies as st

HOUR = 3600
DAILY = Schedule("*-*-* 03:00:00", 24 * HOUR, HOUR // 2, 12 * HOUR)
BACKUP: dict[str, Any] = {"database": {"name": "labs", "engine": "postgresql"}, "volumes": ["uploads"]}
NOTHING = Known({}, {})


def told(backup: dict[str, Any], schedule: Schedule = DAILY, known: Known = NOTHING) -> list[Assessment]:
    return [assess(objective, schedule, known) for objective in parse_objectives("labs", {**BACKUP, **backup})]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("15 min", 900), ("12h", 43200), ("2d", 172800), ("1w", 604800), (" 5m ", 300)],
)
def test_time_spans_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text, "rpo") == seconds


@pytest.mark.parametrize("text", ["", "15", "-1m", "1.5h", "1h30m", "soon", "m", "15x", "15m\n1"])
def test_what_is_no_time_span_is_refused_by_name_and_value(text: str) -> None:
    with pytest.raises(ValueError, match=r"apps\[labs\].backup.rpo is " + re.escape(text) + ", .* for example 15m"):
        parse_duration(text, "apps[labs].backup.rpo")


def test_number_alone_means_seconds_to_systemd() -> None:
    assert parse_duration("90", "jitter", unit=False) == 90


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.6, "1m"), (150, "2m30s"), (86461, "1d1m1s"), (131400, "1d12h30m"), (3600, "1h")],
)
def test_time_spans_are_shown_to_the_second(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


def losses(gap: int, jitter: int, timeout: int, luck: list[tuple[float, float]]) -> list[float]:
    """What would be lost just before each run of a timer ends. One begins at the first event after the beginning of the
    run before it, later by a share of the jitter, and not before that has ended; it takes a share of its time limit."""
    began, ended = 0.0, timeout * luck[0][1]
    found = []
    for late, long in luck[1:]:
        start = max((began // gap + 1) * gap + jitter * late, ended)
        ended = start + timeout * long
        found.append(ended - began)
        began = start
    return found


SPANS = [st.integers(1, 50), st.integers(0, 50), st.integers(1, 50)]


@given(st.tuples(*SPANS), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30))
def test_no_course_of_events_loses_more_than_the_worst_case(
    spans: tuple[int, int, int], luck: list[tuple[float, float]]
) -> None:
    worst = Schedule("x", *spans).worst
    assert worst is not None
    assert max(losses(*spans, luck)) <= worst + 1e-9


@given(st.tuples(*SPANS))
def test_worst_case_does_happen(spans: tuple[int, int, int]) -> None:
    assert losses(*spans, [(0, 1), (1, 1)]) == [Schedule("x", *spans).worst]


def test_daily_dump_does_not_keep_a_quarter_of_an_hour() -> None:
    (all_of_it, database) = told({"database": {**BACKUP["database"], "rpo": "15m"}})
    assert (all_of_it.rpo_met, database.rpo_met) == (True, False)
    (problem,) = problems([all_of_it, database], DAILY)
    for words in (
        "apps[labs].backup.database.rpo is 15m",
        "up to 1d12h30m can be lost",
        "1d apart (backup_schedule *-*-* 03:00:00)",
        "30m late (backup_schedule_jitter)",
        "after up to 12h (backup_timeout)",
        'Set backup_schedule: "*:0/5 UTC", backup_schedule_jitter: 15s and backup_timeout: 2m',
        "declare 37h or more",
    ):
        assert words in problem, problem


def test_what_the_message_proposes_is_not_refused() -> None:
    for rpo in range(60, 5 * 86400, 60 * 7):
        (refused,) = told({"rpo": f"{rpo}s"}, Schedule("once", None, 0, 60))
        assert not refused.rpo_met
        (text,) = problems([refused], Schedule("once", None, 0, 60))
        found = re.search(r'backup_schedule: "(.*)", backup_schedule_jitter: (\w+) and backup_timeout: (\w+)', text)
        if found is None:
            assert "No schedule of dumps keeps that" in text
            assert rpo < 600
            continue
        (gap,) = [seconds for event, seconds, *others in PROPOSALS if event == found[1]]
        jitter, timeout = (parse_duration(found[i], "x") for i in (2, 3))
        (better,) = told({"rpo": f"{rpo}s"}, Schedule(found[1], gap, jitter, timeout))
        assert better.rpo_met


def test_declaring_what_the_message_says_is_enough() -> None:
    known = Known({"database/labs": Measure(9_123_456_789, 60.5), "volume/uploads": Measure(10, 1)}, {})
    tight = problems(told({"rpo": "1m", "rto": "1m"}, known=known), DAILY)
    rpo, rto = (re.findall(r"[dD]eclare (\w+) or more", text)[-1] for text in tight)
    assert problems(told({"rpo": rpo, "rto": rto}, known=known), DAILY) == []


@pytest.mark.parametrize(("rpo", "met"), [("131400s", True), ("131399s", False)])
def test_objective_is_met_to_the_second(rpo: str, met: bool) -> None:
    (only,) = told({"rpo": rpo})
    assert (only.rpo_met, problems([only], DAILY) == []) == (met, met)


def test_schedule_that_ends_keeps_nothing() -> None:
    once = Schedule("2026-12-01 03:00:00", None, 0, 60)
    (problem,) = problems(told({"rpo": "1w"}, once), once)
    assert "has a last run, after which nothing is backed up. Set backup_schedule" in problem


def test_without_objectives_nothing_is_refused_and_all_is_told() -> None:
    (only,) = told({})
    assert problems([only], DAILY) == []
    assert only.to_json() == {
        "app": "labs",
        "scope": "app",
        "covers": ["database/labs", "volume/uploads"],
        **{"rpo": None, "rpo_worst": 131400, "rpo_met": True},
        **{"rto": None, "rto_expected": None, "rto_met": True, "rto_measured": False},
    }


def test_restore_takes_the_backup_before_it_and_each_item_in_turn() -> None:
    known = Known({"database/labs": Measure(300_000_000, 7), "volume/uploads": Measure(100_000_000, 3)}, {})
    (all_of_it, database) = told({"database": {**BACKUP["database"], "rto": "1h"}}, known=known)
    assert (all_of_it.rto_expected, database.rto_expected) == (7 + 3 + 10 + 2, 7 + 3 + 10)
    assert not all_of_it.measured


def test_restore_that_takes_too_long_is_refused_with_what_was_measured() -> None:
    sizes = {"database/labs": Measure(4 * TELLING, 30), "volume/uploads": Measure(1000, 0)}
    restores = {"database/labs": Measure(TELLING, 600), "volume/uploads": Measure(1000, 0)}
    (slow,) = told({"rto": "30m"}, known=Known(sizes, restores))
    assert slow.rto_expected == 30 + 4 * 600
    (problem,) = problems([slow], DAILY)
    for words in ("apps[labs].backup.rto is 30m", "takes 40m30s", "measured by its last restores", "Declare 41m"):
        assert words in problem, problem


def test_small_restore_says_little_of_a_large_one() -> None:
    known = Known({"database/labs": Measure(30_000_000_010, 0)}, {"database/labs": Measure(10, 5)})
    (database,) = told({"volumes": [], "rto": "1h"}, known=known)
    assert database.rto_expected == 5 + 1000


@pytest.mark.parametrize("value", ["15", "0m", "soon"])
def test_objective_that_is_no_time_span_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=rf"apps\[labs\]\.backup\.rto is {value}"):
        parse_objectives("labs", {**BACKUP, "rto": value})


@pytest.mark.parametrize("database", [{"engine": "mariadb"}, {"name": "labs"}, {"name": "labs", "engine": "volume"}])
def test_database_without_name_or_engine_is_refused(database: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"apps\[labs\]\.backup\.database is .* an engine: postgresql or mariadb"):
        parse_objectives("labs", {"database": database})


def test_status_of_a_host_tells_sizes_and_restores() -> None:
    entry = {
        "backups": {"database/labs": {"bytes": 5, "seconds": 2.0}},
        "restores": {"database/labs": {"bytes": 4, "seconds": 3}},
    }
    assert parse_known(entry) == Known({"database/labs": Measure(5, 2.0)}, {"database/labs": Measure(4, 3)})
    assert parse_known({}) == NOTHING
