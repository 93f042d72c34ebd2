# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recovery point before a migration, on a VPS with a real PostgreSQL: it is there, and it is the way back."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest

from tests.support.ansible import Run, answer, module
from tests.support.lab import Host
from tests.support.rollout import Call, killed_at, rollout

APP = "parcels"
COMPOSE = f"/root/{APP}.yml"
IMAGE = "registry.lab:5000/postgres:17"
REPOSITORY = "/var/lib/daffathan/backup/repository"
# The schema has a version of its own, as migration tools keep one. The first fills a table, the others destroy in it.
FIRST = (
    "CREATE TABLE schema (version int); INSERT INTO schema VALUES (1); "
    "CREATE TABLE parcels AS SELECT i AS id FROM generate_series(1, 1000) i"
)
LATER = "DELETE FROM parcels WHERE id % 2 = 0; ALTER TABLE parcels ADD column{0} text; UPDATE schema SET version = {0}"
# Everything in the database that a migration touches.
ROWS = """
SELECT version, (SELECT md5(string_agg(id::text, ',' ORDER BY id)) FROM parcels),
(SELECT string_agg(column_name, ',' ORDER BY 1) FROM information_schema.columns WHERE table_name = 'parcels')
FROM schema
"""
PSQL = ["psql", "--host=db", f"--username={APP}", f"--dbname={APP}", "-v", "ON_ERROR_STOP=1", "-qAtc"]


def parcels(host: Host, version: int, **migrate: Any) -> dict[str, Any]:
    """The options for a version that brings the schema of its number."""
    database = {
        "image": IMAGE,
        "environment": {"POSTGRES_DB": APP, "POSTGRES_USER": APP, "POSTGRES_HOST_AUTH_METHOD": "trust"},
        "volumes": ["data:/var/lib/postgresql/data"],
        "healthcheck": {"test": ["CMD", "pg_isready", "--host=127.0.0.1"], "interval": "1s", "retries": 60},
    }
    worker = {"image": IMAGE, "command": ["sleep", "infinity"], "init": True, "environment": {"VERSION": str(version)}}
    model = json.dumps({"services": {"db": database, "worker": worker}, "volumes": {"data": {}}})
    host.write(COMPOSE, model)
    change = FIRST if version == 1 else LATER.format(version)
    return {
        "app": APP,
        "compose_file": COMPOSE,
        "services": {"worker": {"min_uptime": 0, "stop_timeout": 5}},
        "migrate": {
            "service": "worker",
            "command": [*PSQL, change],
            "version": [*PSQL, "SELECT version FROM schema"],
            "timeout": 60,
            **migrate,
        },
    }


def sql(host: Host, query: str) -> str:
    return host.run("docker", "exec", f"{APP}-db-1", "psql", "-U", APP, "-qAtc", query).strip()


def rows(host: Host) -> str:
    return sql(host, ROWS)


def points(host: Host) -> list[dict[str, Any]]:
    told = answer(Run("ansible", *module(host, "backup_info", {"app": APP}), "--become", merged=True).result())
    assert not told["failed"], told
    return list(told["points"])


@pytest.fixture(scope="module")
def host(platform_host: Host) -> Host:
    """The VPS with the first version, whose database is backed up from now on, as role backup would have it."""
    result = rollout(platform_host, parcels(platform_host, 1))
    assert not result["failed"], result["msg"]
    assert result["migration"] == {"schema_before": "", "schema_after": "1", "recovery_point": None}
    path = "/etc/daffathan/backup.json"
    config = json.loads(platform_host.run("cat", path))
    database = {"service": "db", "engine": "postgresql", "name": APP, "user": APP}
    config["apps"].append({"name": APP, "backup": {"database": database}})
    platform_host.write(path, json.dumps(config))
    return platform_host


def test_point_is_asked_for_where_there_can_be_none(host: Host) -> None:
    options = parcels(host, 2, recovery_point=True) | {"app": "letters"}
    refused = rollout(host, options)
    assert refused["failed"]
    assert "migrate.recovery_point: true, but no database of letters is backed up" in refused["msg"]
    assert host.rc("docker", "inspect", "letters-db-1") != 0
    checked = rollout(host, options, "--check")
    assert not checked["failed"], "a run of the whole platform would set the backups up first"


def test_migration_has_a_point_and_the_point_has_exactly_the_rows_before(host: Host) -> None:
    sql(host, "INSERT INTO parcels SELECT generate_series(5001, 5500)")
    before = rows(host)
    options = parcels(host, 2, after=["true"])
    shown = Call(host, options, "--check", "--diff")
    assert not shown.result()["failed"]
    assert "+recovery point before migrate.command" in shown.output
    result = rollout(host, options)
    assert not result["failed"], result["msg"]
    migrated = rows(host)
    assert migrated != before
    migration = result["migration"]
    assert (migration["schema_before"], migration["schema_after"], result["schema"]) == ("1", "2", "2")
    point = migration["recovery_point"]
    assert (point["app"], point["release"], point["databases"]) == (APP, result["release"], [APP])
    (listed,) = [entry for entry in points(host) if entry["id"] == point["id"]]
    assert listed["complete"]
    assert (listed["release"], listed["reason"], list(listed["snapshots"])) == (
        *(result["release"], "before-migration"),
        [f"database/{APP}"],
    )
    info = answer(Run("ansible", *module(host, "compose_rollout_info", {"app": APP}), "--become", merged=True).result())
    (told,) = info["apps"]
    assert told["live"]["migration"] == migration
    assert told["history"][-1]["migration"] == {**migration, "recovery_point": point["id"]}
    assert rollout(host, options)["changed"] is False

    # The version before cannot be returned to; the message has the command that gives its data back.
    back = rollout(host, {"app": APP, "state": "rolled_back"})
    assert back["failed"]
    found = re.search(r"ansible-playbook playbooks/restore\.yml (.*)", back["msg"])
    assert found is not None, back["msg"]
    words = shlex.split(found[1])
    assert f"snapshot={point['id']}" in words
    done = host.play("restore", *words)
    assert done.rc == 0, done.output[-4000:]
    assert rows(host) == before


def test_repository_that_is_gone_refuses_the_release_and_leaves_the_schema(host: Host) -> None:
    before, live = rows(host), rollout(host, parcels(host, 3), "--check")["release"]
    host.run("mv", REPOSITORY, "/srv/away")
    try:
        result = rollout(host, parcels(host, 3))
    finally:
        host.run("mv", "/srv/away", REPOSITORY)
    assert result["failed"]
    for words in ("migrate.recovery_point: restic", "repository does not exist", f"{live} keeps serving"):
        assert words in result["msg"], result["msg"]
    assert rows(host) == before
    running = host.run("docker", "ps", "--format", "{{.Names}}", "--filter", f"label=daffathan.app={APP}").split()
    assert sorted(running) == [f"{APP}--{live}-worker-1", f"{APP}-db-1"]


def test_run_that_is_killed_at_its_point_is_repeated_with_one(host: Host) -> None:
    before, options = rows(host), parcels(host, 4)
    # Behind the fetch: stage 3-4, point 5-6.
    last = killed_at(host, options, 5)
    assert last is not None and (last["step"], last["event"]) == ("point", "begin"), last
    assert rows(host) == before
    # The command of the run that is gone is still at its work: it is waited for.
    result = rollout(host, options)
    assert not result["failed"], result["msg"]
    assert rows(host) != before
    point = result["migration"]["recovery_point"]
    assert point["release"] == result["release"]
    host.converge("restore", app=APP, snapshot=point["id"], parts="database", confirm=APP)
    assert rows(host) == before
