# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ten deploys cannot show: an hour of them, under load all the time, and what piles up on the host."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.app import APP, deploy, leftovers, version
from tests.support.converged import converged
from tests.support.lab import Host
from tests.support.load import site_load

DEPLOYS = 200
# The file descriptors and memory of nginx and Caddy are compared after the first few, when caches have filled.
WARM = 10


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = converged("soak-deploys")
    yield host
    host.down()


def descriptors(host: Host) -> int:
    """Open files of Caddy and of the gateway's processes."""
    script = "import os, subprocess; found = subprocess.run(['pgrep', '-x', 'caddy|nginx'], stdout=-1, text=True)"
    script += "; print(sum(len(os.listdir(f'/proc/{pid}/fd')) for pid in found.stdout.split()))"
    return int(host.run("python3", "-c", script))


def test_two_hundred_deploys_lose_nothing_and_leave_nothing(host: Host) -> None:
    first: dict[str, set[str]] = {}
    with site_load(host, seconds=4 * 3600) as load:
        for number in range(DEPLOYS):
            tag = ("1.1.0", "1.0.0")[number % 2]
            result = deploy(host, tag)
            assert result.rc == 0, f"deploy {number}: {result.output[-4000:]}"
            assert version(host) == tag
            if number == WARM:
                first = leftovers(host)
        last = leftovers(host)
        report = load.stop()
    assert report.failed == 0, report.describe()
    assert report.kept_schedule, report.describe()
    assert {kind: len(names) for kind, names in last.items()} == {kind: len(names) for kind, names in first.items()}


def test_open_files_return_to_what_they_were(host: Host) -> None:
    before = descriptors(host)
    for number in range(WARM):
        assert deploy(host, ("1.1.0", "1.0.0")[number % 2]).rc == 0
    # Without load, connections of one deploy are gone before the next one.
    assert descriptors(host) <= before + 20


def test_history_is_bounded(host: Host) -> None:
    state = json.loads(host.run("cat", f"/var/lib/daffathan/apps/{APP}/state.json"))
    releases = host.run("ls", f"/var/lib/daffathan/apps/{APP}/releases").split()
    assert state["live"]["id"] in releases
    assert len(releases) <= 10
