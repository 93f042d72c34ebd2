# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Releases of a service that speaks TCP, one after the other, with connections made and held all the time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.compose_rollout.test_streams import APP, callers, wires
from tests.soak.test_deploys import descriptors
from tests.support.converged import converged
from tests.support.lab import Host
from tests.support.rollout import assert_settled, rollout

DEPLOYS = 50
# Open files are compared after the first few.
WARM = 5


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = converged("soak-streams")
    yield host
    host.down()


def test_fifty_releases_lose_no_connection_and_leave_none(host: Host) -> None:
    def release(number: int) -> None:
        strategy = ("blue_green", "rolling")[number % 2]
        result = rollout(host, wires(host, str(number), replicas=2, strategy=strategy, drain_timeout=1))
        assert not result["failed"], f"release {number}: {result['msg']}"
        assert_settled(host, APP, {"api": 1, "broker": 2})

    release(0)
    for number in range(1, WARM):
        release(number)
    before = descriptors(host)
    with callers(host) as seen:
        for number in range(WARM, DEPLOYS):
            release(number)
    assert seen.broken == []
    assert {str(number) for number in range(WARM, DEPLOYS)} <= set(seen.new) & set(seen.http)
    assert seen.held.count("bye") >= DEPLOYS - WARM
    release(DEPLOYS)
    assert descriptors(host) <= before + 20
