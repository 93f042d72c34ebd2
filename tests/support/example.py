# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A system of examples/ on the lab VPS of its scenario."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.support import outside
from tests.support.ansible import PROJECT
from tests.support.lab import Host, PlayResult, running
from tests.support.scan import open_ports


@dataclass(frozen=True)
class Example:
    """`site` is its domain, `name` that of its directory."""

    name: str
    site: str
    vps: Host
    authority: str

    @property
    def inventory(self) -> str:
        return str(PROJECT / "examples" / self.name / "inventories" / "lab")

    def play(self, playbook: str, *arguments: str, **extra: Any) -> PlayResult:
        """Run a playbook of the collection with the inventory of the example's lab."""
        return self.vps.play(playbook, "--inventory", self.inventory, *arguments, **extra)

    def must(self, playbook: str, *arguments: str, **extra: Any) -> PlayResult:
        """The same, and it has to succeed."""
        result = self.play(playbook, *arguments, **extra)
        assert result.rc == 0, result.output[-8000:]
        return result

    def deploy(self, app: str, tag: str) -> PlayResult:
        return self.play("deploy", app=app, app_env={"TAG": tag})

    def ask(self, path: str, *arguments: str, site: str = "") -> Any:
        """The answer to a request from outside, which is JSON."""
        return json.loads(outside.curl(self.vps, self.authority, site or self.site, path, *arguments))

    def sql(self, app: str, service: str, user: str, query: str) -> str:
        """What psql prints for it, as the owner of the app's database."""
        argv = ("docker", "exec", f"{app}-{service}-1", "psql", "-U", user, "-qAtc", query)
        return self.vps.run(*argv).strip()

    def open_ports(self) -> tuple[set[int], set[int]]:
        """What the neighbour host reaches, over IPv4 and IPv6."""
        with ThreadPoolExecutor() as pool:
            four, six = pool.map(open_ports, (self.vps.address, self.vps.address6))
        return four, six

    def changed_by_a_second_run(self) -> int:
        """By the second of two runs of site.yml; the first one may bring back what a test deployed otherwise."""
        self.must("site")
        return self.must("site").changed(self.vps.name)

    def send(self, path: str, body: object) -> Any:
        return self.ask(path, "--json", json.dumps(body))


def example(name: str, site: str) -> Example:
    """The one that its scenario has deployed."""
    vps = running(f"molecule-{name}")
    return Example(name, site, vps, outside.trust(vps))
