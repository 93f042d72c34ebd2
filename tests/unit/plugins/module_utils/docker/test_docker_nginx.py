# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When the gateway that was started a moment ago can be told to load what is new, and when its old workers leave."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._docker import nginx
from ansible_collections.daffathan.platform.plugins.module_utils._docker.nginx import Gateway, NoGateway
from ansible_collections.daffathan.platform.plugins.module_utils._docker.process import alive, process, program

from tests.support.lab import wait_until
from tests.unit.roles.gateway.served import NGINX

WORKERS = 2
CONFIGURATION = """
daemon off; worker_processes {workers}; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}; proxy_temp_path {directory};
    fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
    server {{
        listen unix:{directory}/admin.sock;
        server_name labs;
        location = /generation {{ return 200 "{generation}\\n"; }}
    }}
}}
"""


@contextmanager
def started(directory: Path, script: str) -> Iterator[Gateway]:
    """A gateway whose first process is a shell with this script; in it `$1` is a shell that bears the name of nginx."""
    named = directory / "nginx"
    named.symlink_to("/bin/sh")
    with subprocess.Popen(["/bin/sh", "-c", script, "sh", str(named)], start_new_session=True) as child:
        gateway = Gateway(None, "labs")  # type: ignore[arg-type]
        gateway._master = process(child.pid)
        try:
            yield gateway
        finally:
            os.killpg(child.pid, signal.SIGKILL)


def test_a_gateway_that_starts_is_waited_for_until_it_has_workers(tmp_path: Path) -> None:
    """Its own preparations have processes as well."""
    with started(tmp_path, "sleep 0.5; exec \"$1\" -c 'sleep 60 & wait'") as gateway:
        master, workers = gateway._listening(20)
        assert program(master.pid) == "nginx"
        assert workers


def test_a_gateway_that_never_has_workers_is_told(tmp_path: Path) -> None:
    with started(tmp_path, "sleep 60; :") as gateway, pytest.raises(NoGateway, match="does not start.*error.log"):
        gateway._listening(0.2)


def configure(directory: Path, generation: str) -> str:
    file = directory / "nginx.conf"
    file.write_text(CONFIGURATION.format(workers=WORKERS, directory=directory, generation=generation))
    return str(file)


@contextmanager
def running(directory: Path) -> Iterator[Gateway]:
    """A gateway whose first process is a real nginx."""
    with subprocess.Popen([str(NGINX), "-c", configure(directory, "before")]) as child:
        gateway = Gateway(None, "labs")  # type: ignore[arg-type]
        gateway._master = process(child.pid)
        try:
            assert wait_until(lambda: len(nginx._children(child.pid)) == WORKERS, seconds=20)
            yield gateway
        finally:
            child.send_signal(signal.SIGCONT)
            child.terminate()


def test_the_old_workers_leave_as_soon_as_a_new_one_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only when nginx itself tells them, which here it cannot; it goes on with as many workers as before."""
    monkeypatch.setattr(nginx, "ADMIN_SOCKET", f"{tmp_path}/admin.sock")
    with running(tmp_path) as gateway:
        gateway.fence("before")
        assert gateway._master is not None
        master = gateway._master.pid
        gateway._leaving = nginx._children(master)
        configure(tmp_path, "after")
        os.kill(master, signal.SIGHUP)
        while len(nginx._children(master)) == WORKERS:
            time.sleep(0.001)
        os.kill(master, signal.SIGSTOP)
        gateway.fence("after")
        assert wait_until(lambda: not alive(gateway._leaving), seconds=5)
        os.kill(master, signal.SIGCONT)
        # Were one of them taken for lost, nginx would replace it when it hears of its end.
        time.sleep(0.3)
        assert len(nginx._children(master)) == WORKERS
