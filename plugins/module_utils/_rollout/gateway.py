# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the gateway knows about one app, as nginx reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import answers, limits, streams
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import split as splits
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    HTTP,
    App,
    Release,
    ReleasedService,
    RolloutError,
    canonical_hash,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import RELEASE_ID
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving import Serving
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.split import Split

PUBLIC = "unix:/run/gateway/public/http.sock"
ADMIN = "unix:/run/gateway/admin/admin.sock"
_GENERATION = re.compile(r'^\s*return 200 "(?P<generation>[^"]+)\\n";', re.MULTILINE)
_SAYS = 'return 200 "{}\\n";'
_PLACE = _SAYS.format("@generation@")
# What the gateway includes of an app: a file in the http context, and one in the stream context.
APPS, STREAMS = "apps", "streams"
_NAMED = ("$gateway_client", "$gateway_error_page", "$gateway_retry_after", "$gateway_traceparent", "$gateway_dollar")
_LOG = re.compile(r"/var/log/gateway/[\w.]+")


def upstream_name(app: str, service: str) -> str:
    return f"{app}.{service}"


def _upstream(name: str, service: ReleasedService) -> str:
    servers = "\n".join(f"    server {address}:{service.port} max_fails=0;" for address in service.addresses)
    # An idle connection is given up before an app server would (the shortest common default is 2 s):
    # a request on a connection that the other side is closing is lost.
    return f"""upstream {name} {{
    zone {name} 64k;
{servers}
    keepalive 32;
    keepalive_timeout 1s;
}}
"""


def _proxy(upstream: str, serving: Serving, indent: str, directives: str = "", guards: Sequence[str] = ()) -> str:
    silence = "1h" if serving.read_timeout is None else f"{serving.read_timeout}s"
    lines = (
        *directives.splitlines(),
        f"proxy_pass http://{upstream};",
        "proxy_http_version 1.1;",
        "proxy_set_header Host $http_host;",
        "proxy_set_header X-Request-ID $gateway_request_id;",
        "proxy_set_header traceparent $gateway_traceparent;",
        "proxy_set_header tracestate $gateway_tracestate;",
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header Connection $connection_upgrade;",
        f"proxy_connect_timeout {serving.connect_timeout or 5}s;",
        f"proxy_read_timeout {silence};",
        f"proxy_send_timeout {silence};",
        "proxy_buffering off;",
        # A request that may have been acted upon is never sent a second time.
        "proxy_next_upstream error timeout;",
        "proxy_next_upstream_tries 2;",
        *limits.everywhere(serving),
        *guards,
    )
    return "\n".join(f"{indent}{line}" for line in lines)


def _public(app: App, release: Release, split: Split | None) -> str:
    locations = []
    for service in app.services:
        directives, upstream = "", upstream_name(app.name, service.name)
        if split is not None and service.name in split.services:
            directives, upstream = splits.for_users(app.name, service.name)
        guards = [*limits.public(app, service), *answers.guard(app, service)]
        proxy = _proxy(upstream, service.serving, " " * 8, directives, guards)
        locations += [f"    location {route} {{\n{proxy}\n    }}" for route in sorted(service.routes)]
    if not any("/" in service.routes for service in app.services):
        # Otherwise nginx looks for a file.
        locations.append("    location / {\n        return 404;\n    }")
    body = "\n".join(locations)
    cookie = splits.cookie_header(app.name, split) if split is not None else ""
    return f"""server {{
    listen {PUBLIC};
    server_name {" ".join(app.domains)};
    set $gateway_app {app.name};
    set $gateway_release {release.id};
{cookie}    absolute_redirect off;
    # A worker that leaves closes its idle connections: a request on its way over one of them would be lost.
    keepalive_timeout 0;
{answers.pages(cookie, answers.OUTSIDE)}{answers.own_pages(app, cookie)}{body}
}}
"""


def _east_west(app: App, release: Release, address: str, split: Split | None) -> str:
    blocks = []
    ports: dict[int, list[str]] = {}
    for service in app.services:
        if service.port is not None and service.protocol == HTTP:
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
            directives, upstream = "", upstream_name(app.name, name)
            if split is not None and name in split.candidate.services:
                directives, upstream = splits.for_containers(app.name, name)
            blocks.append(f"""server {{
    listen {address}:{port}{default};
    server_name {server_names};
    set $gateway_app {app.name};
    set $gateway_release {release.id};
    keepalive_timeout 0;
{answers.pages()}    location / {{
{_proxy(upstream, app.service(name).serving, " " * 8, directives)}
    }}
}}
""")
    return "".join(blocks)


def render(app: App, release: Release, address: str, split: Split | None = None) -> str:
    """What the gateway is told of a release, see `streams`; `address` is its own in the network of the app."""
    served = [service.name for service in app.speaking(HTTP)]
    named, beside = f"release {release.id} ({release.colour})", ""
    if split is not None:
        candidate = split.candidate
        named += f", canary {candidate.id} ({candidate.colour}) for {split.weight} %"
        beside = splits.maps(app.name, release, split)
        tried = [name for name in served if name in candidate.services]
        group = splits.group(app.name)
        beside += "".join(_upstream(upstream_name(group, name), candidate.services[name]) for name in tried)
    heading = f"{app.name}, {named}. Written by the module compose_rollout.\n"
    parts = [
        f"# App {heading}",
        *(_upstream(upstream_name(app.name, name), release.services[name]) for name in served),
        beside,
        limits.zones(app) + answers.maps(app) if app.domains else "",
        _public(app, release, split) if app.domains else "",
        f"""server {{
    listen {ADMIN};
    server_name {app.name};
    access_log off;
    keepalive_timeout 0;
    default_type text/plain;
    location = /generation {{
        {_PLACE}
    }}
}}
""",
        _east_west(app, release, address, split),
        streams.render(app, release, address, split, heading),
    ]
    text = "".join(parts)
    releases = release.id if split is None else f"{release.id}+{split.candidate.id}"
    return text.replace(_PLACE, _SAYS.format(f"{releases}/{_fingerprint(text)}"), 1)


def _fingerprint(text: str) -> str:
    return canonical_hash(text)[:12]


def generation(text: str | None) -> str | None:
    """The generation that a rendered text announces.

    Of two files that were not written together, as a kill between them leaves them, it is one that nothing announces,
    and it names the releases of both.
    """
    if text is None:
        return None
    match = _GENERATION.search(text)
    if match is not None:
        said = match["generation"]
        if said.endswith(f"/{_fingerprint(text.replace(_SAYS.format(said), _PLACE, 1))}"):
            return said
    releases = list(dict.fromkeys(RELEASE_ID.findall(text)))
    if not releases:
        raise RolloutError(
            "the gateway's file of the app names no generation: it was edited by hand. Remove it and deploy again."
        )
    return f"{'+'.join(releases)}/torn"


def release_of(generation_text: str | None) -> str | None:
    """The release that a generation belongs to; beside a canary, the stable one."""
    return generation_text.split("/", 1)[0].split("+")[0] if generation_text else None


def releases_of(generation_text: str | None) -> frozenset[str]:
    """All releases that a generation sends requests to."""
    return frozenset(generation_text.split("/", 1)[0].split("+")) if generation_text else frozenset()


def lacks(base: str) -> list[str]:
    """What the base configuration does not define of what the file of an app names."""
    return [name for name in _NAMED if f" {name} {{" not in base]


def knows_streams(base: str) -> bool:
    """Whether the base configuration has a place for services that speak TCP."""
    return _include("", STREAMS) in base


def _include(directory: str, kind: str) -> str:
    return f"{directory}/{kind}/*.conf;"


def test_configuration(base: str, files: Mapping[str, Sequence[str]], directory: str) -> str:
    """The base configuration with the files of each kind that it is to include, for `nginx -t`."""
    for kind, paths in files.items():
        include = f"include {_include(directory, kind)}"
        # A gateway of before there were streams serves the apps that have none.
        if base.count(include) != 1 and (kind == APPS or paths):
            raise RolloutError(f"the gateway's nginx.conf does not contain `{include}` once. Run role gateway again.")
        base = base.replace(include, "\n    ".join(f"include {path};" for path in paths))
    # The test opens the logs as well: one that it makes would not be the one that nginx writes to, nor have its mode.
    return _LOG.sub("/dev/null", base)
