# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from daffathan_backup.engines import ENGINES, database_mount, dump_name
from daffathan_backup.host import Completed, explain_restic
from daffathan_backup.model import BackupError, Database

POSTGRESQL = Database("db", "postgresql", "labs", "admin")
MARIADB = Database("db", "mariadb", "shop", "root", "/run/secrets/password")
TOC = """;
; Archive created at 2026-11-21 10:13:20 UTC
;     dbname: labs
215; 1259 16385 TABLE public items labs
216; 1259 16386 TABLE public two words labs
217; 1259 16387 SEQUENCE public items_id_seq labs
218; 1259 16388 TABLE ATTACH public part_1 labs
3350; 0 16385 TABLE DATA public items labs
"""


def test_the_tables_of_a_postgresql_dump_are_read() -> None:
    assert ENGINES["postgresql"].tables(TOC) == {"public.items", "public.two words"}


def test_the_tables_of_a_mariadb_dump_are_read() -> None:
    text = "CREATE TABLE `items` (\nCREATE TABLE `odd``name` (\n-- Dump completed\n"
    assert ENGINES["mariadb"].tables(text) == {"items", "odd`name"}


@pytest.mark.parametrize("text", ["", "CREATE TABLE `items` (\n", "-- Dump completed\nCREATE TABLE `items` (\n"])
def test_a_mariadb_dump_without_its_last_line_is_damaged(text: str) -> None:
    with pytest.raises(BackupError, match="damaged"):
        ENGINES["mariadb"].tables(text)


@pytest.mark.parametrize("database", [POSTGRESQL, MARIADB])
def test_no_command_can_ask_for_or_carry_a_password(database: Database) -> None:
    engine = ENGINES[database.engine]
    for argv in (engine.dump(database), engine.load(database), engine.list_tables(database)):
        assert database.name in " ".join(argv)
        assert any(argument.endswith(f"={database.user}") for argument in argv)
        assert not any(argument.startswith(("-p", "--password")) for argument in argv)


def test_a_postgresql_restore_is_one_transaction_that_cannot_wait_for_ever() -> None:
    engine = ENGINES["postgresql"]
    assert engine.transactional
    assert {"--clean", "--if-exists", "--single-transaction"} <= set(engine.load(POSTGRESQL))
    assert "lock_timeout" in engine.load_environment["PGOPTIONS"]


def test_a_mariadb_dump_is_consistent() -> None:
    assert "--single-transaction" in ENGINES["mariadb"].dump(MARIADB)


def test_dumps_are_named_by_app_and_database() -> None:
    assert dump_name("labs", POSTGRESQL) == "labs-labs.pgdump"


@pytest.mark.parametrize(
    ("mount", "directory"),
    [
        ({"Name": "labs_data", "Destination": "/var/lib/postgresql/data"}, "/var/lib/postgresql/data"),
        ({"Name": "labs_data", "Destination": "/var/lib/mysql"}, "/var/lib/mysql"),
        ({"Name": "labs_data", "Destination": "/var/lib/mysqlish"}, None),
        ({"Name": "labs_data", "Destination": "/data"}, None),
        ({"Name": "other", "Destination": "/var/lib/mysql"}, None),
        ({"Type": "bind", "Destination": "/var/lib/mysql"}, None),
    ],
)
def test_the_files_of_a_database_server_are_recognised(mount: dict[str, str], directory: str | None) -> None:
    assert database_mount([{"Name": "labs_data", "Destination": "/x"}, mount], "labs_data") == directory


def test_an_error_of_restic_is_one_line_with_its_remedy() -> None:
    stderr = '{"message_type":"exit_error","code":12,"message":"Fatal: wrong password\\nor no key found"}\n'
    text = explain_restic(Completed(["restic"], 12, "", stderr))
    assert text.startswith("Fatal: wrong password or no key found")
    assert "password file" in text
    assert "\n" not in text


def test_the_cause_of_a_failed_dump_stands_first() -> None:
    lines = ["subprocess docker: pg_dump: error: out of memory", *("more",) * 9, '{"code":1,"message":"Fatal: no"}']
    text = explain_restic(Completed(["restic"], 1, "", "\n".join(lines)))
    assert text.startswith("subprocess docker: pg_dump: error: out of memory")
    assert text.endswith("Fatal: no")


def test_a_silent_failure_is_told_by_its_exit_status() -> None:
    assert explain_restic(Completed(["restic"], 137, "", "")) == "exit status 137"
