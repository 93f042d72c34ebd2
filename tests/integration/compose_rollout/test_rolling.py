# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Three containers replaced one by one while the site is under load."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.compose_rollout.test_compose_rollout import site
from tests.support.app import APP, other_than, version
from tests.support.lab import Host
from tests.support.load import site_load
from tests.support.rollout import assert_settled, journal, killed_at, rollout

SERVICES = {"ui": 1, "api": 3, "ai": 1}


def rolling(host: Host, tag: str, **api: Any) -> dict[str, Any]:
    options = site(host, tag)
    options["services"]["api"] |= {"replicas": 3, "strategy": "rolling", **api}
    return options


def rolls(host: Host) -> list[dict[str, Any]]:
    """The steps of the last roll, as the journal has them."""
    return [line for line in journal(host) if (line["event"], line["step"]) == ("done", "roll")]


@pytest.fixture(scope="module")
def three(platform_host: Host) -> Host:
    result = rollout(platform_host, rolling(platform_host, "1.0.0"))
    assert not result["failed"], result["msg"]
    assert_settled(platform_host, APP, SERVICES)
    return platform_host


def test_no_request_is_lost_while_one_after_the_other_is_replaced(three: Host) -> None:
    with site_load(three, rate=20) as load:
        result = rollout(three, rolling(three, "1.1.0"))
        report = load.stop()
    assert not result["failed"], result["msg"]
    assert report.failed == 0, report.describe()
    assert [(len(line["leave"]), len(line["come"])) for line in rolls(three)] == [(0, 1), (1, 1), (1, 1), (1, 0)]
    assert_settled(three, APP, SERVICES)
    assert version(three) == "1.1.0"


def test_container_that_does_not_get_ready_leaves_all_old_ones_in_place(three: Host) -> None:
    before = assert_settled(three, APP, SERVICES)
    with site_load(three, rate=20) as load:
        result = rollout(three, rolling(three, "1.0.0", health="/nowhere", start_timeout=5))
        report = load.stop()
    assert result["failed"]
    for word in ("GET /nowhere on port 3001 answered 404", f"{before['live']['id']} keeps serving"):
        assert word in result["msg"], result["msg"]
    assert report.failed == 0, report.describe()
    assert assert_settled(three, APP, SERVICES)["live"] == before["live"]


def test_a_kill_in_the_middle_is_made_good_by_the_same_command(three: Host) -> None:
    # Behind fetch, start and ready: each step of the roll has two lines.
    with site_load(three, rate=20) as load:
        for number in (9, 12):
            tag = other_than(version(three))
            options = rolling(three, tag)
            last = killed_at(three, options, number)
            assert last is not None and last["step"] == "roll", last
            result = rollout(three, options)
            assert not result["failed"], f"after {last}: {result['msg']}"
            assert_settled(three, APP, SERVICES)
            assert version(three) == tag
        report = load.stop()
    assert report.failed == 0, report.describe()
