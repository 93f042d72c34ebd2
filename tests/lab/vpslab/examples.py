# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images of an example: its services in several versions, and the stores that it runs beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vpslab import images, recipe
from vpslab.config import Lab, LabError
from vpslab.engine import Engine
from vpslab.recipe import EXAMPLES, IMAGES, File


def known() -> dict[str, Any]:
    """What there is to build, by the name of the example."""
    found: dict[str, Any] = json.loads((IMAGES / "examples.json").read_text())
    return found


def context_of(files: Mapping[str, File], service: str) -> dict[str, File]:
    """The files from which a service is built, with its own Dockerfile as the one that Docker looks for."""
    try:
        return {**files, "Dockerfile": files[f"{service}/Dockerfile"]}
    except KeyError:
        raise LabError(
            f"services/{service}/Dockerfile: not there; examples.json of the lab names the service"
        ) from None


def images_of(engine: Engine, lab: Lab, system: str) -> dict[str, str]:
    """Images of an example as {<name>:<tag>: local reference}."""
    if system not in known():
        raise LabError(f"example {system!r}: not one of {', '.join(sorted(known()))}")
    wanted = known()[system]
    found = {}
    for name, options in wanted["public"].items():
        found[name] = images.public(engine, lab, name=name.replace(":", "-"), **options)
    files = recipe.read_context(EXAMPLES / system / "services")
    for service in wanted["services"]:
        name = f"{system}-{service}"
        common = images.build(
            engine, lab, name, context_of(files, service), {"BASE": images.base(engine, lab, "trixie")}
        )
        for version, environment in wanted["versions"].items():
            dockerfile = recipe.env_dockerfile(common, {"VERSION": version, **environment})
            context = {"Dockerfile": File(dockerfile.encode())}
            found[f"{system}/{service}:{version}"] = images.build(
                engine, lab, f"{name}-{version}", context, {}, quiet=True
            )
    return found
