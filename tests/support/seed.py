# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reference document's own way to update a service: its compose file, its nginx, its script."""

from __future__ import annotations

import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.load.background import Load
from tests.load.report import Report
from tests.support.lab import Host, up, wait_until

FILES = Path(__file__).parent / "seed_script"
WRITE = "import os, sys; os.makedirs('/srv/seed', exist_ok=True); open(sys.argv[1], 'w').write(sys.argv[2])"


def seed_host(name: str) -> Host:
    """A VPS with an engine and the project of the document, at version 1.0.0, published on port 8080."""
    host = engine_host(name)
    install_files(host)
    host.run("env", "TAG=1.0.0", "docker", "compose", "--project-directory", "/srv/seed", "up", "--detach", "--wait")
    # The gateway of the document has no health check: `--wait` returns before it answers.
    wait_until(lambda: answers(f"http://{host.address}:8080/api/version"), seconds=30)
    return host


def engine_host(name: str) -> Host:
    """A VPS with Docker and Compose as Debian has them."""
    host = up(name)
    host.run("apt-get", "-q", "update")
    host.run("apt-get", "-qy", "install", "--no-install-recommends", "docker.io", "docker-cli", "docker-compose")
    return host


def install_files(host: Host) -> None:
    for path in FILES.iterdir():
        host.run("python3", "-c", WRITE, f"/srv/seed/{path.name}", path.read_text())


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


def update_under_load(host: Host, tags: Sequence[str]) -> Report:
    """Run the script once per tag while open-loop load goes through its nginx."""
    url = f"http://{host.address}:8080"
    with Load(url, address=host.address, prefixes=("/api",), rate=200, seconds=300, lag_limit=1.0, timeout=20) as load:
        for tag in tags:
            host.run("env", f"TAG={tag}", "sh", "/srv/seed/deploy.sh", timeout=300)
        return load.stop()
