# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role caddy makes of variables, without a host."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).resolve().parents[4] / "roles" / "caddy"
CURRENT = "2.11.4"
# That of Debian 12 and 13.
OLD = "2.6.2"
FAKE_HASH = "$2a$10$" + "a" * 53


@functools.cache
def _role() -> dict[str, Any]:
    known: dict[str, Any] = {"ansible_managed": "Ansible managed", "ansible_check_mode": False, "apps": []}
    for part in ("defaults", "vars"):
        known.update(DataLoader().load_from_file(str(ROLE / part / "main.yml"), trusted_as_template=True))
    return known


def templated(text: str, variables: dict[str, Any], version: str = CURRENT) -> Any:
    package = {"__caddy_probe_package": {"stdout": f"caddy=ii {version}-1"}}
    # The version of a package that was there already is known without asking.
    probe = {"__caddy_probe_version": {"skipped": True, "changed": False}, "__caddy_judged": version}
    templar = Templar(loader=DataLoader(), variables={**_role(), **package, **probe, **variables})
    return templar.template(trust_as_template(text))


def caddyfile(variables: dict[str, Any], version: str = CURRENT) -> str:
    template = ROLE / "templates/etc/caddy/Caddyfile.j2"
    text: str = templated(f"{{{{ lookup('ansible.builtin.template', '{template}') }}}}", variables, version)
    return text


def problems(variables: dict[str, Any], version: str = CURRENT) -> list[str]:
    found: list[str] = templated("{{ __caddy_edge.problems }}", variables, version)
    return found
