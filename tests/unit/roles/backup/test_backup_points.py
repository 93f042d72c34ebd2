# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from daffathan_backup.model import App, BackupError, Database, Item, Retention, parse_time
from daffathan_backup.points import (
    OCCASION_KEPT,
    RECENT_KEPT,
    Point,
    check_labels,
    describe_restore,
    expired,
    parse_snapshots,
    plan_restore,
    point_id,
    points,
    select_point,
    select_time,
    tags,
    wanted_items,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
DATABASE, VOLUME, MANIFEST = Item("database", "labs"), Item("volume", "uploads"), Item("manifest", "manifest")
APP = App("labs", Database("db", "postgresql", "labs", "labs"), ("uploads",))


def entry(
    time: datetime,
    item: Item,
    *,
    app: str = "labs",
    reason: str = "scheduled",
    size: int = 10,
    release: str | None = None,
) -> dict[str, Any]:
    """A snapshot as restic prints it, tagged by the code under test."""
    point = point_id(time)
    return {
        "id": hashlib.sha256(f"{app}{point}{item}{reason}".encode()).hexdigest(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z"),
        "paths": [f"/{app}/{item.name}"],
        "tags": tags(app, item, point, reason, release).split(","),
        "summary": {"total_bytes_processed": size},
    }


def run(time: datetime, *, complete: bool = True, **options: Any) -> list[dict[str, Any]]:
    items = [DATABASE, VOLUME, *([MANIFEST] if complete else [])]
    return [entry(time, item, **options) for item in items]


def found(*runs: list[dict[str, Any]]) -> tuple[Point, ...]:
    return points(parse_snapshots(snapshot for snapshots in runs for snapshot in snapshots))


def test_snapshots_of_one_run_are_one_point() -> None:
    (point,) = found(run(NOW))
    assert point.complete
    assert point.id == "20261121t120000z"
    assert set(point.items) == {DATABASE, VOLUME}
    assert point.size == 20


def test_a_point_without_its_manifest_is_incomplete() -> None:
    (point,) = found(run(NOW, complete=False))
    assert not point.complete


def test_points_of_two_apps_are_kept_apart() -> None:
    assert {(point.app, len(point.items)) for point in found(run(NOW), run(NOW, app="shop"))} == {
        ("labs", 2),
        ("shop", 2),
    }


def test_the_newest_snapshot_of_an_item_counts() -> None:
    again = entry(NOW, DATABASE, size=99) | {"id": "f" * 64, "time": "2026-11-21T12:00:09Z"}
    (point,) = found([again], run(NOW))
    assert point.items[DATABASE].id == "f" * 64


@pytest.mark.parametrize(
    "foreign",
    [
        {"id": "a", "time": "2026-11-21T12:00:00Z", "paths": ["/etc"], "tags": None},
        {"id": "a", "time": "2026-11-21T12:00:00Z", "paths": ["/etc"], "tags": ["daffathan", "app:labs"]},
        {
            "id": "a",
            "time": "2026-11-21T12:00:00Z",
            "paths": ["/etc", "/srv"],
            "tags": tags("labs", VOLUME, "p", "x").split(","),
        },
    ],
)
def test_snapshots_of_others_are_left_out(foreign: dict[str, Any]) -> None:
    assert parse_snapshots([foreign]) == ()


def test_latest_is_the_last_complete_point_and_never_a_safety_one() -> None:
    have = found(
        run(NOW - timedelta(hours=3)),
        run(NOW - timedelta(hours=2)),
        run(NOW - timedelta(hours=1), complete=False),
        run(NOW, reason="safety"),
        run(NOW, app="shop"),
    )
    assert select_point(have, "labs", "latest").time.hour == 10


def test_a_point_is_found_by_its_id_and_by_a_snapshot() -> None:
    have = found(run(NOW - timedelta(hours=1)), run(NOW, reason="safety"))
    assert select_point(have, "labs", "20261121t120000z").reason == "safety"
    snapshot = have[0].items[VOLUME].id
    assert select_point(have, "labs", snapshot[:8]) == have[0]


@pytest.mark.parametrize("wanted", ["latest", "20200101t000000z", "deadbeef", "", "x; rm -rf /"])
def test_what_is_not_there_is_refused_with_the_way_to_find_it(wanted: str) -> None:
    have = found(run(NOW, complete=False), run(NOW, app="shop"))
    with pytest.raises(BackupError, match="daffathan-backup list --app labs"):
        select_point(have, "labs", wanted)


def test_an_incomplete_point_is_not_restored_even_by_name() -> None:
    have = found(run(NOW, complete=False))
    with pytest.raises(BackupError, match="incomplete"):
        select_point(have, "labs", "20261121t120000z")


def test_a_plan_restores_the_database_first_and_says_what() -> None:
    (point,) = found(run(NOW))
    steps = plan_restore(APP, point, wanted_items(APP, database=False, volumes=False))
    assert [step.item for step in steps] == [DATABASE, VOLUME]
    at, now = NOW + timedelta(minutes=5), NOW + timedelta(hours=2)
    text = "\n".join(describe_restore(APP, point, steps, now=now, at=at))
    for part in (
        "what was written in the last 2h will be gone",
        "the data are 5m older than 2026-11-21 12:05:00 UTC, the time asked for",
        "20261121t120000z",
        "2026-11-21 12:00:00 UTC",
        "service db",
        "10 B",
        point.items[VOLUME].id[:8],
    ):
        assert part in text


@pytest.mark.parametrize(("part", "item"), [("database", DATABASE), ("volumes", VOLUME)])
def test_one_part_can_be_restored_alone(part: str, item: Item) -> None:
    chosen = {"database": False, "volumes": False, part: True}
    assert wanted_items(APP, **chosen) == (item,)


def test_a_point_that_lacks_an_item_is_refused() -> None:
    (point,) = found([entry(NOW, DATABASE), entry(NOW, MANIFEST)])
    with pytest.raises(BackupError, match=r"does not hold volume uploads \(it holds database labs\)"):
        plan_restore(APP, point, [DATABASE, VOLUME])
    assert plan_restore(APP, point, [DATABASE])


def test_a_part_the_app_does_not_have_is_refused() -> None:
    with pytest.raises(BackupError, match="has no database"):
        wanted_items(App("labs", None, ("uploads",)), database=True, volumes=False)


BOTH = [DATABASE, VOLUME]


def test_time_means_the_last_point_that_had_ended_by_then() -> None:
    """What is in a point can be younger than its beginning, but not than its manifest."""
    torn, good = run(NOW - timedelta(hours=2), complete=False), run(NOW - timedelta(hours=3))
    long = run(NOW - timedelta(hours=1))
    long[-1]["time"] = (NOW - timedelta(minutes=10)).isoformat().replace("+00:00", "Z")
    have = found(good, torn, long, run(NOW, app="shop"))
    assert select_time(have, APP, NOW - timedelta(minutes=11), BOTH, NOW).time.hour == 9
    assert select_time(have, APP, NOW - timedelta(minutes=10), BOTH, NOW).time.hour == 11
    assert select_time(have, APP, NOW, BOTH, NOW).time.hour == 11


def test_time_finds_points_of_the_database_alone_for_the_database_alone() -> None:
    have = found(run(NOW - timedelta(hours=2)), made_for(NOW - timedelta(hours=1), "r1"))
    assert select_time(have, APP, NOW, [DATABASE], NOW).release == "r1"
    assert select_time(have, APP, NOW, BOTH, NOW).release is None


def test_time_outside_is_refused_with_what_can_be_had() -> None:
    have = found(run(NOW - timedelta(hours=2)), run(NOW - timedelta(hours=1)))
    for at, words in (
        (NOW - timedelta(hours=3), "before the oldest .* between 2026-11-21T10:00:01Z and 2026-11-21T11:00:01Z"),
        (NOW + timedelta(seconds=1), "has not come yet. The last .* is 2026-11-21T11:00:01Z"),
    ):
        with pytest.raises(BackupError, match=words):
            select_time(have, APP, at, BOTH, NOW)
    with pytest.raises(BackupError, match="no complete backup of app 'labs' that holds database labs, volume uploads"):
        select_time(found(made_for(NOW, "r1")), APP, NOW, BOTH, NOW)


@given(st.sets(st.integers(0, 500), min_size=1, max_size=20), st.integers(-5, 505))
def test_time_gives_nothing_younger_and_nothing_older_than_it_has_to(minutes: set[int], asked: int) -> None:
    have = found(*(run(NOW + timedelta(minutes=minute)) for minute in minutes))
    at, late = NOW + timedelta(minutes=asked), NOW + timedelta(days=1)
    best = max((minute for minute in minutes if minute <= asked), default=None)
    if best is None:
        with pytest.raises(BackupError) as refused:
            select_time(have, APP, at, BOTH, late)
        # What the message names can be had.
        named = re.findall(r"\d{4}-\S+Z", str(refused.value))
        assert select_time(have, APP, parse_time(named[0]), BOTH, late) == have[0]
        assert select_time(have, APP, parse_time(named[1]), BOTH, late) == have[-1]
    else:
        assert select_time(have, APP, at, BOTH, late).time == NOW + timedelta(minutes=best)


def daily(days: int) -> tuple[Point, ...]:
    return found(*(run(NOW - timedelta(days=day)) for day in range(days)))


def test_retention_keeps_days_weeks_and_months() -> None:
    have = daily(400)
    gone = expired(have, Retention(7, 4, 6), NOW)
    kept = [point.time.date().isoformat() for point in have if point not in gone]
    # 7 days to 15 Nov; the weeks of 16, 9 and 2 Nov and of 26 Oct by their last days; the months by theirs.
    weeks = ["2026-11-01", "2026-11-08"]
    assert kept == [
        *["2026-06-30", "2026-07-31", "2026-08-31", "2026-09-30", "2026-10-31"],
        *weeks,
        *[f"2026-11-{day}" for day in range(15, 22)],
    ]


def test_a_backup_after_the_accident_leaves_the_good_one_of_the_same_day() -> None:
    have = found(run(NOW - timedelta(hours=9)), run(NOW))
    assert expired(have, Retention(7, 4, 6), NOW) == ()


def test_an_app_can_have_a_retention_of_its_own() -> None:
    have = found(*(run(NOW - timedelta(days=day), app=app) for day in range(40) for app in ("labs", "shop")))
    gone = expired(have, Retention(7, 0, 0), NOW, {"shop": Retention(30, 0, 0)})
    kept = [point.app for point in have if point not in gone]
    assert (kept.count("labs"), kept.count("shop")) == (7, 30)


def test_two_old_points_of_one_day_become_one() -> None:
    old = NOW - timedelta(days=5)
    have = found(run(old - timedelta(hours=9)), run(old))
    assert [point.time.hour for point in expired(have, Retention(7, 0, 0), NOW)] == [3]


def test_failed_runs_do_not_push_out_the_last_good_point() -> None:
    good = NOW - timedelta(days=300)
    have = found(run(good), *(run(NOW - timedelta(days=day), complete=False) for day in range(20)))
    gone = expired(have, Retention(1, 0, 0), NOW)
    assert all(not point.complete for point in gone)
    assert {(NOW - point.time).days for point in gone} == set(range(7, 20))


def test_safety_points_are_kept_for_their_time_and_displace_nothing() -> None:
    old = NOW - timedelta(days=5)
    have = found(
        run(old - timedelta(hours=9)),
        run(old, reason="safety"),
        run(NOW - OCCASION_KEPT - timedelta(days=1), reason="safety"),
    )
    assert [point.reason for point in expired(have, Retention(7, 0, 0), NOW)] == ["safety"]
    assert len(expired(have, Retention(7, 0, 0), NOW)) == 1


def made_for(time: datetime, release: str, *, complete: bool = True) -> list[dict[str, Any]]:
    """The database alone, before the migration of a release."""
    items = [DATABASE, *([MANIFEST] if complete else [])]
    return [entry(time, item, reason="before-migration", release=release) for item in items]


def test_a_point_for_a_release_tells_it_and_is_never_the_latest() -> None:
    have = found(run(NOW - timedelta(hours=1)), made_for(NOW, "r2"))
    assert [(point.release, point.complete, point.regular) for point in have] == [
        (None, True, True),
        ("r2", True, False),
    ]
    assert select_point(have, "labs", "latest") == have[0]
    assert select_point(have, "labs", have[1].id) == have[1]


def test_the_last_point_for_a_release_stays_and_the_others_have_their_time() -> None:
    days = (300, 200, 29)
    have = found(
        run(NOW - timedelta(days=5, hours=1)),
        made_for(NOW - timedelta(days=5), "r0"),
        *(made_for(NOW - timedelta(days=day), f"r{day}") for day in days),
    )
    assert [point.release for point in expired(have, Retention(7, 0, 0), NOW)] == ["r300", "r200"]
    alone = found(*(made_for(NOW - timedelta(days=day), f"r{day}") for day in (300, 200)))
    assert [point.release for point in expired(alone, Retention(7, 0, 0), NOW)] == ["r300"]
    torn = found(made_for(NOW - timedelta(days=200), "r1"), made_for(NOW - timedelta(days=100), "r2", complete=False))
    assert [point.release for point in expired(torn, Retention(7, 0, 0), NOW)] == ["r2"]


@pytest.mark.parametrize(
    ("reason", "release", "named"),
    [
        ("scheduled", None, "another word"),
        ("safety", None, "another word"),
        ("a,b", None, "reason: 'a,b'"),
        ("x", "r1,app:shop", "release: 'r1,app:shop'"),
        ("x", "", "release: ''"),
    ],
)
def test_a_label_that_would_be_another_one_is_refused(reason: str, release: str | None, named: str) -> None:
    with pytest.raises(BackupError, match=named):
        check_labels(reason, release)


@given(
    hours=st.sets(st.integers(0, 24 * 200), min_size=1, max_size=40),
    keep=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)).filter(any),
)
def test_the_newest_point_and_recent_ones_always_stay(hours: set[int], keep: tuple[int, int, int]) -> None:
    have = found(*(run(NOW - timedelta(hours=hour)) for hour in hours))
    gone = expired(have, Retention(*keep), NOW)
    assert have[-1] not in gone
    assert all(NOW - point.time >= RECENT_KEPT for point in gone)
    # What is let go once is not needed again: removing changes no later decision.
    assert expired(tuple(point for point in have if point not in gone), Retention(*keep), NOW) == ()
