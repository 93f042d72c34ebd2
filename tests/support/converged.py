# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshot of a VPS on which site.yml has run: later tests start from it in seconds.

Its name carries a hash of everything that decides what site.yml makes of a host: other code means another snapshot.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import subprocess
import sys

from tests.support import sid
from tests.support.app import version
from tests.support.audited import shell
from tests.support.lab import BUILD, PROJECT, Host, LabError, lab, up, wait_until

# 26 is that of Debian's stable release, 28 that of sid.
ENGINE = os.environ.get("DAFFATHAN_TEST_PLATFORM_ENGINE", "26")
INPUTS = ("plugins", "roles", "playbooks", "inventories/demo", "examples", "tests/lab")


def snapshot_name() -> str:
    """`site-<engine>-<hash>`, over the content of every file that goes into a converged host."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *INPUTS],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    digest = hashlib.sha256()
    for name in sorted(filter(None, files)):
        path = PROJECT / name.decode()
        if path.is_file() and path.suffix not in {".md"}:
            digest.update(name + b"\0" + path.read_bytes() + b"\0")
    return f"site-{ENGINE}-{digest.hexdigest()[:12]}"


def converged(name: str) -> Host:
    """A clone of the converged snapshot; makes the snapshot first where there is none for this code."""
    snapshot = snapshot_name()
    # Tests side by side may be the first to ask: one of them makes it.
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "converged.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if snapshot not in (entry["name"] for entry in json.loads(lab("status", "--json").stdout)["snapshots"]):
            make(snapshot)
    return serving(up(name, snapshot=snapshot))


def make(snapshot: str) -> None:
    """Run site.yml on a bare VPS and keep what it made of it."""
    base = up(f"converged-base-{ENGINE}")
    try:
        if ENGINE != "26":
            shell(base, f"{sid.SOURCES}{sid.DOCKER}")
        base.converge("site")
        found = base.run("docker", "version", "--format", "{{.Server.Version}}")
        if not found.startswith(f"{ENGINE}."):
            raise LabError(
                f"{base.name} runs Docker {found}, not {ENGINE}; DAFFATHAN_TEST_PLATFORM_ENGINE asks for it."
            )
        lab("snapshot", base.name, snapshot)
    finally:
        base.down()


def serving(host: Host) -> Host:
    """The host, once all that ran when the snapshot was made runs again."""
    for service in ("ui", "api", "ai"):
        if not wait_until(functools.partial(version, host, service), seconds=90):
            raise LabError(f"{host.name}: {service} does not answer 90 s after the start from a snapshot.")
    return host


if __name__ == "__main__":
    # molecule's site scenario hands its converged host on: python -m tests.support.converged HOST
    lab("snapshot", sys.argv[1], snapshot_name())
