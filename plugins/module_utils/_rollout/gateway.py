# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the gateway knows about one app, as nginx reads it."""

from __future__ import annotations

import re

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    App,
    Release,
    RolloutError,
    canonical_hash,
)

PUBLIC = "unix:/run/gateway/public/http.sock"
ADMIN = "unix:/run/gateway/admin/admin.sock"
_GENERATION = re.compile(r'^\s*return 200 "(?P<generation>[^"]+)\\n";', re.MULTILINE)
_PLACE = "@generation@"


def upstream_name(app: str, service: str) -> str:
    return f"{app}.{service}"


def _upstream(app: App, release: Release, name: str) -> str:
    service = release.services[name]
    servers = "\n".join(f"    server {address}:{service.port} max_fails=0;" for address in service.addresses)
    # An idle connection is given up before an app server would (the shortest common default is 2 s):
    # a request on a connection that the other side is closing is lost.
    return f"""upstream {upstream_name(app.name, name)} {{
    zone {upstream_name(app.name, name)} 64k;
{servers}
    keepalive 32;
    keepalive_timeout 1s;
}}
"""


def _proxy(app: App, name: str, indent: str) -> str:
    lines = (
        f"proxy_pass http://{upstream_name(app.name, name)};",
        "proxy_http_version 1.1;",
        "proxy_set_header Host $http_host;",
        "proxy_set_header X-Request-ID $gateway_request_id;",
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header Connection $connection_upgrade;",
        "proxy_connect_timeout 5s;",
        "proxy_read_timeout 1h;",
        "proxy_send_timeout 1h;",
        "proxy_buffering off;",
        # A request that may have been acted upon is never sent a second time.
        "proxy_next_upstream error timeout;",
        "proxy_next_upstream_tries 2;",
    )
    return "\n".join(f"{indent}{line}" for line in lines)


def _public(app: App) -> str:
    locations = []
    for service in app.services:
        for route in sorted(service.routes):
            locations.append(f"    location {route} {{\n{_proxy(app, service.name, ' ' * 8)}\n    }}")
    body = "\n".join(locations)
    return f"""server {{
    listen {PUBLIC};
    server_name {" ".join(app.domains)};
    set $gateway_app {app.name};
    absolute_redirect off;
    # A worker that leaves closes its idle connections: a request on its way over one of them would be lost.
    keepalive_timeout 0;
{body}
}}
"""


def _east_west(app: App, address: str) -> str:
    blocks = []
    ports: dict[int, list[str]] = {}
    for service in app.services:
        if service.port is not None:
            ports.setdefault(service.port, []).append(service.name)
    for port, names in sorted(ports.items()):
        # nginx binds the wildcard alone and tells the apps apart by the address a caller used,
        # so an address that is missing never keeps it from starting.
        blocks.append(f"""server {{
    listen {port};
    server_name {app.name}.nobody;
    return 421;
}}
""")
        for name in names:
            default = " default_server" if name == names[0] else ""
            server_names = " ".join([name, f"{name}.{app.network}"])
            blocks.append(f"""server {{
    listen {address}:{port}{default};
    server_name {server_names};
    set $gateway_app {app.name};
    keepalive_timeout 0;
    location / {{
{_proxy(app, name, " " * 8)}
    }}
}}
""")
    return "".join(blocks)


def render(app: App, release: Release, address: str) -> str:
    """The file `apps/<app>.conf` for a release; `address` is the gateway's in the network of the app."""
    parts = [
        f"# App {app.name}, release {release.id} ({release.colour}). Written by the module compose_rollout.\n",
        *(_upstream(app, release, name) for name in app.served),
        _public(app) if app.domains else "",
        f"""server {{
    listen {ADMIN};
    server_name {app.name};
    access_log off;
    keepalive_timeout 0;
    default_type text/plain;
    location = /generation {{
        return 200 "{_PLACE}\\n";
    }}
}}
""",
        _east_west(app, address),
    ]
    text = "".join(parts)
    return text.replace(_PLACE, f"{release.id}/{canonical_hash(text)[:12]}")


def generation(text: str | None) -> str | None:
    """The generation that a rendered file announces."""
    if text is None:
        return None
    match = _GENERATION.search(text)
    if match is None:
        raise RolloutError(
            "the gateway's file of the app names no generation: it was edited by hand. Remove it and deploy again."
        )
    return match["generation"]


def release_of(generation_text: str | None) -> str | None:
    """The release a generation belongs to."""
    return generation_text.split("/", 1)[0] if generation_text else None


def test_configuration(base: str, own: str, others: list[str], directory: str) -> str:
    """The base configuration with a new file of one app in the place of the old one, for `nginx -t`."""
    include = f"include {directory}/apps/*.conf;"
    if base.count(include) != 1:
        raise RolloutError(f"the gateway's nginx.conf does not contain `{include}` once. Run role gateway again.")
    files = "\n    ".join(f"include {path};" for path in [*others, own])
    return base.replace(include, files)
