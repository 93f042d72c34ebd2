# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What a service takes of its clients, as nginx reads it.

Clients are counted in memory that a reload keeps, by the name of its zone. nginx does not load a configuration in which
a zone of the same name counts by another key, which no test of a configuration tells: the key of a zone is always the
same variable, and what that stands for may change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, Service
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving import Serving

# Some 32000 clients, of whom the oldest make place for new ones; or as many with requests under way, and others are
# refused meanwhile.
SIZE = "4m"


def everywhere(serving: Serving) -> list[str]:
    """What holds for all requests to a service, where the base configuration has one for all services."""
    size, body = serving.max_body_size, serving.body_timeout
    return [
        *([f"client_max_body_size {size};"] if size is not None else []),
        *([f"client_body_timeout {body}s;"] if body is not None else []),
    ]


def public(app: App, service: Service) -> list[str]:
    """What holds for the requests of clients, in the locations of a service."""
    lines = []
    rate, connections = service.serving.rate_limit, service.serving.connection_limit
    if rate is not None:
        how = f" burst={rate.burst}{' nodelay' * rate.nodelay}" if rate.burst else ""
        lines.append(f"limit_req zone={_zone('requests', app, service)}{how};")
        # When the next request of a client is due.
        lines.append(f"set $gateway_retry {-(-rate.period // rate.requests)};")
        lines += ["limit_req_dry_run on;"] * rate.dry_run
    if connections is not None:
        lines.append(f"limit_conn {_zone('connections', app, service)} {connections.connections};")
        lines += ["limit_conn_dry_run on;"] * connections.dry_run
    return lines


def zones(app: App) -> str:
    """Where clients are counted, for the http context."""
    text = ""
    for service in app.services:
        rate, connections = service.serving.rate_limit, service.serving.connection_limit
        if not service.routes:
            continue
        if rate is not None:
            per = f"{rate.requests}r/{'s' if rate.period == 1 else 'm'}"
            text += _counted("rated", app, service, rate.exempt)
            zone = f"{_zone('requests', app, service)}:{SIZE}"
            text += f"limit_req_zone {variable('rated', app, service)} zone={zone} rate={per};\n"
        if connections is not None:
            text += _counted("connected", app, service, connections.exempt)
            zone = f"{_zone('connections', app, service)}:{SIZE}"
            text += f"limit_conn_zone {variable('connected', app, service)} zone={zone};\n"
    return text


def variable(what: str, app: App, service: Service) -> str:
    """A variable of nginx for one service: no two services have the same one, in whatever case their names are."""
    name = re.sub(r"[^a-z0-9]", lambda sign: f"_{ord(sign[0]):02x}", service.name)
    return f"${what}_{app.name.replace('-', '_')}__{name}"


def addresses(name: str, networks: Sequence[str]) -> str:
    """A variable that is 1 for a client of the networks, and empty for others."""
    lines = "".join(f"    {network} 1;\n" for network in networks)
    return f'geo {name} {{\n    default "";\n{lines}}}\n'


def _counted(what: str, app: App, service: Service, exempt: Sequence[str]) -> str:
    """The variable by which a client is counted: whoever has an empty one is not."""
    free = variable(f"free_{what}", app, service)
    return f"""{addresses(free, exempt)}map {free} {variable(what, app, service)} {{
    default "";
    "" $gateway_client;
}}
"""


def _zone(what: str, app: App, service: Service) -> str:
    """No app, and no group of upstreams, has a name that begins like this."""
    return f"{app.name}--{what}.{service.name}"
