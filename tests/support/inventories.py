# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventories of the collection and of its examples, as Ansible reads them, and what roles are given by them."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible.vars.manager import VariableManager

from tests.support.ansible import PROJECT

ROLES = ("app", "hardening", "docker", "caddy", "gateway", "backup")
DEMO = PROJECT / "inventories" / "demo"
LAB_HOST = "vps: {hosts: {lab-host: {ansible_host: 10.231.0.20}}}\n"


@dataclass(frozen=True)
class Inventory:
    """A directory with an inventory. That of an example's lab lies over the demo's, as in its scenario of molecule."""

    directory: Path

    @property
    def name(self) -> str:
        return str(self.directory.relative_to(PROJECT)).replace("/inventories/", "/").removeprefix("examples/")

    @property
    def is_lab(self) -> bool:
        return self.directory.name == "lab"


def inventories() -> list[Inventory]:
    """All that there are."""
    found = [*PROJECT.glob("inventories/*"), *PROJECT.glob("examples/*/inventories/*")]
    return [Inventory(path) for path in sorted(found) if path.is_dir()]


def _vault(directory: Path) -> dict[str, str]:
    """Values for what a user is asked to put into the vault."""
    text = (directory / "group_vars" / "vps" / "vault.yml").read_text()
    return {name: f"{name}-value" for name in yaml.safe_load(text) or {}}


@functools.cache
def hosts(inventory: Inventory) -> dict[str, dict[str, Any]]:
    """The variables of each host, by its name; their templates are not filled in yet."""
    loader, directory = DataLoader(), inventory.directory
    with tempfile.TemporaryDirectory() as own:
        lab = Path(own, "hosts.yml")
        lab.write_text(LAB_HOST)
        sources = [str(lab), str(DEMO), str(directory)] if inventory.is_lab else [str(directory)]
        manager = InventoryManager(loader=loader, sources=sources)
        variables = VariableManager(loader=loader, inventory=manager)
        names = ["lab-host"] if inventory.is_lab else [host.name for host in manager.get_hosts("vps")]
        own_values = {"playbook_dir": str(PROJECT / "playbooks"), "inventory_hostname": "", **_vault(directory)}
        return {
            name: {**variables.get_vars(host=manager.get_host(name)), **own_values, "inventory_hostname": name}
            for name in names
        }


def role_values(role: str) -> dict[str, Any]:
    """The defaults and variables of a role."""
    known: dict[str, Any] = {"role_path": str(PROJECT / "roles" / role)}
    for part in ("defaults", "vars"):
        path = PROJECT / "roles" / role / part / "main.yml"
        known.update(DataLoader().load_from_file(str(path), trusted_as_template=True) or {})
    return known


def specs(role: str) -> dict[str, Any]:
    """The options of a role's main entry point."""
    text = (PROJECT / "roles" / role / "meta" / "argument_specs.yml").read_text()
    options: dict[str, Any] = yaml.safe_load(text)["argument_specs"]["main"]["options"]
    return options


def templated(text: str, *variables: dict[str, Any]) -> Any:
    """What a template comes to; later variables win."""
    known = {name: value for group in variables for name, value in group.items()}
    return Templar(loader=DataLoader(), variables=known).template(trust_as_template(text))
