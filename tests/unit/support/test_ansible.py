# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible from a process that has it imported already behaves as its programs do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.ansible import Run
from tests.support.lab import wait_until

PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.command: {{argv: {argv}}}
"""


def playbook(folder: Path, *argv: str) -> str:
    path = folder / "playbook.yml"
    path.write_text(PLAYBOOK.format(argv=list(argv)))
    return str(path)


def ended(pid: str) -> bool:
    try:
        return ") Z " in Path("/proc", pid, "stat").read_text()
    except OSError:
        return True


def test_output_and_status_are_those_of_the_program(tmp_path: Path) -> None:
    path = playbook(tmp_path, "sh", "-c", "echo said; exit 3")
    done = Run("ansible-playbook", path, "--inventory", "localhost,", "--connection", "local").result()
    assert done.returncode == 2
    assert "rc: 3" in done.stdout and "stdout: said" in done.stdout and "\x1b[" not in done.stdout
    assert "localhost" in done.stdout.partition("PLAY RECAP")[2]


def test_errors_are_told_apart_or_merged() -> None:
    wrong = ("localhost", "--no-such-option")
    apart, merged = Run("ansible", *wrong).result(), Run("ansible", *wrong, merged=True).result()
    assert apart.returncode == merged.returncode == 2
    assert "--no-such-option" in apart.stderr and "--no-such-option" not in apart.stdout
    assert "--no-such-option" in merged.stdout and not merged.stderr


def test_a_run_that_takes_too_long_ends_with_all_it_started(tmp_path: Path) -> None:
    path = playbook(tmp_path, "sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60")
    run = Run("ansible-playbook", path, "--inventory", "localhost,", "--connection", "local")
    pid = tmp_path / "pid"
    assert wait_until(lambda: pid.exists() and pid.read_text().strip(), seconds=60)
    with pytest.raises(subprocess.TimeoutExpired):
        run.result(timeout=0.1)
    assert wait_until(lambda: ended(pid.read_text().strip()), seconds=10)
