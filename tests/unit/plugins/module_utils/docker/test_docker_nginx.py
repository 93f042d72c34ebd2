# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When the gateway that was started a moment ago can be told to load what is new."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._docker.nginx import Gateway, NoGateway
from ansible_collections.daffathan.platform.plugins.module_utils._docker.process import process, program


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
