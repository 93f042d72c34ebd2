# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab builds what the examples' lab inventories ask its registry for, from the Dockerfiles that users build."""

from __future__ import annotations

import json
import re

import pytest
from vpslab import examples
from vpslab.recipe import EXAMPLES, IMAGES, read_context

from tests.support import stores
from tests.support.ansible import PROJECT
from tests.support.inventories import Inventory, hosts, inventories, templated

LABS = [inventory for inventory in inventories() if inventory.is_lab]
ALWAYS = {"nginx:1.30", "postgres:17"}


def built(system: str) -> set[str]:
    """Names and tags of all that the registry holds for an example."""
    if system == "daffathan-labs":
        versions = json.loads((IMAGES / "sample" / "versions.json").read_text())
        return ALWAYS | {f"daffathan/{name}:{tag}" for name in ("ui", "api", "ai") for tag in versions}
    known = examples.known()[system]
    services = {f"{system}/{name}:{tag}" for name in known["services"] for tag in known["versions"]}
    return ALWAYS | set(known["public"]) | services


@pytest.mark.parametrize("inventory", LABS, ids=[inventory.name for inventory in LABS])
def test_every_image_of_the_lab_is_built(inventory: Inventory) -> None:
    if not stores.unpacked():
        pytest.skip(stores.MISSING)
    system = inventory.directory.parts[-3]
    (values,) = hosts(inventory).values()
    for app in templated("{{ apps }}", values):
        env = {name: str(value) for name, value in app["env"].items()}
        for service in stores.compose(PROJECT, "--file", app["compose"], **env)["services"].values():
            registry, _, name = str(service["image"]).partition("/")
            assert (registry, name in built(system)) == ("registry.lab:5000", True), service["image"]


@pytest.mark.parametrize(
    ("system", "service"),
    [(name, service) for name, known in examples.known().items() for service in known["services"]],
)
def test_a_dockerfile_copies_what_is_there(system: str, service: str) -> None:
    files = read_context(EXAMPLES / system / "services")
    text = examples.context_of(files, service)["Dockerfile"].data.decode()
    (line,) = re.findall(r"^COPY (.+) /app/$", text, re.MULTILINE)
    assert set(line.split()) <= set(files)
    # All that the program imports of its own is copied.
    names = {name.rpartition("/")[2] for name in line.split()}
    for name in line.split():
        imported = re.findall(r"^(?:from|import) (\w+)", files[name].data.decode(), re.MULTILINE)
        own = {f"{module}.py" for module in imported} & {path.rpartition("/")[2] for path in files}
        assert own <= names, name


def test_every_scenario_of_an_example_has_its_images() -> None:
    text = (PROJECT / "molecule" / "shared" / "vars" / "vps.yml").read_text()
    for system in examples.known():
        assert f"example: {system}}}" in text
        assert (PROJECT / "molecule" / system / "molecule.yml").exists()
