# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load on a lab host in a process of its own, so that a test that drives Ansible does not slow the generator."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.lab import PROJECT, Host

SITE = "labs.example.test"
ROOT_CERTIFICATE = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"


@dataclass
class Report:
    """What the generator saw; filled when the load has ended."""

    rc: int = -1
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return int(self.data["failed"])

    @property
    def sent(self) -> int:
        return int(self.data["sent"])

    def summary(self) -> str:
        return json.dumps(self.data, indent=1)[:6000]


@contextmanager
def load(host: Host, *, rate: int = 200, seconds: int = 900, url: str = f"https://{SITE}") -> Iterator[Report]:
    """Open-loop load for as long as the block runs; `seconds` is the bound if the block never ends."""
    report = Report()
    with tempfile.TemporaryDirectory() as directory:
        stop, output = Path(directory, "stop"), Path(directory, "report.json")
        argv = [sys.executable, "-m", "tests.load", "--url", url, "--address", host.address, "--rate", str(rate)]
        argv += ["--seconds", str(seconds), "--until-file", str(stop), "--output", str(output)]
        if url.startswith("https:"):
            authority = Path(directory, "root.crt")
            authority.write_text(host.run("cat", ROOT_CERTIFICATE))
            argv += ["--ca", str(authority)]
        process = subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            yield report
        finally:
            stop.touch()
            printed, _ = process.communicate(timeout=120)
            report.rc = process.returncode
            if not output.exists():
                raise RuntimeError(f"the load generator wrote no report (exit status {report.rc}):\n{printed}")
            report.data = json.loads(output.read_text())
