# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two tenants of daffathan-labs on one host: what happens to one of them, the other does not notice."""

from __future__ import annotations

import json

import pytest

from tests.support.example import Example, example
from tests.support.load import site_load
from tests.support.oven import clients
from tests.support.rollout import containers_of

MAIN, OTHER = "labs-main", "labs-univ-pancasila"
SITES = {MAIN: "labs.example.test", OTHER: "univ-pancasila.labs.example.test"}


@pytest.fixture(scope="module")
def system() -> Example:
    return example("daffathan-labs", SITES[MAIN])


def version(system: Example, app: str, path: str = "/api/version") -> str:
    return str(system.ask(path, site=SITES[app])["version"])


def notes(system: Example, app: str) -> list[str]:
    return [note["text"] for note in system.ask("/api/notes", site=SITES[app])]


def add_note(system: Example, app: str, text: str) -> None:
    system.ask("/api/notes", "--json", json.dumps({"text": text}), site=SITES[app])


def running(system: Example, app: str) -> set[str]:
    return {item["name"] for item in containers_of(system.vps, app) if item["state"] == "running"}


def test_only_ssh_and_http_can_be_reached(system: Example) -> None:
    assert system.open_ports() == ({22, 80, 443}, {22, 80, 443})


@pytest.mark.parametrize(("app", "tag"), [(MAIN, "main-latest"), (OTHER, "univ-pancasila-latest")])
def test_each_tenant_has_the_version_of_its_branch(system: Example, app: str, tag: str) -> None:
    assert {version(system, app, path) for path in ("/version", "/api/version", "/ai/version")} == {tag}


def test_each_tenant_has_data_of_its_own(system: Example) -> None:
    add_note(system, MAIN, "of main")
    assert "of main" in notes(system, MAIN)
    assert "of main" not in notes(system, OTHER)


def test_one_tenant_is_deployed_and_rolled_back_while_both_are_used(system: Example) -> None:
    other = running(system, OTHER)
    with (
        site_load(system.vps, site=SITES[MAIN], rate=60) as load,
        clients(system.vps, domain=SITES[OTHER], path="/api/version", rate=20) as neighbours,
    ):
        assert system.deploy(MAIN, "1.1.0").rc == 0
        assert version(system, MAIN) == "1.1.0"
        system.must("rollback", app=MAIN)
        assert version(system, MAIN) == "main-latest"
        report = load.stop()
    assert report.failed == report.refused == 0, report.describe()
    assert set(report.versions) == {"main-latest", "1.1.0"}
    assert set(neighbours) == {"200 univ-pancasila-latest"}
    assert running(system, OTHER) == other, "not one of its containers was replaced"


@pytest.mark.parametrize("tag", ["bad-health", "crash"])
def test_a_broken_release_of_one_tenant_harms_neither(system: Example, tag: str) -> None:
    with (
        clients(system.vps, domain=SITES[MAIN], rate=20) as own,
        clients(system.vps, domain=SITES[OTHER], rate=20) as neighbours,
    ):
        result = system.play("deploy", app=OTHER, app_env={"TAG": tag}, app_start_timeout=15)
    assert result.rc != 0
    assert set(own) == {"200 main-latest"}
    assert set(neighbours) == {"200 univ-pancasila-latest"}


def test_one_tenant_is_restored_alone(system: Example) -> None:
    add_note(system, MAIN, "before the backup")
    system.must("backup")
    query = "TRUNCATE notes"
    system.vps.run("docker", "exec", f"{MAIN}-db-1", "psql", "-U", "labs", "-qc", query)
    add_note(system, OTHER, "after the backup")
    system.must("restore", app=MAIN, confirm=MAIN)
    assert "before the backup" in notes(system, MAIN)
    assert "after the backup" in notes(system, OTHER), "the other tenant is not set back"


def test_a_second_run_changes_nothing(system: Example) -> None:
    assert system.changed_by_a_second_run() == 0
