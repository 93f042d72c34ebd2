# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the platform promises of a deploy: no request is lost, whatever becomes of the new release."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.load.timeline import early
from tests.support.app import APP, COMPOSE, apps, deploy, leftovers, other_than, version
from tests.support.audited import listen
from tests.support.lab import Host, lab, wait_until
from tests.support.load import site_load
from tests.support.rollout import journal

pytestmark = pytest.mark.load
DECLARED = "/etc/daffathan/port_audit.json"


def test_ten_deploys_under_load_lose_no_request(platform_host: Host) -> None:
    lines: list[dict[str, Any]] = []
    with site_load(platform_host) as load:
        for number in range(10):
            tag = ("1.1.0", "1.0.0")[number % 2]
            result = deploy(platform_host, tag)
            assert result.rc == 0, result.output[-4000:]
            assert version(platform_host) == tag
            lines += journal(platform_host)
        report = load.stop()
    assert report.failed == report.refused == 0, report.describe()
    assert min(count["ok"] for count in report.requests.values()) > 500, report.requests
    # The WebSocket and both event streams met every switch, and lived on until the time of their release was over.
    grace = apps("1.0.0")[0]["services"]["api"]["drain_timeout"]
    assert len(report.ends) >= 3 * 10
    assert not early((report.started + end["at"] for end in report.ends), lines, grace), report.ends
    assert report.kept_schedule, report.describe()
    assert report.sent > 200 * 60
    assert set(report.versions) == {"1.0.0", "1.1.0"}


def test_the_same_release_again_changes_nothing(platform_host: Host) -> None:
    tag = version(platform_host)
    assert deploy(platform_host, tag).rc == 0
    result = deploy(platform_host, tag)
    assert result.rc == 0, result.output[-4000:]
    assert result.changed(platform_host.name) == 0, result.output[-4000:]


def published_everywhere(tmp_path: Path) -> Path:
    target = tmp_path / "compose.yml"
    target.write_text(COMPOSE.read_text().replace("127.0.0.1:3001:3001", "0.0.0.0:3001:3001"))
    return target


FAULTS: list[tuple[str, str, list[str]]] = [
    ("bad-health", "never healthy", ["/health", "503"]),
    ("crash", "exits at the start", ["exit", "3"]),
    ("9.9.9", "image that does not exist", ["9.9.9", "registry"]),
]


@pytest.mark.parametrize(("tag", "what", "named"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_bad_release_never_takes_traffic(platform_host: Host, tag: str, what: str, named: list[str]) -> None:
    before, live = leftovers(platform_host), version(platform_host)
    with site_load(platform_host) as load:
        result = deploy(platform_host, tag)
        report = load.stop()
    assert result.rc != 0
    assert "ansible_module" not in result.output, "the module itself must not break"
    for word in named:
        assert word in result.output, result.output[-4000:]
    assert report.failed == 0, report.describe()
    assert set(report.versions) == {live}
    assert leftovers(platform_host) == before
    assert version(platform_host) == live


def test_a_compose_file_that_publishes_to_everyone_is_refused(platform_host: Host, tmp_path: Path) -> None:
    before = leftovers(platform_host)
    with site_load(platform_host) as load:
        result = deploy(platform_host, "1.1.0", compose=published_everywhere(tmp_path))
        report = load.stop()
    assert result.rc != 0
    assert "3001" in result.output
    assert "127.0.0.1" in result.output, "the remedy is named"
    assert report.failed == 0, report.describe()
    assert leftovers(platform_host) == before


def test_a_port_that_is_open_after_a_deploy_fails_it_with_the_finding(platform_host: Host) -> None:
    live = version(platform_host)
    listen(platform_host, 9001, "0.0.0.0")
    platform_host.run("ufw", "allow", "9001/tcp")
    try:
        failed = deploy(platform_host, live)
        assert failed.rc != 0
        assert "9001/tcp is reachable over IPv4: python3" in failed.output, failed.output[-4000:]
        assert "Remedy: Stop the service" in failed.output
        declared = [{"port": 9001, "reason": "a test"}]
        passed = platform_host.play("deploy", apps=apps(live), port_audit_expected=declared)
        assert passed.rc == 0, passed.output[-4000:]
        assert platform_host.play("deploy", apps=apps(live), port_audit_fail_on="none").rc == 0
        platform_host.run("mv", DECLARED, f"{DECLARED}.away")
        undeclared = platform_host.play("deploy", apps=apps(live))
        platform_host.run("mv", f"{DECLARED}.away", DECLARED)
        assert undeclared.rc == 0, undeclared.output[-4000:]
    finally:
        platform_host.run("ufw", "delete", "allow", "9001/tcp")
        platform_host.run("systemctl", "stop", "test-9001")


def test_rollback_returns_to_the_previous_release_and_status_shows_it(platform_host: Host) -> None:
    live = version(platform_host)
    other = other_than(live)
    assert deploy(platform_host, other).rc == 0
    with site_load(platform_host) as load:
        result = platform_host.play("rollback", app=APP)
        report = load.stop()
    assert result.rc == 0, result.output[-4000:]
    assert report.failed == 0, report.describe()
    assert version(platform_host) == live
    status = platform_host.play("status")
    assert status.rc == 0
    release = json.loads(platform_host.run("cat", f"/var/lib/daffathan/apps/{APP}/state.json"))["live"]
    assert release["id"] in status.output
    assert re.search(r"\b(blue|green)\b", status.output)
    assert live in status.output


def test_a_reboot_brings_the_live_release_back(platform_host: Host) -> None:
    live = version(platform_host)
    lab("restart", platform_host.name)
    assert wait_until(lambda: version(platform_host) == live, seconds=60)
