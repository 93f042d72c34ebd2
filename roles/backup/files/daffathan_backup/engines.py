# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How each database engine is dumped and loaded: commands for its own container, and what their output means.

The tools come from the server's own image, so client and server are of one version. A password travels in an
environment variable that `docker exec` takes over by name; it is never an argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from daffathan_backup.model import BackupError, Database

# Where the images of database servers keep their files: a copy of such a volume under a running server is torn.
DATABASE_DIRECTORIES = (
    *("/var/lib/postgresql", "/var/lib/pgsql", "/var/lib/mysql", "/var/lib/mariadb"),
    *("/bitnami/postgresql", "/bitnami/mariadb", "/bitnami/mysql", "/data/db"),
)


class Engine:
    """One database engine. `transactional`: a load that fails leaves the old data as they were."""

    suffix: str
    transactional: bool
    password_variable: str
    load_environment: Mapping[str, str] = {}

    def dump(self, database: Database) -> list[str]:
        """Writes the whole database to standard output; exit status 0 only when it is complete."""
        raise NotImplementedError

    def load(self, database: Database) -> list[str]:
        """Reads a dump from standard input and puts its content in place of what is there."""
        raise NotImplementedError

    def rehearsal(self, database: Database) -> tuple[Database, list[list[str]], list[str]] | None:
        """Where a dump is loaded on trial: the scratch database, the commands that make it, the one that removes it.

        None where a load that fails changes nothing anyway.
        """
        return None

    def examine(self) -> list[str]:
        """Reads a dump from standard input and prints its table of contents."""
        raise NotImplementedError

    def tables(self, examined: str) -> set[str]:
        """The tables in the output of `examine`; BackupError where the dump is damaged."""
        raise NotImplementedError

    def read_through(self) -> list[str]:
        """Reads a dump from standard input to its very end; like `examine`, and its output is for `tables`."""
        return self.examine()

    def list_tables(self, database: Database) -> list[str]:
        """Prints the tables the server has now, one per line, as `tables` names them."""
        raise NotImplementedError


class PostgreSQL(Engine):
    suffix = "pgdump"
    transactional = True
    password_variable = "PGPASSWORD"
    # An idle transaction of the app would otherwise block the restore for ever.
    load_environment = {"PGOPTIONS": "-c lock_timeout=60s"}

    @staticmethod
    def _login(database: Database) -> list[str]:
        return ["--no-password", f"--username={database.user}", f"--dbname={database.name}"]

    def dump(self, database: Database) -> list[str]:
        # Uncompressed: restic compresses faster, and finds what did not change since the last dump.
        return ["pg_dump", "--format=custom", "--compress=0", *self._login(database)]

    def load(self, database: Database) -> list[str]:
        return ["pg_restore", "--clean", "--if-exists", "--single-transaction", *self._login(database)]

    def examine(self) -> list[str]:
        return ["pg_restore", "--list"]

    def read_through(self) -> list[str]:
        # The table of contents stands first: a list of it would be whole where the data behind it are not.
        return ["pg_restore", "--file=/dev/null"]

    def tables(self, examined: str) -> set[str]:
        # The entries TABLE DATA and TABLE ATTACH name a table that has its own entry.
        entry = re.compile(r"^\d+; \d+ \d+ TABLE (?!DATA |ATTACH )(\S+) (.+) \S+$", re.MULTILINE)
        return {f"{match[1]}.{match[2]}" for match in entry.finditer(examined)}

    def list_tables(self, database: Database) -> list[str]:
        query = "SELECT schemaname || '.' || tablename FROM pg_catalog.pg_tables"
        return ["psql", "--no-psqlrc", "--tuples-only", "--no-align", *self._login(database), f"--command={query}"]


class MariaDB(Engine):
    suffix = "sql"
    transactional = False
    password_variable = "MYSQL_PWD"

    def dump(self, database: Database) -> list[str]:
        what = ["--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob"]
        return ["mariadb-dump", f"--user={database.user}", *what, "--skip-dump-date", database.name]

    def load(self, database: Database) -> list[str]:
        return ["mariadb", "--batch", f"--user={database.user}", f"--database={database.name}"]

    def rehearsal(self, database: Database) -> tuple[Database, list[list[str]], list[str]] | None:
        scratch = replace(database, name=f"{database.name}__restore")
        login = ["mariadb", "--batch", f"--user={database.user}"]
        drop = [*login, f"--execute=DROP DATABASE IF EXISTS `{scratch.name}`"]
        return scratch, [drop, [*login, f"--execute=CREATE DATABASE `{scratch.name}`"]], drop

    def examine(self) -> list[str]:
        return ["grep", "-aE", "^(CREATE TABLE `|-- Dump completed)"]

    def tables(self, examined: str) -> set[str]:
        if not examined.rstrip().rpartition("\n")[2].startswith("-- Dump completed"):
            raise BackupError("The dump does not end with the mark of a complete dump; it is damaged.")
        return {match[1].replace("``", "`") for match in re.finditer(r"^CREATE TABLE `((?:[^`]|``)+)`", examined, re.M)}

    def list_tables(self, database: Database) -> list[str]:
        login = [f"--user={database.user}", f"--database={database.name}"]
        return ["mariadb", "--batch", "--skip-column-names", *login, "--execute=SHOW TABLES"]


ENGINES: Mapping[str, Engine] = {"postgresql": PostgreSQL(), "mariadb": MariaDB()}


def dump_name(app: str, database: Database) -> str:
    """The file name under which restic stores the dump; restic finds the dump before by it."""
    return f"{app}-{database.name}.{ENGINES[database.engine].suffix}"


def database_mount(mounts: Iterable[Mapping[str, Any]], volume: str) -> str | None:
    """The directory of a database server at which a container has this volume mounted, if it has."""
    for mount in mounts:
        destination = str(mount.get("Destination", ""))
        if mount.get("Name") == volume and any(
            destination == known or destination.startswith(f"{known}/") for known in DATABASE_DIRECTORIES
        ):
            return destination
    return None
