# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role backup and the restore playbook on a VPS with a real PostgreSQL and a real volume."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible import Run, answer, module
from tests.support.lab import Host, PlayResult, wait_until

HERE = Path(__file__).parent
ROLE = "tests/integration/backup/role.yml"
COMMAND = "daffathan-backup"
ITEMS = ["database/labs", "volume/uploads"]
LABS: dict[str, Any] = {
    "name": "labs",
    "backup": {
        "database": {"service": "db", "engine": "postgresql", "name": "labs", "user": "labs"},
        "volumes": ["uploads"],
        "rpo": "2d",
        "rto": "1h",
    },
}
METRICS = "/var/lib/prometheus/node-exporter/daffathan_backup.prom"
CANARY = "canary-6d1f0e"
# Who reads all command lines of the host while a backup and a point are made sees what any user of the host can see.
WATCH = f"""
import json, pathlib, subprocess
secret = json.loads(pathlib.Path("/etc/daffathan/backup-credentials.json").read_text())["UNUSED_TOKEN"].encode()
run = subprocess.Popen(["sh", "-c", "{COMMAND} run && {COMMAND} point --app labs"])
seen = set()
while run.poll() is None:
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            seen.add(path.read_bytes())
        except OSError:
            pass
lines = b"\\n".join(seen)
print(secret in lines, b"pg_dump" in lines and b"pg_restore" in lines)
"""


def play(host: Host, *arguments: str, **extra: Any) -> PlayResult:
    variables: dict[str, Any] = {"apps": [LABS], **extra}
    return host.play(ROLE, *arguments, **variables)


def sql(host: Host, query: str) -> str:
    return host.run("docker", "exec", "labs-db-1", "psql", "-U", "labs", "-qAtc", query).strip()


def web(host: Host, *argv: str) -> str:
    return host.run("docker", "exec", "labs-web-1", *argv)


def status(host: Host) -> dict[str, Any]:
    return dict(json.loads(host.run(COMMAND, "status", "--json")))


def listed(host: Host) -> list[dict[str, Any]]:
    return list(json.loads(host.run(COMMAND, "list", "--json")))


def objectives(host: Host) -> list[dict[str, Any]]:
    """What the module backup_info says of the objectives."""
    told = answer(Run("ansible", *module(host, "backup_info", {"app": "labs"}), "--become", merged=True).result())
    assert not told["failed"], told["msg"]
    return list(told["objectives"])


def metrics(host: Host) -> dict[str, float]:
    lines = host.run("cat", METRICS).splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def point(host: Host, *flags: str, **options: Any) -> dict[str, Any]:
    """What the module backup_point returned."""
    argv = module(host, "backup_point", {"app": "labs", **options})
    return answer(Run("ansible", *argv, "--become", *flags, merged=True).result())


def fails(host: Host, *argv: str) -> str:
    """Everything a command printed that must not succeed."""
    script = f"{' '.join(argv)} > /tmp/output 2>&1 && echo SUCCEEDED >> /tmp/output; cat /tmp/output"
    output = host.run("sh", "-c", script)
    assert "SUCCEEDED" not in output
    assert "Traceback" not in output
    return output


def variant(host: Host, *apps: dict[str, Any], **changes: str) -> list[str]:
    """The command with a configuration of its own, on the repository and the state of the host."""
    config = {**json.loads(host.run("cat", "/etc/daffathan/backup.json")), "apps": apps, **changes}
    data = base64.b64encode(json.dumps(config).encode()).decode()
    host.run("sh", "-c", f"echo {data} | base64 -d > /tmp/backup.json")
    return [COMMAND, "--config", "/tmp/backup.json"]


@pytest.fixture(scope="module")
def host(bare_host: Host) -> Host:
    """The VPS with the app running and the role applied."""
    install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends docker.io docker-cli docker-compose"
    bare_host.run("sh", "-c", f"export DEBIAN_FRONTEND=noninteractive; {install}", timeout=600)
    compose = base64.b64encode((HERE / "compose.yml").read_bytes()).decode()
    bare_host.run("sh", "-c", f"mkdir -p /srv/labs && echo {compose} | base64 -d > /srv/labs/compose.yml")
    bare_host.run("docker", "compose", "-f", "/srv/labs/compose.yml", "up", "--detach", "--wait", timeout=600)
    # The server that initialises the data listens on its socket alone, and is started anew afterwards.
    ready = ("docker", "exec", "labs-db-1", "pg_isready", "--host", "127.0.0.1", "--username", "labs")
    assert wait_until(lambda: bare_host.rc(*ready) == 0, seconds=90)
    sql(bare_host, "CREATE TABLE items (id serial PRIMARY KEY, name text)")
    sql(bare_host, "INSERT INTO items (name) SELECT 'item ' || i FROM generate_series(1, 5000) i")
    web(bare_host, "sh", "-c", "mkdir /data/a; echo one > /data/a/one; echo two > /data/two; chown 1234:99 /data/two")
    result = play(bare_host, backup_environment={"UNUSED_TOKEN": CANARY})
    assert result.rc == 0, result.output[-4000:]
    assert "store a copy elsewhere" in result.output
    assert bare_host.run("cat", "/var/lib/daffathan/backup/password").strip() not in result.output
    return bare_host


def test_a_dry_run_on_a_bare_host_works_and_changes_nothing(bare_host: Host) -> None:
    result = play(bare_host, "--check", "--diff")
    assert result.rc == 0, result.output[-4000:]
    assert result.changed(bare_host.name) > 0
    assert bare_host.rc("test", "-e", "/etc/daffathan") != 0
    assert bare_host.rc("test", "-e", "/usr/local/sbin/daffathan-backup") != 0
    refused = point(bare_host)
    assert refused["failed"]
    assert "backups are not set up on this host" in refused["msg"]
    assert "run role daffathan.platform.backup" in refused["msg"]
    assert point(bare_host, "--check")["changed"] is True


def test_a_second_run_and_a_dry_run_change_nothing(host: Host) -> None:
    for arguments in ([], ["--check", "--diff"], ["--tags", "backup"]):
        result = play(host, *arguments, backup_environment={"UNUSED_TOKEN": CANARY})
        assert result.rc == 0, result.output[-4000:]
        assert result.changed(host.name) == 0, result.output[-4000:]


def test_the_timer_is_on_and_the_unit_is_confined(host: Host) -> None:
    assert host.run("systemctl", "is-enabled", "daffathan-backup.timer").strip() == "enabled"
    assert host.run("systemctl", "is-active", "daffathan-backup.timer").strip() == "active"
    security = json.loads(host.run("systemd-analyze", "security", "--json=short", "daffathan-backup.service"))
    exposure = sum(float(row["exposure"]) for row in security if row["exposure"])
    assert exposure < 4, exposure


def test_the_password_and_the_repository_are_for_root_alone(host: Host) -> None:
    assert host.run("stat", "-c", "%a %U", "/var/lib/daffathan/backup/password").strip() == "400 root"
    assert host.run("stat", "-c", "%a %U", "/etc/daffathan/backup-credentials.json").strip() == "400 root"
    assert host.run("stat", "-c", "%a %U", "/var/lib/daffathan/backup").strip() == "700 root"


def test_a_deleted_row_and_a_deleted_file_come_back(host: Host) -> None:
    host.run("systemctl", "start", "daffathan-backup.service")
    assert status(host)["state"] == "ok"
    (point,) = [point for point in listed(host) if point["reason"] == "scheduled"]
    assert point["complete"]
    assert set(point["items"]) == {"database/labs", "volume/uploads"}

    sql(host, "DELETE FROM items WHERE id <= 100; UPDATE items SET name = 'wrong' WHERE id = 200")
    web(host, "sh", "-c", "rm -r /data/a /data/two; echo new > /data/new")

    refused = host.play("restore", app="labs")
    assert refused.rc != 0
    assert "-e confirm=labs" in refused.output
    shown = host.play("restore", "--check", app="labs")
    assert shown.rc == 0
    assert shown.changed(host.name) == 0
    for part in (point["point"], point["items"]["database/labs"][:8], "UTC", "KiB"):
        assert part in shown.output
    assert sql(host, "SELECT count(*) FROM items") == "4900", "neither has touched anything"

    done = host.play("restore", app="labs", confirm="labs")
    assert done.rc == 0, done.output[-4000:]
    assert sql(host, "SELECT count(*) FROM items") == "5000"
    assert sql(host, "SELECT name FROM items WHERE id = 200") == "item 200"
    assert web(host, "cat", "/data/a/one", "/data/two").split() == ["one", "two"]
    assert web(host, "stat", "-c", "%u:%g", "/data/two").strip() == "1234:99"
    assert web(host, "cat", "/data/new").strip() == "new", "newer files stay"
    assert status(host)["last_restore"]["error"] is None

    # What the restore replaced is a backup of its own, and is not the latest one.
    safety = status(host)["last_restore"]["safety"]
    early = host.play("restore", "--check", app="labs", at="2026-01-01T00:00:00Z")
    assert early.rc != 0
    between = re.search(r"between (\S+Z) and (\S+Z)\.", " ".join(early.output.split()))
    assert between is not None, early.output[-4000:]
    for time, expected in zip(between.groups(), (point["point"], safety)):
        assert f"backup {expected} of" in host.run(COMMAND, "restore", "--app", "labs", "--at", time, "--dry-run")
    host.run(COMMAND, "restore", "--app", "labs", "--snapshot", safety, "--database")
    assert sql(host, "SELECT count(*) FROM items") == "4900"
    exact = host.play("restore", app="labs", confirm="labs", snapshot=point["point"], exact=True)
    assert exact.rc == 0, exact.output[-4000:]
    assert sql(host, "SELECT count(*) FROM items") == "5000"
    assert web(host, "ls", "/data").split() == ["a", "two"]


def test_metrics_tell_the_last_recoverable_point_of_each_item(host: Host) -> None:
    host.run("systemctl", "start", "daffathan-backup.service")
    newest = {item: max(p["time"] for p in listed(host) if p["complete"] and item in p["items"]) for item in ITEMS}
    told, recoverable = metrics(host), 'daffathan_backup_last_recoverable_point_timestamp_seconds{app="labs",item="%s"}'
    for item, time in newest.items():
        assert told[recoverable % item] == int(datetime.fromisoformat(time).timestamp())
        assert told[f'daffathan_backup_rpo_objective_seconds{{app="labs",item="{item}"}}'] == 2 * 86400
    assert told['daffathan_backup_success{app="labs"}'] == told["daffathan_backup_run_success"] == 1
    made = point(host)
    later = metrics(host)
    began = datetime.strptime(made["point"]["id"] + "+0000", "%Y%m%dt%H%M%Sz%z")
    assert later[recoverable % ITEMS[0]] == began.timestamp()
    assert later[recoverable % ITEMS[1]] == told[recoverable % ITEMS[1]]


def test_objectives_are_told_and_those_that_cannot_be_met_are_refused(host: Host) -> None:
    """Behind the first restore, by which it is known how long one takes."""
    (told,) = objectives(host)
    assert (told["covers"], told["rpo"], told["rpo_worst"]) == (ITEMS, 2 * 86400, 36 * 3600 + 1800)
    assert told["rto_measured"] and told["rto_expected"] > 0 and told["rto_met"]
    database = {**LABS["backup"]["database"], "rpo": "15m"}
    refused = play(host, apps=[{"name": "labs", "backup": {**LABS["backup"], "database": database, "rto": "1s"}}])
    assert refused.rc != 0
    assert refused.changed(host.name) == 0
    words = " ".join(refused.output.replace("\\n", " ").split())
    assert "apps[labs].backup.database.rpo is 15m, but with this plan the data of up to 1d12h30m can be lost" in words
    assert "backup_timeout: 2m" in words
    assert "apps[labs].backup.rto is 1s, but a restore of what it holds now takes" in words
    assert "measured by its last restores" in words


def test_a_restore_that_fails_leaves_the_old_data(host: Host) -> None:
    host.run(COMMAND, "run")
    sql(host, "DELETE FROM items WHERE id <= 10")
    sql(host, "CREATE VIEW later AS SELECT name FROM items")
    result = host.play("restore", app="labs", confirm="labs", parts="database")
    assert result.rc != 0
    assert "the old data are in place" in " ".join(result.output.split())
    assert sql(host, "SELECT count(*) FROM items") == "4990"
    sql(host, "DROP VIEW later")
    host.run(COMMAND, "restore", "--app", "labs", "--database")
    assert sql(host, "SELECT count(*) FROM items") == "5000"


def test_a_dump_that_dies_in_the_middle_is_no_backup_and_is_reported(host: Host) -> None:
    host.run(COMMAND, "run")
    good = [point["point"] for point in listed(host) if point["complete"]]
    sql(host, "CREATE TABLE torn AS SELECT i, repeat('x', 500) AS filler FROM generate_series(1, 20000) i")
    path = sql(host, "CHECKPOINT; SELECT pg_relation_filepath('torn')")
    file = f"/var/lib/postgresql/data/{path}"
    damage = ["dd", "if=/dev/urandom", f"of={file}", "bs=8192", "seek=700", "count=1", "conv=notrunc"]
    host.run("docker", "exec", "labs-db-1", *damage)
    host.run("docker", "compose", "-f", "/srv/labs/compose.yml", "restart", "db")
    host.run("docker", "compose", "-f", "/srv/labs/compose.yml", "up", "--detach", "--wait")
    try:
        output = fails(host, COMMAND, "run")
        assert "invalid page in block 700" in output
        told = status(host)
        assert told["state"] == "failed"
        assert "invalid page" in told["apps"]["labs"]["last_attempt"]["error"]
        assert told["apps"]["labs"]["last_success"]["point"] == good[-1]
        last = listed(host)[-1]
        assert not last["complete"]
        assert "database/labs" not in last["items"]
        plan = host.run(COMMAND, "restore", "--app", "labs", "--dry-run")
        assert good[-1] in plan, "the latest backup is the last whole one"
        assert "incomplete" in fails(host, COMMAND, "restore", "--app", "labs", "--snapshot", last["point"])
        refused = point(host)
        assert refused["failed"]
        assert "invalid page" in refused["msg"]
        assert not listed(host)[-1]["complete"]
        assert host.rc("systemctl", "start", "daffathan-backup.service") != 0
        result = host.play("backup", app="labs")
        assert result.rc != 0
        assert "invalid page" in result.output
    finally:
        sql(host, "DROP TABLE torn")
    host.run("systemctl", "start", "daffathan-backup.service")
    assert status(host)["state"] == "ok"


def test_a_point_is_made_and_neither_the_latest_nor_a_success_of_the_schedule(host: Host) -> None:
    host.run(COMMAND, "run")
    before, status_before = listed(host), status(host)["apps"]["labs"]
    shown = point(host, "--check", reason="before-import", release="r7")
    assert shown["changed"] is True
    assert shown["point"] == {"app": "labs", "databases": ["labs"], "reason": "before-import", "release": "r7"}
    assert listed(host) == before
    made = point(host, reason="before-import", release="r7")
    assert not made["failed"], made["msg"]
    (new,) = [entry for entry in listed(host) if entry not in before]
    assert (new["point"], new["release"], new["reason"]) == (made["point"]["id"], "r7", "before-import")
    assert new["complete"]
    assert list(new["items"]) == ["database/labs"]
    assert made["point"]["bytes"] == new["bytes"] > 0
    assert f"backup {before[-1]['point']} of" in host.run(COMMAND, "restore", "--app", "labs", "--dry-run")
    after = status(host)["apps"]["labs"]
    assert after["last_point"]["point"] == made["point"]["id"]
    assert (after["last_attempt"], after["last_success"]) == (
        status_before["last_attempt"],
        status_before["last_success"],
    )


def test_a_dump_that_lies_is_no_point(host: Host) -> None:
    """A tool that breaks off and says that all is well: only reading the dump tells."""
    path, real = "/usr/local/bin/pg_dump", host.run("docker", "exec", "labs-db-1", "which", "pg_dump").strip()
    script = f"printf '#!/bin/sh\n{real} \"$@\" | head -c 20000\n' > {path}; chmod 755 {path}"
    host.run("docker", "exec", "--user", "0", "labs-db-1", "sh", "-c", script)
    try:
        refused = point(host)
    finally:
        host.run("docker", "exec", "--user", "0", "labs-db-1", "rm", path)
    assert refused["failed"]
    assert "was stored, but cannot be read: pg_restore: error:" in refused["msg"]
    assert not listed(host)[-1]["complete"]


def test_a_point_waits_for_a_run_and_not_for_ever(host: Host) -> None:
    sleeper = "BEGIN; LOCK TABLE items; SELECT pg_sleep(300)"
    host.run("docker", "exec", "--detach", "labs-db-1", "psql", "-U", "labs", "-c", sleeper)
    host.run("systemctl", "start", "--no-block", "daffathan-backup.service")
    assert wait_until(lambda: status(host)["state"] == "running", seconds=60)
    refused = point(host, timeout=1)
    assert refused["failed"]
    assert "Another backup or restore is still running after 1 s" in refused["msg"]
    argv = module(host, "backup_point", {"app": "labs", "reason": "patient"})
    waiting = Run("ansible", *argv, "--become", merged=True)
    assert wait_until(lambda: host.rc("pgrep", "--full", "point .*--reason patient") == 0, seconds=60)
    others = "query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"
    sql(host, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    made = answer(waiting.result())
    assert not made["failed"], made["msg"]
    assert [entry["reason"] for entry in listed(host)[-2:]] == ["scheduled", "patient"]


def test_a_point_that_takes_too_long_is_none(host: Host) -> None:
    sleeper = "BEGIN; LOCK TABLE items; SELECT pg_sleep(300)"
    host.run("docker", "exec", "--detach", "labs-db-1", "psql", "-U", "labs", "-c", sleeper)
    others = "query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"
    locked = "SELECT count(*) FROM pg_locks WHERE relation = 'items'::regclass AND mode = 'AccessExclusiveLock'"
    assert wait_until(lambda: sql(host, locked) == "1", seconds=60)
    before = listed(host)
    try:
        refused = point(host, timeout=8)
    finally:
        sql(host, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    assert refused["failed"]
    assert "it was not done within 8 s" in refused["msg"]
    assert listed(host) == before
    host.run(COMMAND, "run")


def test_a_run_that_is_killed_is_told_and_the_next_one_works(host: Host) -> None:
    sleeper = "BEGIN; LOCK TABLE items; SELECT pg_sleep(300)"
    host.run("docker", "exec", "--detach", "labs-db-1", "psql", "-U", "labs", "-c", sleeper)
    host.run("systemctl", "start", "--no-block", "daffathan-backup.service")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump' AND wait_event_type = 'Lock'"
    host.run("sh", "-c", f'until docker exec labs-db-1 psql -U labs -qAtc "{waiting}" | grep -q 1; do sleep 0.2; done')
    assert status(host)["state"] == "running"
    host.run("systemctl", "kill", "--signal=KILL", "daffathan-backup.service")
    host.run("sh", "-c", "while systemctl is-active --quiet daffathan-backup.service; do sleep 0.2; done")
    assert status(host)["state"] in {"interrupted", "failed"}
    others = "query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"
    sql(host, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    host.run("systemctl", "start", "daffathan-backup.service")
    assert status(host)["state"] == "ok"


def test_two_runs_at_once_wait_for_each_other(host: Host) -> None:
    script = (
        f"{COMMAND} run > /tmp/1 & one=$!; {COMMAND} run > /tmp/2; two=$?; wait $one; echo $? $two; cat /tmp/1 /tmp/2"
    )
    output = host.run("sh", "-c", script)
    assert output.startswith("0 0\n"), output
    assert "Waiting for another backup" in output


def test_no_secret_is_seen_in_command_lines_output_or_journal(host: Host) -> None:
    leaked, dumped = host.run("python3", "-c", WATCH).split()[-2:]
    assert dumped == "True", "the watcher has seen the dump, and how it was read back"
    assert leaked == "False"
    assert CANARY not in host.run("journalctl", "--no-pager", "--output=cat")
    noisy = play(host, "-vvv", backup_environment={"UNUSED_TOKEN": CANARY + "-changed"})
    assert noisy.rc == 0
    # The run's own invocation names its extra variables; nothing after it may.
    tasks = noisy.output[noisy.output.index("PLAY [") :]
    assert CANARY not in tasks


def test_the_volume_of_a_running_database_is_refused(host: Host) -> None:
    told = fails(host, *variant(host, {"name": "labs", "backup": {"volumes": ["data"]}}), "run")
    assert "files of a running database server" in told


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"service": "dbb"}, "has 0 running containers"),
        ({"name": "nosuch"}, '"nosuch" does not exist'),
        ({"password_file": "/run/secrets/nosuch"}, "cannot read /run/secrets/nosuch"),
    ],
)
def test_a_wrong_database_is_a_clear_failure(host: Host, wrong: dict[str, str], message: str) -> None:
    database = {**LABS["backup"]["database"], **wrong}
    assert message in fails(host, *variant(host, {"name": "labs", "backup": {"database": database}}), "run")
    assert status(host)["state"] == "failed"


def test_a_wrong_password_is_a_clear_failure(host: Host) -> None:
    host.run("sh", "-c", "echo wrong > /tmp/password")
    told = fails(host, *variant(host, LABS, password_file="/tmp/password"), "run")
    assert "wrong password" in told
    assert "put back the password it was made with" in told


def test_a_vanished_repository_is_told_and_not_replaced(host: Host) -> None:
    repository = "/var/lib/daffathan/backup/repository"
    host.run("mv", repository, "/srv/away")
    try:
        assert "repository does not exist" in fails(host, COMMAND, "run")
        assert status(host)["state"] == "failed"
        refused = point(host)
        assert refused["failed"]
        assert "repository does not exist" in refused["msg"]
        assert play(host).rc != 0
        assert host.rc("test", "-e", repository) != 0
    finally:
        host.run("mv", "/srv/away", repository)
    host.run(COMMAND, "run")


def test_another_password_is_refused_before_anything_changes(host: Host) -> None:
    result = play(host, backup_password="something else")
    assert result.rc != 0
    assert result.changed(host.name) == 0
    assert "backup_password differs" in " ".join(result.output.split())
    assert "something else" not in result.output[result.output.index("PLAY [") :]


def test_a_host_without_anything_to_back_up_is_fine(host: Host) -> None:
    host.run("rm", METRICS)
    result = play(host, apps=[{"name": "labs"}], backup_metrics="")
    assert result.rc == 0, result.output[-4000:]
    assert "Nothing to back up" in host.run(COMMAND, "run")
    assert host.rc("test", "-e", METRICS) != 0
    assert status(host)["state"] == "empty"
