# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from daffathan_backup._backup.objectives import Measure
from daffathan_backup._backup.schedule import Schedule
from daffathan_backup.metrics import render
from daffathan_backup.model import Config, iso_time, parse_config
from daffathan_backup.points import point_id
from daffathan_backup.status import (
    AppResult,
    ItemResult,
    check_due,
    describe_objective,
    status_after,
    status_after_listing,
    status_after_point,
    status_after_restore,
    view_status,
)

from tests.unit.roles.backup.cases import CONFIG

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
DAILY = Schedule("daily", 86400, 1800, 43200)
ITEM = ItemResult("database", "labs", "a" * 64, 2_700_000_000, 10.0, None)


@pytest.fixture
def config() -> Config:
    return parse_config(CONFIG)


def result(time: datetime, error: str | None = None, reason: str = "scheduled") -> AppResult:
    item = ItemResult("database", "labs", None if error else "a" * 64, 0 if error else 42, 1.0, error)
    return AppResult("labs", point_id(time), reason, iso_time(time), (item,), error)


def view(status: dict[str, Any], config: Config, *, running: bool = False) -> dict[str, Any]:
    return view_status(status, config, DAILY, NOW, running=running)


def test_an_app_that_was_never_backed_up_is_not_green(config: Config) -> None:
    told = view({}, config)
    assert told["state"] == "never"
    assert told["apps"]["labs"]["age_seconds"] is None


def test_a_success_is_recorded_with_snapshots_bytes_and_age(config: Config) -> None:
    told = view(status_after({}, result(NOW - timedelta(hours=2))), config)
    assert told["state"] == "ok"
    success = told["apps"]["labs"]["last_success"]
    assert success["snapshots"] == {"database/labs": "a" * 64}
    assert success["bytes"] == 42
    assert told["apps"]["labs"]["age_seconds"] == 7200


def test_a_failure_keeps_the_last_success_and_turns_the_state(config: Config) -> None:
    status = status_after(status_after({}, result(NOW - timedelta(hours=2))), result(NOW, "dump died"))
    told = view(status, config)
    assert told["state"] == "failed"
    assert told["apps"]["labs"]["last_success"]["point"] == "20261121t100000z"
    assert told["apps"]["labs"]["last_attempt"]["error"] == "dump died"


def test_a_safety_backup_is_no_success_of_the_schedule(config: Config) -> None:
    status = status_after({}, result(NOW, reason="safety"))
    assert "last_success" not in view(status, config)["apps"]["labs"]


def test_a_point_makes_no_failed_backup_good_and_no_good_one_bad(config: Config) -> None:
    failed = status_after({}, result(NOW, "dump died"))
    assert view(status_after_point(failed, result(NOW, reason="before-migration")), config)["state"] == "failed"
    good = status_after_point(status_after({}, result(NOW)), result(NOW, "dump died", reason="before-migration"))
    told = view(good, config)
    assert (told["state"], told["apps"]["labs"]["last_point"]["error"]) == ("ok", "dump died")


@pytest.mark.parametrize(
    ("extra", "running", "state"),
    [
        ({"error": "repository is gone"}, False, "failed"),
        ({"check": {"finished": iso_time(NOW), "error": "pack is damaged"}}, False, "failed"),
        ({"started": iso_time(NOW)}, False, "interrupted"),
        ({"started": iso_time(NOW)}, True, "running"),
        ({}, False, "ok"),
    ],
)
def test_what_is_wrong_with_the_whole_is_told(config: Config, extra: dict[str, Any], running: bool, state: str) -> None:
    status = {**status_after({}, result(NOW)), **extra}
    assert view(status, config, running=running)["state"] == state


def test_nothing_to_back_up_is_said_so() -> None:
    assert view({}, parse_config({**CONFIG, "apps": []}))["state"] == "empty"


def test_apps_that_are_no_longer_configured_are_left_out(config: Config) -> None:
    status = status_after({}, AppResult("gone", "p", "scheduled", iso_time(NOW), (), "x"))
    assert set(view(status, config)["apps"]) == {"labs"}


def test_what_the_repository_holds_is_told_and_a_point_adds_to_it(config: Config) -> None:
    volume = {"oldest": iso_time(NOW - timedelta(days=30)), "newest": iso_time(NOW - timedelta(days=1)), "points": 9}
    listed = status_after_listing(
        {"apps": {"gone": {"recoverable": {"x": volume}}}}, {"labs": {"volume/uploads": volume}}
    )
    assert listed["apps"]["gone"]["recoverable"] == {}
    after = status_after_point(listed, result(NOW, reason="before-migration"))
    assert after["apps"]["labs"]["recoverable"] == {
        "volume/uploads": volume,
        "database/labs": {"oldest": iso_time(NOW), "newest": iso_time(NOW), "points": 1},
    }
    again = status_after_point(after, result(NOW + timedelta(hours=1), reason="before-migration"))
    assert again["apps"]["labs"]["recoverable"]["database/labs"] == {
        **{"oldest": iso_time(NOW), "newest": iso_time(NOW + timedelta(hours=1)), "points": 2},
    }
    failed = status_after_point(again, result(NOW + timedelta(hours=2), "died", reason="before-migration"))
    assert failed["apps"]["labs"]["recoverable"] == again["apps"]["labs"]["recoverable"]


def test_restore_is_measured_item_by_item_and_measures_last(config: Config) -> None:
    outcome = {"app": "labs", "point": "p", "error": None}
    first = status_after_restore({}, outcome, {"database/labs": Measure(10, 2.5), "volume/uploads": Measure(5, 1.0)})
    second = status_after_restore(first, {**outcome, "error": "died"}, {"volume/uploads": Measure(6, 1.5)})
    told = view(second, config)
    assert told["last_restore"]["error"] == "died"
    assert told["apps"]["labs"]["restores"] == {
        "database/labs": {"bytes": 10, "seconds": 2.5},
        "volume/uploads": {"bytes": 6, "seconds": 1.5},
    }


@pytest.fixture
def declared() -> Config:
    """The database may lose two days, all of it may take a minute to restore."""
    backup = {**CONFIG["apps"][0]["backup"], "rto": "1m", "volumes": []}
    backup["database"] = {**backup["database"], "rpo": "2d"}
    return parse_config({**CONFIG, "apps": [{"name": "labs", "backup": backup}]})


def test_objectives_are_judged_by_the_schedule_and_the_last_backup(declared: Config) -> None:
    large = AppResult("labs", point_id(NOW), "scheduled", iso_time(NOW), (ITEM,), None)
    objectives = view(status_after({}, large), declared)["apps"]["labs"]["objectives"]
    assert [describe_objective(objective) for objective in objectives] == [
        "database/labs: RPO 1d12h30m at worst, RTO 1m40s expected (declared 1m: NOT MET)",
        "database/labs: RPO 1d12h30m at worst (declared 2d: met), RTO 1m40s expected",
    ]
    unknown = view_status({}, declared, Schedule("once", None, 0, 60), NOW, running=False)["apps"]["labs"]["objectives"]
    assert describe_objective(unknown[0]) == (
        "database/labs: RPO without a bound at worst, RTO not known yet expected (declared 1m: met)"
    )


def test_backup_that_fails_leaves_what_is_known_of_the_size(declared: Config) -> None:
    stored = status_after({}, AppResult("labs", point_id(NOW), "scheduled", iso_time(NOW), (ITEM,), None))
    failed = view(status_after(stored, result(NOW + timedelta(hours=1), "died")), declared)
    assert failed["apps"]["labs"]["objectives"][0]["rto_expected"] == 100
    assert 'daffathan_backup_size_bytes{app="labs",item="database/labs"} 2700000000\n' in render(failed)


def test_item_that_is_no_longer_backed_up_is_no_longer_known(config: Config) -> None:
    both = (ITEM, ItemResult("volume", "old", "b" * 64, 1, 1.0, None))
    before = status_after({}, AppResult("labs", point_id(NOW), "scheduled", iso_time(NOW), both, None))
    assert set(before["apps"]["labs"]["backups"]) == {"database/labs", "volume/old"}
    safety = status_after(before, result(NOW, reason="safety"))
    assert set(safety["apps"]["labs"]["backups"]) == {"database/labs", "volume/old"}
    assert set(status_after(safety, result(NOW))["apps"]["labs"]["backups"]) == {"database/labs"}


def test_metrics_tell_what_the_status_tells(declared: Config) -> None:
    status = status_after_listing(
        status_after({}, AppResult("labs", point_id(NOW), "scheduled", iso_time(NOW), (ITEM,), None)),
        {"labs": {"database/labs": {"oldest": "2026-01-01T00:00:00Z", "newest": iso_time(NOW), "points": 3}}},
    )
    check = {"finished": iso_time(NOW), "error": "pack is damaged"}
    lines = render(view({**status, "check": check, "finished": iso_time(NOW)}, declared)).splitlines()
    item, scope, at = '{app="labs",item="database/labs"}', '{app="labs",scope="app"}', int(NOW.timestamp())
    for line in (
        f"daffathan_backup_last_recoverable_point_timestamp_seconds{item} {at}",
        f"daffathan_backup_oldest_recoverable_point_timestamp_seconds{item} 1767225600",
        f"daffathan_backup_recoverable_points{item} 3",
        f"daffathan_backup_size_bytes{item} 2700000000",
        f"daffathan_backup_duration_seconds{item} 10",
        f"daffathan_backup_rpo_objective_seconds{item} 172800",
        f"daffathan_backup_rpo_worst_seconds{item} 131400",
        f"daffathan_backup_rto_objective_seconds{scope} 60",
        f"daffathan_backup_rto_expected_seconds{scope} 100",
        'daffathan_backup_success{app="labs"} 1',
        "daffathan_backup_run_success 1",
        "daffathan_backup_check_success 0",
        f"daffathan_backup_last_check_timestamp_seconds {at}",
        f"daffathan_backup_last_run_timestamp_seconds {at}",
    ):
        assert lines.count(line) == 1, line
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))


def test_an_item_with_two_objectives_has_the_stricter_one(config: Config) -> None:
    backup = {**CONFIG["apps"][0]["backup"], "rpo": "3d"}
    backup["database"] = {**backup["database"], "rpo": "2d"}
    text = render(view({}, parse_config({**CONFIG, "apps": [{"name": "labs", "backup": backup}]})))
    assert 'daffathan_backup_rpo_objective_seconds{app="labs",item="database/labs"} 172800\n' in text
    assert 'daffathan_backup_rpo_objective_seconds{app="labs",item="volume/uploads"} 259200\n' in text


def test_metrics_before_the_first_run_promise_nothing(declared: Config) -> None:
    text = render(view({}, declared))
    assert not [
        line for line in text.splitlines() if line.startswith(("daffathan_backup_last", "daffathan_backup_succ"))
    ]


@pytest.mark.parametrize(
    ("check", "due"),
    [
        (None, True),
        ({"finished": iso_time(NOW - timedelta(days=6)), "error": None}, False),
        ({"finished": iso_time(NOW - timedelta(days=7)), "error": None}, True),
        ({"finished": iso_time(NOW), "error": "damaged"}, True),
    ],
)
def test_a_check_is_due_after_its_interval_or_a_failure(check: dict[str, Any] | None, due: bool) -> None:
    assert check_due({"check": check}, 7, NOW) is due
