# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""An app as the gateway has to know it: its domains, and where the requests of each service go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.claims import domain_taken
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    HTTP,
    LIMITS,
    App,
    InputError,
    Release,
    ReleasedService,
    Service,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving import Serving
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Route, State


def route_of(app: App) -> Route:
    return Route(app.domains, {service.name: _asked(service) for service in app.services})


def _asked(service: Service) -> dict[str, Any]:
    """As it is remembered, in the form that it has when it is read again."""
    asked = dict(asdict(service), routes=list(service.routes), serving=service.serving.to_json())
    if not asked["serving"]:
        # As a version wrote it that knew nothing of it: the same route is no change.
        del asked["serving"]
    return asked


def app_of(name: str, route: Route, release: Release) -> App:
    """The app as the gateway has to know it for a release: services that the release does not have are left out."""

    def service(key: str, released: ReleasedService) -> Service:
        asked = dict(route.services.get(key, {"name": key, "routes": []}))
        # What the containers of the release listen to, whatever the next release will.
        asked.update(port=released.port, protocol=released.protocol)
        routes = tuple(asked.pop("routes")) if released.protocol == HTTP else ()
        serving = Serving.from_json(asked.pop("serving", {}))
        return Service(**{**asked, "routes": routes, "serving": serving})

    services = tuple(
        service(key, released) for key, released in sorted(release.services.items()) if released.port is not None
    )
    return App(name, route.domains, services)


def served(route: Route) -> list[str]:
    """The services whose names the gateway carries in the network of the app."""
    return sorted(name for name, service in route.services.items() if service["port"] is not None)


def with_limits(release: Release, route: Route) -> Release:
    """The release with what its route says of health and time: none of that is part of its containers."""
    services = {
        name: replace(service, **{key: route.services[name][key] for key in LIMITS if key in route.services[name]})
        if name in route.services
        else service
        for name, service in release.services.items()
    }
    return replace(release, services=services)


def check_other_apps(app: App, others: Mapping[str, State]) -> None:
    """Two apps under one domain: the gateway could not tell them apart."""
    for name, state in sorted(others.items()):
        if name == app.name:
            continue
        for route in (state.route, state.next_route):
            taken = sorted(set(app.domains) & set(route.domains)) if route else []
            if taken:
                raise InputError(domain_taken(taken[0], name, app.name))
