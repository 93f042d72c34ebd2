# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""micro-sayur as it stands after site.yml: an event's way, swaps under load, broken releases, and a restore."""

from __future__ import annotations

import json
import re
import time
import uuid
from typing import Any

import pytest

from tests.support.example import Example, example
from tests.support.lab import wait_until
from tests.support.oven import clients

APP = SYSTEM = "micro-sayur"
DOCUMENTED = "{{ playbook_dir }}/../examples/micro-sayur/as-documented/docker-compose.yml"


@pytest.fixture(scope="module")
def system() -> Example:
    return example(SYSTEM, "api.micro-sayur.example.test")


def sent(system: Example, to: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = system.ask(f"/notifications?to={to}" if to else "/notifications")
    return found


def sql(system: Example, query: str) -> str:
    return system.sql(APP, "postgres", "micro_sayur", query)


def versions(system: Example) -> set[str]:
    """Those of the containers that run."""
    argv = ("docker", "ps", "--filter", "label=daffathan.release", "--format", "{{.Names}}")
    names = system.vps.run(*argv).split()
    return {system.vps.run("docker", "exec", name, "printenv", "VERSION").strip() for name in names}


def test_only_ssh_and_http_can_be_reached(system: Example) -> None:
    assert system.open_ports() == ({22, 80, 443}, {22, 80, 443})


def test_both_services_run_as_often_as_declared_without_rights(system: Example) -> None:
    argv = ("docker", "ps", "--quiet", "--filter", "label=daffathan.release")
    found = json.loads(system.vps.run("docker", "inspect", *system.vps.run(*argv).split()))
    services = sorted(container["Config"]["Labels"]["daffathan.service"] for container in found)
    assert services == ["notification-service", *["user-service"] * 3]
    for container in found:
        assert container["Config"]["User"] == "10001:10001"
        assert container["HostConfig"]["ReadonlyRootfs"]
        assert container["HostConfig"]["Memory"] == 256 << 20
        assert container["HostConfig"]["NanoCpus"] == 200_000_000
        assert "lab-only" not in json.dumps(container["Config"]["Env"])


def test_an_event_becomes_a_notification(system: Example) -> None:
    user = system.send("/users", {"name": "ani", "email": "ani@example.test"})
    assert wait_until(lambda: sent(system, "ani@example.test"), seconds=30)
    (notification,) = sent(system, "ani@example.test")
    assert (notification["user"], notification["text"]) == (user["id"], "Selamat datang, ani!")
    assert system.ask(f"/users/{user['id']}") == user


def test_the_documented_compose_file_is_refused_with_line_and_remedy(system: Example) -> None:
    before = versions(system)
    service = {"port": 8080, "routes": ["/users"], "health": "/ready"}
    apps = [{"name": "as-documented", "compose": DOCUMENTED, "services": {"user-service": service}}]
    result = system.play("deploy", apps=apps)
    assert result.rc != 0
    assert result.changed(system.vps.name) == 0
    for port, line in ((8080, 6), (8081, 19), (5432, 32), (6379, 39), (5672, 44), (15672, 45)):
        assert f"docker-compose.yml:{line}:" in result.output
        assert f"127.0.0.1:{port}:{port}" in result.output
    assert versions(system) == before


def test_nothing_is_lost_while_both_services_are_swapped(system: Example) -> None:
    known = {item["to"] for item in sent(system)}
    user = {"name": "swap NUMBER", "email": "swapNUMBER@example.test"}
    with (
        clients(system.vps, domain=system.site, path="/users", rate=10, authority=system.authority) as reading,
        clients(
            system.vps,
            domain=system.site,
            path="/users",
            rate=10,
            body=json.dumps(user),
            authority=system.authority,
        ) as adding,
    ):
        for tag in ("1.1.0", "1.0.0"):
            assert system.deploy(APP, tag).rc == 0
            assert versions(system) == {tag}
    assert reading.failed() == adding.failed() == {}
    assert {answer.split()[1] for answer in reading} == {"1.0.0", "1.1.0"}
    wanted = {f"swap{number}@example.test" for number in range(sum(adding.values()))}
    assert len(wanted) > 100
    assert wait_until(lambda: wanted <= {item["to"] for item in sent(system)}, seconds=60), "an event was lost"
    told = [item["to"] for item in sent(system) if item["to"] not in known]
    assert len(told) == len(set(told)), "an event was told twice"


@pytest.mark.parametrize("tag", ["not-ready", "crash"])
def test_a_broken_release_never_serves(system: Example, tag: str) -> None:
    before = versions(system)
    with clients(system.vps, domain=system.site, path="/users", rate=10) as asking:
        result = system.play("deploy", app=APP, app_env={"TAG": tag}, app_start_timeout=15)
    assert result.rc != 0
    assert re.search(r"service (user|notification)-service: ", result.output), result.output[-8000:]
    assert asking.failed() == {}
    assert versions(system) == before


def test_a_broker_that_restarts_costs_no_event(system: Example) -> None:
    system.vps.run("docker", "stop", f"{APP}-rabbitmq-1")
    system.send("/users", {"name": "dewi", "email": "dewi@example.test"})
    system.vps.run("docker", "start", f"{APP}-rabbitmq-1")
    assert wait_until(lambda: sent(system, "dewi@example.test"), seconds=90)


def test_a_restore_brings_the_users_back(system: Example) -> None:
    """The drill: its two figures are printed, for the README."""
    system.send("/users", {"name": "kept", "email": f"{uuid.uuid4().hex}@example.test"})
    system.must("backup", app=APP)
    begun = time.monotonic()
    count = int(sql(system, "SELECT count(*) FROM users"))
    assert count > 0
    sql(system, "TRUNCATE users")
    assert system.ask("/users") == []
    system.must("restore", app=APP, confirm=APP)
    seconds = time.monotonic() - begun
    assert int(sql(system, "SELECT count(*) FROM users")) == count
    status = json.loads(system.vps.run("daffathan-backup", "status", "--json"))
    objectives = status["apps"][APP]["objectives"]
    print(f"\nRTO {seconds:.0f} s; what the schedule can lose: {json.dumps(objectives)}")
    assert objectives["rpo_met"] and objectives["rpo_worst"] <= 3600


def test_a_second_run_changes_nothing(system: Example) -> None:
    assert system.changed_by_a_second_run() == 0
