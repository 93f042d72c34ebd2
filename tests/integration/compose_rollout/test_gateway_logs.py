# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gateway's logs: who may read them, and their rotation under requests."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from tests.support.app import APP, other_than, version
from tests.support.lab import Host, wait_until
from tests.support.load import site_load
from tests.support.rollout import GATEWAY_LOGS, Call, assert_settled, gateway_log, looks, site, state_of, wordy

SERVICES = {"ui": 1, "api": 1, "ai": 1}
CONFIGURATION = "/etc/daffathan/gateway/logrotate.conf"
KEPT = 5
ENGINE = "docker.socket docker.service"


@pytest.fixture(scope="module")
def host(platform_host: Host) -> Iterator[Host]:
    """Its logs are rotated at 8 KiB, and only when a test asks for it."""
    platform_host.run("systemctl", "stop", "daffathan-gateway-logs.timer")
    platform_host.run("sed", "--in-place", "s/size .*/size 8k/", CONFIGURATION)
    assert "size 8k" in platform_host.run("cat", CONFIGURATION)
    yield platform_host


def files(host: Host, name: str = "access.log") -> dict[str, int]:
    """The size of each file of a log."""
    lines = host.run("find", GATEWAY_LOGS, "-name", f"{name}*", "-printf", "%f %s\n").splitlines()
    return {found: int(size) for found, size in (line.split() for line in lines)}


def rotate(host: Host) -> None:
    """What the timer does each minute, where there is enough to rotate."""
    host.run("sh", "-c", wordy(10))
    assert files(host)["access.log"] > 8192
    # More often than systemd would start it by itself.
    unit = "daffathan-gateway-logs.service"
    host.run("sh", "-ec", f"systemctl reset-failed {unit}; systemctl start {unit}")
    assert wait_until(lambda: "access.log" in files(host), seconds=20), files(host)


def drawn(host: Host, since: str) -> int:
    """The requests of a canary's step that say something, by what the gateway has logged."""
    entries = [entry for entry in gateway_log(host, since) if entry["chosen"] == "weight"]
    return len([entry for entry in entries if entry["upstream_status"] and entry["status"] != 499])


def test_each_request_counts_once_while_logs_are_rotated(host: Host) -> None:
    options = site(host, other_than(version(host)))
    for name in ("api", "ai"):
        options["services"][name]["strategy"] = "canary"
    # It cannot pass before more was answered than the first load asks.
    analysis = {"min_requests": 400, "interval": 1, "max_wait": 120}
    options["canary"] = {"steps": [{"weight": 50, "pause": 1}], "analysis": analysis}
    call = Call(host, options)
    assert wait_until(lambda: state_of(host, APP).get("trial") and looks(host), seconds=120)
    since = state_of(host, APP)["trial"]["since"]
    with site_load(host, rate=40) as load:
        for _ in range(3):
            rotate(host)
            # A minute passes between two in real life, and many looks.
            number = len(looks(host))
            assert wait_until(lambda: len(looks(host)) > number + 1, seconds=30)  # noqa: B023
        first = load.stop()
    # A WebSocket is a line when it has ended.
    ended = datetime.now(timezone.utc) + timedelta(seconds=1)
    assert wait_until(lambda: datetime.fromisoformat(looks(host)[-1]["at"]) > ended, seconds=60)
    look = looks(host)[-1]
    assert look["canary"]["requests"] + look["stable"]["requests"] == drawn(host, since) > 100
    # What is left of the old file is that of the third rotation: the two before are compressed.
    assert {"access.log", "access.log.1", "access.log.2.gz", "access.log.3.gz"} <= set(files(host))
    with site_load(host, rate=120) as load:
        rotate(host)
        result = call.result()
        second = load.stop()
    assert not result["failed"], result["msg"]
    assert_settled(host, APP, SERVICES)
    for report in (first, second):
        assert report.failed == 0, report.describe()


def test_logs_are_rotated_while_the_engine_is_away(host: Host) -> None:
    """Nothing of it goes through the engine, so the disk does not fill up however long that is away."""
    try:
        # Slow, because nobody reads what the app prints.
        with site_load(host, rate=5) as load:
            host.run("sh", "-c", f"systemctl stop {ENGINE}")
            for _ in range(KEPT + 2):
                rotate(host)
            found = files(host)
            assert host.rc("systemctl", "is-active", "docker.service") != 0
            report = load.stop()
    finally:
        host.run("systemctl", "start", "docker.service")
    assert report.failed == 0, report.describe()
    assert set(found) == {"access.log", "access.log.1", *(f"access.log.{number}.gz" for number in range(2, KEPT + 1))}


def test_logs_are_for_root_and_adm_alone(host: Host) -> None:
    for name in ("access.log", "error.log"):
        assert files(host, name)
    modes = host.run("find", GATEWAY_LOGS, "-printf", "%y%m %g\n").split("\n")
    assert set(filter(None, modes)) == {"d2751 adm", "f640 adm"}
    path = f"{GATEWAY_LOGS}/access.log.1"
    reader = ("setpriv", "--reuid=nobody", "--clear-groups")
    assert host.rc(*reader, "--regid=nogroup", "cat", path) != 0
    assert host.rc(*reader, "--regid=adm", "cat", path) == 0
    assert host.rc(*reader, "--regid=adm", "sh", "-c", f": >> {path}") != 0


def test_the_engine_tells_why_the_gateway_does_not_load_a_configuration(host: Host) -> None:
    """Also when the log it was told first has been rotated."""
    spoiled, unknown = "/etc/daffathan/gateway/apps/spoiled.conf", f"unknown_{time.time_ns()}"
    try:
        host.write(spoiled, f"{unknown} on;")
        host.run("sh", "-ec", "kill -HUP $(docker inspect --format '{{.State.Pid}}' daffathan-gateway)")
        said = ("sh", "-c", f"docker logs daffathan-gateway 2>&1; cat {GATEWAY_LOGS}/error.log")
        assert wait_until(lambda: host.run(*said).count(unknown) == 2, seconds=20)
    finally:
        host.run("rm", "--force", spoiled)


def test_the_timer_is_on_and_the_unit_is_confined(host: Host) -> None:
    assert host.run("systemctl", "is-enabled", "daffathan-gateway-logs.timer").strip() == "enabled"
    host.run("systemctl", "start", "daffathan-gateway-logs.timer")
    security = json.loads(host.run("systemd-analyze", "security", "--json=short", "daffathan-gateway-logs.service"))
    exposure = sum(float(row["exposure"]) for row in security if row["exposure"])
    assert exposure < 3, exposure
