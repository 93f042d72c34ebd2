# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The team's compose file, normalised by Compose with all its profiles, checked against the app and cut in two."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.checks import check_model
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, InputError

Model = dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """A checked compose model, cut in two. Images are as the team wrote them."""

    base: Mapping[str, Model]
    swapped: Mapping[str, Model]
    model: Model
    # What the files of `configs` hold, by name.
    configs: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def images(self) -> dict[str, str]:
        """Reference of the image of every service."""
        return {name: str(service["image"]) for name, service in {**self.base, **self.swapped}.items()}


def filled(options: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """The module's options, with what the compose file says where they say nothing: the number of containers."""
    found: Model = model.get("services") or {}
    services = {}
    for name, asked in (options.get("services") or {}).items():
        service = found.get(name) or {}
        replicas = (service.get("deploy") or {}).get("replicas", service.get("scale"))
        given = (asked or {}).get("replicas") is not None or (asked or {}).get("job") is not None
        services[name] = asked if given else {**(asked or {}), "replicas": 1 if replicas is None else replicas}
    return {**options, "services": services}


def selected(model: Model, wanted: Collection[str], profiles: str) -> Model:
    """The model without the services whose profiles are not asked for: neither by `profiles` nor by their names.

    :param profiles: as in the variable COMPOSE_PROFILES
    """
    services: dict[str, Model] = model.get("services") or {}
    active = {name.strip() for name in profiles.split(",")}
    chosen: set[str] = set()
    ahead = [
        name
        for name, service in services.items()
        if not service.get("profiles") or name in wanted or active & {"*", *service["profiles"]}
    ]
    while ahead:
        name = ahead.pop()
        if name not in chosen:
            chosen.add(name)
            needed = (services[name].get("depends_on") or {}).items()
            ahead += [other for other, how in needed if other in services and (how or {}).get("required", True)]
    return {**model, "services": {name: service for name, service in services.items() if name in chosen}}


def split(model: Model, app: App) -> Parts:
    """Check the normalised model against the app and cut it in two."""
    wanted = {service.name for service in app.services} | {job.service for job in app.jobs}
    missing = sorted(wanted - set(model.get("services") or {}))
    if missing:
        there = ", ".join(sorted(model.get("services") or {})) or "none"
        raise InputError(
            f"services.{missing[0]}: the compose file has no service of this name. It has {there}. Correct the name, "
            "or remove it."
        )
    model = selected(model, wanted, app.env.get("COMPOSE_PROFILES", ""))
    check_model(model, app, wanted)
    services: dict[str, Model] = model["services"]
    return Parts(
        base={name: service for name, service in services.items() if name not in wanted},
        swapped={name: services[name] for name in sorted(wanted)},
        model=model,
    )
