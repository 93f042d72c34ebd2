# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The services of an app that speak TCP, as nginx reads them in its stream context.

That takes a file of its own beside the one for HTTP. Here both are one text, of which the streams are the end: one
generation is for all of it, and two files that do not belong together are told by it.
"""

from __future__ import annotations

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import split as splits
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    TCP,
    App,
    Release,
    ReleasedService,
    Service,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.split import Split

BEGIN = "# Streams of app "
# Seconds until a caller that is gone without a word is asked for, between two questions, and how many are asked.
KEEPALIVE = "300s:30s:4"


def divide(text: str) -> tuple[str, str]:
    """The text for the http context, and the one for the stream context, which is empty where nothing speaks TCP."""
    http, found, rest = f"\n{text}".partition(f"\n{BEGIN}")
    return http[1:] + ("\n" if found and http else ""), f"{BEGIN}{rest}" if found else ""


def unite(http: str | None, streams: str | None) -> str | None:
    """The text that two files are; None where neither is there."""
    return None if http is None and streams is None else (http or "") + (streams or "")


def render(app: App, release: Release, address: str, split: Split | None, heading: str) -> str:
    """Nothing where no service speaks TCP."""
    services = app.speaking(TCP)
    if not services:
        return ""
    parts = [f"{BEGIN}{heading}"]
    if split is not None:
        parts.append(splits.callers(app.name, release, split))
    for service in services:
        name, target = f"{app.name}.{service.name}", f"{app.name}.{service.name}"
        parts.append(_upstream(name, release.services[service.name]))
        said = f"    set $gateway_release {release.id};"
        if split is not None and service.name in split.candidate.services:
            parts.append(_upstream(f"{splits.group(app.name)}.{service.name}", split.candidate.services[service.name]))
            said, target = splits.for_streams(app.name, service.name)
        parts.append(_server(app, service, address, said, target))
    return "".join(parts)


def _upstream(name: str, service: ReleasedService) -> str:
    servers = "\n".join(f"    server {address}:{service.port} max_fails=0;" for address in service.addresses)
    # Connections stay for hours: what counts is how many a container has, not how many it was given.
    return f"""upstream {name} {{
    zone {name} 64k;
    least_conn;
{servers}
}}
"""


def _server(app: App, service: Service, address: str, said: str, target: str) -> str:
    # A connection that could not be made is given to another container: nothing was sent yet that could arrive twice.
    return f"""server {{
    listen {address}:{service.port} so_keepalive={KEEPALIVE};
    set $gateway_app {app.name};
{said}
    proxy_pass {target};
    proxy_connect_timeout 5s;
    proxy_next_upstream on;
    proxy_next_upstream_tries 2;
    proxy_timeout {service.idle_timeout}s;
    proxy_half_close on;
    proxy_socket_keepalive on;
}}
"""
