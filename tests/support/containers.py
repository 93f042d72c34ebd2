# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine of the distribution on a VPS, and a container that serves HTTP."""

from __future__ import annotations

from tests.support.lab import Host, wait_until

IMAGE = "registry.lab:5000/daffathan/api:1.0.0"
# From Debian 13 on the command has a package of its own.
INSTALL = """
export DEBIAN_FRONTEND=noninteractive
command -v docker > /dev/null && exit
apt-get update -qq
apt-get install -qq --no-install-recommends docker.io $(apt-cache pkgnames docker-cli) > /dev/null
"""


def install_engine(host: Host) -> None:
    host.run("sh", "-ec", INSTALL, timeout=600)


def serve(host: Host, name: str, *publish: str, restart: str = "no") -> None:
    """A container that answers on its port 3000, published as `docker run --publish` takes it."""
    ports = [word for each in publish for word in ("--publish", each)]
    host.run(
        *("docker", "run", "--detach", "--name", name, "--restart", restart, *ports, IMAGE),
        *("python3", "-m", "http.server", "3000", "--bind", "::"),
    )
    listening = (
        "docker",
        "exec",
        name,
        "python3",
        "-c",
        "import socket; socket.create_connection(('127.0.0.1', 3000))",
    )
    assert wait_until(lambda: host.rc(*listening) == 0, seconds=20)


def reaches_the_registry(host: Host, name: str) -> bool:
    """Whether the container gets out to another machine of the lab's network."""
    script = "import socket; socket.create_connection(('10.231.0.5', 5000), timeout=10)"
    return host.rc("docker", "exec", name, "python3", "-c", script) == 0


def remove(host: Host, name: str) -> None:
    host.run("docker", "rm", "--force", name)
