# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""technova as it stands after site.yml: each strategy under load, migrations that hold and that fail, and ways back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import outside
from tests.support.ansible import PROJECT
from tests.support.example import Example, example
from tests.support.oven import clients
from tests.support.rollout import containers_of, journal, state_of

APP, PRICING = "technova", "technova-pricing"
SITE, PRICES = "technova.example.test", "pricing.technova.example.test"


@pytest.fixture(scope="module")
def system() -> Example:
    return example("technova", SITE)


def sql(system: Example, query: str) -> str:
    return system.sql(APP, "db", "technova", query)


def schema(system: Example) -> str:
    return sql(system, "SELECT version FROM schema_version")


def items(system: Example) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = system.ask("/api/items")
    return found


def versions(system: Example, app: str) -> set[str]:
    """Tags of the containers that the gateway may lead to."""
    live = state_of(system.vps, app)["live"]
    return {service["image"].rpartition(":")[2] for service in live["services"].values()}


def started(system: Example) -> dict[str, str]:
    """When the containers of the live release of api were started, by their ids."""
    live = state_of(system.vps, APP)["live"]["id"]
    names = [
        item["name"] for item in containers_of(system.vps, APP) if (item["release"], item["service"]) == (live, "api")
    ]
    found = json.loads(system.vps.run("docker", "inspect", *names))
    return {container["Id"]: container["State"]["StartedAt"] for container in found}


def test_only_ssh_and_http_can_be_reached(system: Example) -> None:
    assert system.open_ports() == ({22, 80, 443}, {22, 80, 443})


def test_the_page_shows_what_the_api_keeps(system: Example) -> None:
    system.send("/api/items", {"name": "router", "stock": 3})
    assert "<li>router: 3</li>" in outside.curl(system.vps, system.authority, SITE, "/")
    running = [
        item for item in containers_of(system.vps, APP) if item["service"] == "web" and item["state"] == "running"
    ]
    assert len(running) == 3


def test_blue_green_and_rolling_lose_nothing_and_the_schema_grows(system: Example) -> None:
    system.send("/api/items", {"name": "cable", "stock": 5})
    before = started(system)
    with (
        clients(system.vps, domain=SITE, path="/api/items", rate=20, authority=system.authority) as api,
        clients(system.vps, domain=SITE, path="/", rate=20, authority=system.authority) as page,
    ):
        result = system.deploy(APP, "1.1.0")
    assert result.rc == 0, result.output[-8000:]
    assert not set(started(system)) & set(before)
    assert (api.failed(), page.failed()) == ({}, {})
    assert {answer.split()[1] for answer in (*api, *page)} == {"1.0.0", "1.1.0"}
    assert schema(system) == "2"
    assert items(system)[0]["location"] == "unknown"


def test_the_way_back_is_a_switch_and_the_schema_suits_both(system: Example) -> None:
    assert system.deploy(APP, "1.0.0").rc == 0
    before = started(system)
    assert system.deploy(APP, "1.1.0").rc == 0
    with clients(system.vps, domain=SITE, path="/api/items", rate=20) as asking:
        system.must("rollback", app=APP)
    assert asking.failed() == {}
    assert (versions(system, APP), schema(system)) == ({"1.0.0"}, "2")
    assert started(system) == before, "api is warm: it is switched to, not started"


def test_a_failing_migration_is_undone_while_the_old_release_serves(system: Example) -> None:
    # As before the first deploy of version 2: there is something to migrate.
    sql(system, "ALTER TABLE items DROP COLUMN location; UPDATE schema_version SET version = 1")
    with clients(system.vps, domain=SITE, path="/api/items", rate=20) as asking:
        result = system.deploy(APP, "bad-migration")
    assert result.rc != 0
    assert "FAULT=bad-migration" in result.output
    steps = [line.get("job") for line in journal(system.vps, APP) if line["step"] == "job"]
    assert "migrate.rollback" in steps
    assert asking.failed() == {}
    assert (versions(system, APP), schema(system)) == ({"1.0.0"}, "1")


def test_the_recovery_point_of_a_deploy_takes_the_data_back(system: Example) -> None:
    before = items(system)
    assert system.deploy(APP, "1.1.0").rc == 0
    system.send("/api/items", {"name": "after the deploy", "stock": 1})
    live = state_of(system.vps, APP)["live"]["id"]
    point = state_of(system.vps, APP)["migrations"][live]["recovery_point"]
    system.must("rollback", app=APP)
    system.must("restore", app=APP, confirm=APP, snapshot=point["id"])
    assert items(system) == before
    assert schema(system) == "1"


def test_a_release_that_never_gets_ready_never_serves(system: Example) -> None:
    with clients(system.vps, domain=SITE, path="/", rate=20) as asking:
        result = system.play("deploy", app=APP, app_env={"TAG": "not-ready"}, app_start_timeout=15)
    assert result.rc != 0
    assert set(asking) == {"200 1.0.0"}


def test_a_release_that_answers_with_errors_is_switched_back(system: Example) -> None:
    with clients(system.vps, domain=SITE, path="/api/items", rate=40):
        result = system.deploy(APP, "errors")
    assert result.rc != 0
    assert versions(system, APP) == {"1.0.0"}


def test_a_good_canary_is_promoted(system: Example) -> None:
    with clients(system.vps, domain=PRICES, path="/prices/router", rate=40) as asking:
        result = system.deploy(PRICING, "1.1.0")
    assert result.rc == 0, result.output[-8000:]
    assert set(asking) == {"200 1.0.0", "200 1.1.0"}
    assert versions(system, PRICING) == {"1.1.0"}


def test_a_bad_canary_is_met_by_few_and_taken_away(system: Example) -> None:
    with clients(system.vps, domain=PRICES, path="/prices/router", rate=40) as asking:
        result = system.deploy(PRICING, "errors")
    assert result.rc != 0
    assert versions(system, PRICING) == {"1.1.0"}
    # What the inventory asks for: site.yml would begin a canary back to it, which nobody meets.
    system.must("rollback", app=PRICING)
    assert versions(system, PRICING) == {"1.0.0"}
    assert sum(asking.failed().values()) < 0.25 * sum(asking.values())


def test_the_digests_of_an_environment_are_a_release_of_another(system: Example, tmp_path: Path) -> None:
    """Here both are the same, which shows that the digests name what runs: nothing is left to do."""
    release, digests = tmp_path / "release.yml", str(PROJECT / "examples" / "technova" / "digests.yml")
    unknown = system.play(digests, app="nosuch", file=str(release))
    assert unknown.rc != 0 and "nosuch has no live release" in unknown.output
    system.must(digests, app=APP, file=str(release))
    assert release.read_text().count("@sha256:") == 2
    result = system.must("deploy", "--extra-vars", f"@{release}", app=APP)
    assert result.changed(system.vps.name) == 0, result.output[-8000:]


def test_a_second_run_changes_nothing(system: Example) -> None:
    assert system.changed_by_a_second_run() == 0
