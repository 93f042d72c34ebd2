# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from daffathan_backup.model import Config, iso_time, parse_config
from daffathan_backup.status import AppResult, ItemResult, check_due, status_after, status_after_point, view_status

from tests.unit.roles.backup.cases import CONFIG

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)


@pytest.fixture
def config() -> Config:
    return parse_config(CONFIG)


def result(time: datetime, error: str | None = None, reason: str = "scheduled") -> AppResult:
    item = ItemResult("database", "labs", None if error else "a" * 64, 0 if error else 42, 1.0, error)
    return AppResult("labs", f"p{time.hour}", reason, iso_time(time), (item,), error)


def view(status: dict[str, Any], config: Config, *, running: bool = False) -> dict[str, Any]:
    return view_status(status, config, NOW, running=running)


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
    assert told["apps"]["labs"]["last_success"]["point"] == "p10"
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
