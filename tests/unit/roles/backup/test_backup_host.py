# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How processes are started and judged. A script stands for restic."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from daffathan_backup import host as module
from daffathan_backup.host import Host
from daffathan_backup.model import BackupError, parse_config

from tests.unit.roles.backup.cases import CONFIG

Make = Callable[[str], Host]


@pytest.fixture
def host(tmp_path: Path) -> Make:
    """A host whose restic runs the given lines for everything but its version."""

    def make(lines: str) -> Host:
        restic, credentials = tmp_path / "restic", tmp_path / "credentials.json"
        restic.write_text(f'#!/bin/sh\n[ "$1" = version ] && echo "restic 0.18.0" && exit\n{lines}\n')
        restic.chmod(0o700)
        credentials.write_text(json.dumps({"TOKEN": "canary-55"}))
        own = {"restic": str(restic), "credentials_file": str(credentials), "state_directory": str(tmp_path)}
        return Host(parse_config({**CONFIG, **own}))

    return make


def test_reader_gets_everything_that_restic_gives(host: Make) -> None:
    assert host("seq 100000").restic_into(["tail", "-n1"], "dump", "a").stdout == "100000\n"


def test_reader_that_cannot_read_is_told_in_its_own_words(host: Make) -> None:
    """It ends before restic does, which is no failure of restic."""
    read = host("seq 1000000").restic_into(["sh", "-c", "echo not an archive >&2; exit 3"], "dump", "a")
    assert (read.returncode, read.stderr) == (3, "not an archive\n")


def test_dump_that_restic_breaks_off_is_no_dump(host: Make) -> None:
    """The reader may find what it was given good enough."""
    broken = host("echo something; echo pack of $TOKEN is damaged >&2; exit 1")
    with pytest.raises(BackupError, match=r"restic dump: pack of \*\*\* is damaged"):
        broken.restic_into(["cat"], "dump", "a")


def test_repository_that_is_silent_is_not_waited_for(host: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER", 0.2)
    with pytest.raises(BackupError, match=r"/var/lib/daffathan/backup/repository gave no answer.*asks again"):
        host("exec sleep 60").check_repository()


def test_repository_that_is_gone_is_told_with_the_remedy(host: Make) -> None:
    with pytest.raises(BackupError, match="repository does not exist.*set backup_repository"):
        host("echo repository does not exist >&2; exit 10").check_repository()
