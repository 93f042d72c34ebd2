# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demo's app: deploying it in one version or another, and what a deploy could leave behind."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import yaml

from tests.support.lab import PROJECT, Host, PlayResult
from tests.support.load import SITE

APP = "daffathan-labs"
COMPOSE = PROJECT / "examples" / APP / "compose.yml"


def apps(tag: str, compose: Path = COMPOSE) -> list[dict[str, Any]]:
    """The demo's app with another version, or another compose file."""
    variables = yaml.safe_load((PROJECT / "inventories/demo/group_vars/vps/main.yml").read_text())
    wanted = copy.deepcopy(variables["apps"])
    wanted[0]["env"]["TAG"] = tag
    wanted[0]["compose"] = str(compose)
    for options in wanted[0]["services"].values():
        # Streams that outlive the switch are asked to end after this time; ten deploys wait for it ten times.
        options |= {"drain_timeout": 5, "start_timeout": 20}
    return wanted


def other_than(tag: str) -> str:
    """The other of the two versions that there are."""
    return "1.1.0" if tag == "1.0.0" else "1.0.0"


def deploy(host: Host, tag: str, **options: Any) -> PlayResult:
    return host.play("deploy", apps=apps(tag, **options))


def containers(host: Host) -> set[str]:
    return set(host.run("docker", "ps", "--all", "--format", "{{.Names}}").split())


def leftovers(host: Host) -> dict[str, set[str]]:
    """Everything that a deploy could leave behind."""
    return {
        "containers": containers(host),
        "networks": set(host.run("docker", "network", "ls", "--format", "{{.Name}}").split()),
        "volumes": set(host.run("docker", "volume", "ls", "--quiet").split()),
        "releases": set(host.run("ls", f"/var/lib/daffathan/apps/{APP}/releases").split()),
    }


def version(host: Host, service: str = "api") -> str:
    prefix = {"ui": "", "api": "/api", "ai": "/ai"}[service]
    answer = host.run(
        *("curl", "--silent", "--fail", "--max-time", "10", "--insecure", "--resolve", f"{SITE}:443:127.0.0.1"),
        f"https://{SITE}{prefix}/version",
    )
    return str(json.loads(answer)["version"])
