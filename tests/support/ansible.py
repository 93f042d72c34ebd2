# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs `ansible` and `ansible-playbook`, each run in a process of its own that has Ansible imported already.

A short run spends more time on its imports than on its work. The forked process reads the same arguments and files and
ends with the same exit status as the program. Configuration that Ansible reads while it is imported is the first run's.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.lab import Host

PROJECT = Path(__file__).resolve().parents[2]
PROGRAMS = {"ansible": ("ansible.cli.adhoc", "AdHocCLI"), "ansible-playbook": ("ansible.cli.playbook", "PlaybookCLI")}
PRELOAD = [
    # What runs the tests: every new process imports it.
    "pytest",
    *(module for module, _ in PROGRAMS.values()),
    *("ansible.executor.module_common", "ansible.executor.powershell.module_manifest"),
    *("ansible.executor.playbook_executor", "ansible.executor.task_queue_manager"),
    *("ansible.plugins.action.normal", "ansible.plugins.callback.default", "ansible.plugins.callback.minimal"),
    *("ansible.plugins.connection.ssh", "ansible.plugins.strategy.linear"),
]
NICE = 10
# Output is parsed: no colours, even where the caller wants them for itself.
PLAIN = {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}


@functools.cache
def _forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    own = dict(os.environ)
    os.environ.update(PLAIN)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(own)
    return context


def _main(program: str, argv: list[str], stdout: str, stderr: str) -> None:
    # Elsewhere the controller is another machine: here it leaves the processor to the VPS first.
    os.nice(NICE)
    os.chdir(PROJECT)
    for path, stream in ((stdout, 1), (stderr, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), stream)
    if program == "ansible":
        os.environ["ANSIBLE_CALLBACK_RESULT_FORMAT"] = "json"
    module, name = PROGRAMS[program]
    getattr(importlib.import_module(module), name).cli_executor([program, *argv])


class Run:
    """A run of a program, from its start on; `result` waits for its end."""

    def __init__(self, program: str, *argv: str, merged: bool = False) -> None:
        """:param merged: standard error goes where standard output goes, in the order it was written."""
        self.argv = [program, *argv]
        self._directory = tempfile.TemporaryDirectory(prefix="ansible-run-")
        self._stdout, self._stderr = (Path(self._directory.name, name) for name in ("stdout", "stderr"))
        for path in (self._stdout, self._stderr):
            path.touch()
        streams = (str(self._stdout), str(self._stdout if merged else self._stderr))
        self._process = _forks().Process(target=_main, args=(program, list(argv), *streams))
        self._process.start()

    def said(self) -> str:
        """What it has written so far, while it runs."""
        return self._stdout.read_text()

    def kill(self) -> None:
        """Kill -9 it with all that it started and that has not left it."""
        parents: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(
                    int(stat.parent.name)
                )
        doomed = [self._process.pid or 0]
        for pid in doomed:
            doomed += parents.get(pid, [])
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.join()
        self._directory.cleanup()

    def result(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """:param timeout: seconds. :raises subprocess.TimeoutExpired: the run took longer; it was ended."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            # Told to end, Ansible ends its workers, which are sessions of their own.
            self._process.terminate()
            self._process.join(10)
            self._process.kill()
            self._process.join()
        stdout, stderr = self._stdout.read_text(), self._stderr.read_text()
        self._directory.cleanup()
        if status is None:
            raise subprocess.TimeoutExpired(self.argv, timeout, stdout, stderr)
        return subprocess.CompletedProcess(self.argv, status, stdout, stderr)


def module(host: Host, name: str, options: Mapping[str, Any]) -> list[str]:
    """The arguments of `ansible` for one run of a module of the collection on the host."""
    arguments = ["--module-name", f"daffathan.platform.{name}", "--args", json.dumps(dict(options))]
    return [host.name, "--inventory", str(host.inventory), *arguments]


def answer(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What the module returned; `failed` tells whether it failed, or its host could not be reached."""
    state, found, text = run.stdout.partition("=> ")
    assert found, run.stdout + run.stderr
    returned: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    return {**returned, "failed": "FAILED" in state or "UNREACHABLE" in state}
