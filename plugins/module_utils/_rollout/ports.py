# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Ports of the gateway that apps of a host cannot have at the same time."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.claims import port_taken
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import HTTP, App, InputError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State


def check_ports(app: App, states: Mapping[str, State]) -> None:
    """Refuse a port that the kernel would not let the gateway bind, see `port_taken`."""
    asked = {service.port: service for service in app.services if service.port is not None}
    for name, state in sorted(states.items()):
        mine = name == app.name
        for route in (state.route, None if mine else state.next_route):
            for key, other in sorted(route.services.items()) if route else ():
                service, protocol = asked.get(other["port"]), other.get("protocol", HTTP)
                if service is None or service.protocol == protocol:
                    continue
                who = f"service {key} as it runs" if mine else f"service {key} of app {name}"
                what = f"services.{service.name}.port: {service.port}"
                raise InputError(port_taken(what, service.protocol, who, protocol))
