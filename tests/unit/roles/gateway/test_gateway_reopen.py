# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script that has nginx open its logs again, with a process that listens in the place of nginx."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[4] / "roles/gateway/files/reopen"
# Listens, and says so; then says which signals it gets.
NGINX = """
import signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2])
print("listens", flush=True)
while True:
    print(signal.sigwait([signal.SIGUSR1, signal.SIGUSR2]).name, flush=True)
"""


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", NGINX, f"{tmp_path}/socket"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "listens\n"
        try:
            yield process
        finally:
            process.kill()


def reopen(directory: Path) -> subprocess.CompletedProcess[str]:
    names = ("socket", "access.log", "error.log")
    argv = [sys.executable, "-I", str(SCRIPT), *(f"{directory}/{name}" for name in names)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("there", [[], ["access.log"], ["error.log"]])
def test_a_log_that_is_missing_is_opened_by_its_name(
    nginx: subprocess.Popen[str], tmp_path: Path, there: list[str]
) -> None:
    for name in there:
        (tmp_path / name).touch()
    assert reopen(tmp_path).returncode == 0
    assert nginx.stdout is not None and nginx.stdout.readline() == "SIGUSR1\n"


def test_nginx_is_left_alone_while_its_logs_are_there(nginx: subprocess.Popen[str], tmp_path: Path) -> None:
    for name in ("access.log", "error.log"):
        (tmp_path / name).touch()
    assert reopen(tmp_path).returncode == 0
    # Behind whatever the script has sent; of two signals that wait, the one with the lower number would be told first.
    nginx.send_signal(signal.SIGUSR2)
    assert nginx.stdout is not None and nginx.stdout.readline() == "SIGUSR2\n"


@pytest.mark.parametrize("left", [True, False])
def test_a_gateway_that_does_not_run_has_nothing_to_open(tmp_path: Path, left: bool) -> None:
    if left:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{tmp_path}/socket")
    done = reopen(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
