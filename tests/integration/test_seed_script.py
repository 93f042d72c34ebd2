# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The load generator sees what users of the old way see: the script of the reference document loses requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.lab import Host
from tests.support.seed import seed_host, update_under_load


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = seed_host("it-seed")
    yield host
    host.down()


def test_the_old_way_loses_requests_and_the_generator_reports_them(host: Host) -> None:
    report = update_under_load(host, ["1.1.0"])
    assert report.failed > 0, report.describe()
    assert not report.passed
    assert report.first_failures, "each kind of failure comes with details"
