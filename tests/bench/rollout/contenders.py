# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways to put a new version of the same service on the same VPS: how each begins, updates, and is taken away."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.lab import PROJECT, Host, inside, wait_until
from tests.support.seed import install_files

FILES = Path(__file__).parent
HERE = "/srv/bench"
TRAEFIK = PROJECT / ".build" / "bench" / "bin" / "traefik"
# Draining as docker-rollout documents it, in time for the longest answer of the load.
DRAIN = "touch /tmp/drain && sleep 5"
APP = "bench"
SITE = "bench.example.test"


@dataclass(frozen=True)
class Contender:
    """Calls that return when the version given is up, has replaced the one before, and is gone."""

    name: str
    start: Callable[[Host, str], None]
    update: Callable[[Host, str], None]
    remove: Callable[[Host], None]


def send(host: Host, source: Path, target: str, mode: str = "755") -> None:
    """Copy a file to the VPS as it is."""
    with source.open("rb") as content:
        subprocess.run(
            inside(host.name, "sh", "-c", 'mkdir -p "${1%/*}"; cat >"$1"', "sh", target), stdin=content, check=True
        )
    host.run("chmod", mode, target)


def compose(host: Host, file: str, tag: str, *argv: str) -> None:
    send(host, FILES / file, f"{HERE}/{file}", "644")
    host.run("env", f"TAG={tag}", "docker", "compose", "--file", f"{HERE}/{file}", "--project-name", "bench", *argv)


def compose_up() -> Contender:
    def up(host: Host, tag: str) -> None:
        compose(host, "compose_up.yml", tag, "up", "--detach")

    return Contender(
        "compose_up",
        up,
        up,
        lambda host: compose(host, "compose_up.yml", "1.0.0", "down", "--timeout", "1"),
    )


def seed_script() -> Contender:
    """The script of the reference document; see tests/support/seed_script."""

    def start(host: Host, tag: str) -> None:
        install_files(host)
        host.run(
            *("env", f"TAG={tag}", "STARTUP_SECONDS=2", "docker", "compose", "--project-directory", "/srv/seed"),
            *("up", "--detach", "--wait"),
        )

    def update(host: Host, tag: str) -> None:
        host.run("env", f"TAG={tag}", "STARTUP_SECONDS=2", "sh", "/srv/seed/deploy.sh")

    def remove(host: Host) -> None:
        host.run("env", "TAG=1.0.0", "docker", "compose", "--project-directory", "/srv/seed", "down", "--timeout", "1")

    return Contender("seed_script", start, update, remove)


def docker_rollout(script: Path, *, drained: bool) -> Contender:
    file = "docker_rollout.yml"

    def start(host: Host, tag: str) -> None:
        send(host, TRAEFIK, "/usr/local/bin/traefik")
        send(host, script, "/usr/local/lib/docker/cli-plugins/docker-rollout")
        compose(host, file, tag, "up", "--detach", "--wait")

    def update(host: Host, tag: str) -> None:
        hook = ("--pre-stop-hook", DRAIN) if drained else ()
        project = ("--file", f"{HERE}/{file}", "--project-name", "bench")
        host.run("env", f"TAG={tag}", "docker", "rollout", *project, *hook, "api")

    def remove(host: Host) -> None:
        compose(host, file, "1.0.0", "down", "--timeout", "1")

    return Contender("docker_rollout_drained" if drained else "docker_rollout", start, update, remove)


def swarm() -> Contender:
    def deploy(host: Host, tag: str) -> None:
        send(host, FILES / "swarm.yml", f"{HERE}/swarm.yml", "644")
        host.run(
            *("env", f"TAG={tag}", "docker", "stack", "deploy", "--detach=false"),
            *("--compose-file", f"{HERE}/swarm.yml", "bench"),
        )

    def start(host: Host, tag: str) -> None:
        send(host, TRAEFIK, "/usr/local/bin/traefik")
        host.run("docker", "swarm", "init", "--advertise-addr", host.address)
        deploy(host, tag)

    def remove(host: Host) -> None:
        host.run("docker", "stack", "rm", "bench")
        host.run("docker", "swarm", "leave", "--force")
        wait_until(lambda: not host.run("docker", "ps", "--all", "--quiet").strip(), seconds=60)

    return Contender("swarm", start, deploy, remove)


def our_app(tag: str, keep_warm: int = 0) -> list[dict[str, object]]:
    """The service as an app of the platform. The release before runs on for so many seconds after the switch."""
    service = {"port": 3000, "routes": ["/"], "health": "/health", "drain_timeout": 5}
    app = {"name": APP, "domains": [SITE], "compose": str(FILES / "ours.yml")}
    return [{**app, "env": {"TAG": tag}, "services": {"api": service}, "keep_warm": keep_warm}]


def ours() -> Contender:
    """`site.yml` on the same VPS, then `deploy.yml` for every version."""
    return Contender(
        "ours",
        lambda host, tag: host.converge("site", apps=our_app(tag)),
        lambda host, tag: host.converge("deploy", apps=our_app(tag)),
        lambda host: None,
    )


def all_of_them() -> list[Contender]:
    """Every contender that can be had here; ours is the last, because it closes the host to the others."""
    found = [compose_up(), seed_script(), swarm()]
    script = Path(os.environ.get("DOCKER_ROLLOUT", ""))
    if script.is_file():
        found += [docker_rollout(script, drained=False), docker_rollout(script, drained=True)]
    return [*found, ours()]


def check_traefik() -> None:
    if not shutil.which(str(TRAEFIK)):
        raise RuntimeError(f"{TRAEFIK} is missing: run `make bench`, which unpacks it.")
