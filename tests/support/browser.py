# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A person's browser: Debian's Chromium on a lab host of its own, which trusts the authority of a VPS."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.lab import Host, inside
from tests.support.load import ROOT_CERTIFICATE

BROWSE = Path(__file__).with_name("browse.py")
PACKAGES = ("chromium", "chromium-driver", "python3-selenium", "libnss3-tools")
STORE = "sql:/root/.pki/nssdb"


class Browser:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.version = str(self._said())

    def _said(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the browser has ended: {self._process.wait(30)}"
        return json.loads(line)

    def _told(self, **what: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(what)}\n")
        self._process.stdin.flush()
        return self._said()

    def open(self, url: str) -> None:
        self._told(open=url)

    def run(self, script: str) -> Any:
        """What JavaScript returns, in the page that is open; it may use `await`."""
        said = self._told(script=script)
        assert not (isinstance(said, dict) and "error" in said), said["error"]
        return said


def install(host: Host) -> None:
    environment = ("env", "DEBIAN_FRONTEND=noninteractive")
    host.run("apt-get", "-q", "update")
    host.run(*environment, "apt-get", "-qy", "install", "--no-install-recommends", *PACKAGES, timeout=900)


@contextlib.contextmanager
def browsing(host: Host, vps: Host, *names: str) -> Iterator[Browser]:
    """A new browser on the host, for which these names are those of the VPS."""
    host.run("sh", "-c", 'printf %s "$1" >> /etc/hosts', "sh", f"{vps.address} {' '.join(names)}\n")
    host.write("/root/authority.crt", vps.run("cat", ROOT_CERTIFICATE))
    host.run("mkdir", "-p", STORE.removeprefix("sql:"))
    host.run("certutil", "-d", STORE, "-N", "--empty-password")
    host.run("certutil", "-d", STORE, "-A", "-n", "authority", "-t", "C,,", "-i", "/root/authority.crt")
    argv = inside(host.name, "python3", "-c", BROWSE.read_text())
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Browser(process)
        finally:
            # At the end of its input it ends; it may have ended before.
            with contextlib.suppress(BrokenPipeError):
                process.communicate(timeout=60)
