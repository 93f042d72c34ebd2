# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from daffathan_backup.model import (
    BackupError,
    Item,
    Retention,
    iso_time,
    parse_config,
    parse_time,
    parse_version,
    redact,
    show_size,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.roles.backup.cases import CONFIG, DATABASE


def changed(*path: Any, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(CONFIG)
    place: Any = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


def test_a_whole_configuration_is_understood() -> None:
    config = parse_config(CONFIG)
    app = config.app("labs")
    assert app.items == (Item("database", "labs"), Item("volume", "uploads"), Item("volume", "media"))
    assert (config.retention.daily, config.retention.weekly, config.retention.monthly) == (7, 4, 6)


def test_a_database_user_is_by_default_named_as_the_database() -> None:
    database = {key: value for key, value in DATABASE.items() if key != "user"}
    app = parse_config(changed("apps", 0, "backup", "database", value=database)).app("labs")
    assert app.database is not None
    assert app.database.user == "labs"


def test_an_app_keeps_what_it_says_and_for_the_rest_what_all_keep() -> None:
    app = parse_config(changed("apps", 0, "backup", "retention", value={"daily": 30})).app("labs")
    assert app.retention == Retention(30, 4, 6)
    assert parse_config(CONFIG).app("labs").retention is None


def test_metrics_go_to_a_file_or_nowhere() -> None:
    assert parse_config(CONFIG).metrics_file == "/var/lib/prometheus/node-exporter/daffathan_backup.prom"
    assert parse_config(changed("metrics_file", value="")).metrics_file is None


def test_no_app_at_all_is_a_valid_configuration() -> None:
    assert parse_config(changed("apps", value=[])).apps == ()


def test_an_unknown_app_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BackupError, match=r"'shop' is not backed up .*backed up: labs"):
        parse_config(CONFIG).app("shop")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("apps", 0, "name"), "Labs", r"apps\[0\].name: 'Labs'"),
        (("apps", 0, "name"), "a,b", r"'a,b'"),
        (("apps", 0, "backup"), {}, r"apps\[labs\].backup names neither"),
        (("apps", 0, "backup", "volume"), ["x"], "unknown keys volume"),
        (("apps", 0, "backup", "volumes"), ["../etc"], r"'\.\./etc' is not the name of a volume"),
        (("apps", 0, "backup", "volumes"), ["--all"], "'--all'"),
        (("apps", 0, "backup", "volumes"), ["a", "a"], "'a' is named twice"),
        (("apps", 0, "backup", "database", "engine"), "oracle", "'oracle' is not supported; use postgresql or mariadb"),
        (("apps", 0, "backup", "database", "name"), "host=evil", "'host=evil' is not allowed"),
        (("apps", 0, "backup", "database", "user"), "-x", "'-x' is not allowed"),
        (("apps", 0, "backup", "database", "password_file"), "secret", "'secret' is not allowed"),
        (("apps", 0, "backup", "database", "service"), None, "service is missing"),
        (("retention", "daily"), -1, "retention.daily: -1 is too small"),
        (("retention", "daily"), "7", "retention.daily: '7' is not of type int"),
        (("retention", "daily"), True, "retention.daily: True is not of type int"),
        (("retention",), {"daily": 0, "weekly": 0, "monthly": 0}, "would keep nothing"),
        (("apps", 0, "backup", "retention"), {"hourly": 1}, r"apps\[labs\].backup.retention: unknown keys hourly"),
        (
            ("apps", 0, "backup", "retention"),
            {"daily": 0, "weekly": 0, "monthly": 0},
            r"backup.retention: all of daily",
        ),
        (("apps", 0, "backup", "rpo"), "15", r"apps\[labs\].backup.rpo is 15, which is no time span"),
        (("apps", 0, "backup", "database", "rto"), 15, r"apps\[labs\].backup.database.rto: 15 is not of type str"),
        (("metrics_file",), "metrics.prom", "metrics_file: 'metrics.prom' is not allowed"),
        (("timer", "timeout"), "soon", "timer.timeout is soon, which is no time span"),
        (("check_interval_days",), 0, "check_interval_days: 0 is too small"),
        (("repositry",), "/x", "unknown keys repositry"),
        (("restic",), "restic", "'restic' is not allowed"),
        (("apps",), [CONFIG["apps"][0], CONFIG["apps"][0]], "'labs' is there 2 times"),
    ],
)
def test_bad_configuration_is_named(path: tuple[Any, ...], value: Any, message: str) -> None:
    with pytest.raises(BackupError, match=message):
        parse_config(changed(*path, value=value))


@pytest.mark.parametrize("data", [None, [], "text", {"apps": []}])
def test_what_is_no_configuration_is_refused(data: Any) -> None:
    with pytest.raises(BackupError):
        parse_config(data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T09:55:31.218068651Z", datetime(2026, 11, 21, 9, 55, 31, 218068, timezone.utc)),
        ("2026-11-21T09:55:31.5Z", datetime(2026, 11, 21, 9, 55, 31, 500000, timezone.utc)),
        ("2026-11-21T11:55:31+02:00", datetime(2026, 11, 21, 9, 55, 31, 0, timezone.utc)),
    ],
)
def test_times_of_restic_are_read(text: str, expected: datetime) -> None:
    assert parse_time(text) == expected


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1)))
def test_a_time_survives_writing_and_reading(naive: datetime) -> None:
    time = naive.replace(microsecond=0, tzinfo=timezone(timedelta(hours=2)))
    assert parse_time(iso_time(time)) == time


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(BackupError, match="'yesterday' is not a time"):
        parse_time("yesterday")


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("restic 0.18.0 compiled with go1.24.4 on linux/amd64", (0, 18, 0)),
        ("restic 0.14.0 compiled with go1.19.8 on linux/amd64", (0, 14, 0)),
        ("bash: no such file", None),
    ],
)
def test_the_version_of_restic_is_read(output: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(output) == version


def test_secrets_are_replaced_the_longer_first() -> None:
    assert redact("key hunter2-long and hunter2", ["hunter2", "", "hunter2-long"]) == "key *** and ***"


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 2**40, "3.0 TiB")])
def test_sizes_are_readable(size: int, text: str) -> None:
    assert show_size(size) == text
