# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fast app, and what stands in front of it: as processes of this machine, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import gateway, streams
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import parse_app

from tests.bench.edge.load import SITE
from tests.support.certificates import Authority, Issued
from tests.support.lab import PROJECT
from tests.unit.plugins.module_utils.rollout.models import release
from tests.unit.roles.caddy.served import edge
from tests.unit.roles.gateway.served import NGINX, base, here, make_places

TRAEFIK = PROJECT / ".build" / "bench" / "bin" / "traefik"
ANSWER = "a" * 1024
APP = """daemon off;
worker_processes 1;
pid {directory}/app.pid;
events {{
    worker_connections 1024;
}}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/temp-body;
    proxy_temp_path {directory}/temp-proxy;
    fastcgi_temp_path {directory}/temp-fastcgi;
    uwsgi_temp_path {directory}/temp-uwsgi;
    scgi_temp_path {directory}/temp-scgi;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        http2 on;
        ssl_certificate {directory}/site.pem;
        ssl_certificate_key {directory}/site.key;
        default_type application/octet-stream;
        location / {{
            return 200 {answer};
        }}
    }}
}}
"""
# What the other has in its logs is written here too.
TRAEFIK_STATIC = """entryPoints: {{websecure: {{address: "127.0.0.1:{port}"}}}}
providers: {{file: {{filename: {directory}/routes.yml}}}}
accessLog: {{filePath: {directory}/traefik.log, format: json}}
"""
TRAEFIK_ROUTES = """http:
  routers: {{labs: {{rule: "Host(`{site}`)", entryPoints: [websecure], service: labs, tls: {{}}}}}}
  services: {{labs: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{app_port}"}}]}}}}}}
tls: {{certificates: [{{certFile: {directory}/site.pem, keyFile: {directory}/site.key}}]}}
"""


@dataclass(frozen=True)
class Party:
    """Something that answers over TLS, and the processes that it is, by what they are."""

    name: str
    port: int
    pids: dict[str, int]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def running(directory: Path, *argv: str) -> AsyncIterator[int]:
    """The id of a process that is ended afterwards."""
    with (directory / "said.log").open("a") as log:
        process = await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log)
    try:
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def answers(directory: Path, port: int) -> None:
    """Return when the app answers at this port over TLS."""
    careless = ssl.create_default_context()
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    for _ in range(100):
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=careless, server_hostname=SITE)
            writer.write(f"GET /api/x HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            if answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(ANSWER.encode()):
                return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"Nothing answers at port {port}:\n{(directory / 'said.log').read_text()[-2000:]}")


def write_gateway(directory: Path, app_port: int) -> None:
    """The role's base configuration and the module's file for the app."""
    services = {"api": {"port": app_port, "routes": ["/"]}}
    of, released = parse_app({"app": "labs", "domains": [SITE], "services": services}), release()
    api = replace(released.services["api"], port=app_port, addresses=("127.0.0.1",))
    http, tcp = streams.divide(gateway.render(of, replace(released, services={"api": api}), "127.0.0.1"))
    # Containers of the app would come there, where the app itself is now.
    http = re.sub(rf"listen (127\.0\.0\.1:)?{app_port}\b", f"listen 127.0.0.1:{free_port()}", http)
    make_places(directory)
    for name, text in (("nginx.conf", base()), ("apps/labs.conf", http), ("streams/labs.conf", tcp)):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(here(text, directory))


@contextlib.asynccontextmanager
async def parties() -> AsyncIterator[list[Party]]:
    """The app itself, Traefik in front of it, and Caddy and the gateway in front of it."""
    # The path of a socket must be short.
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    issued = Authority().issue([SITE])
    port, tls_port, traefik_port = free_port(), free_port(), free_port()
    (directory / "app.conf").write_text(APP.format(directory=directory, port=port, tls_port=tls_port, answer=ANSWER))
    (directory / "site.pem").write_text(issued.certificate)
    (directory / "site.key").write_text(issued.key)
    (directory / "traefik.yml").write_text(TRAEFIK_STATIC.format(directory=directory, port=traefik_port))
    (directory / "routes.yml").write_text(TRAEFIK_ROUTES.format(directory=directory, site=SITE, app_port=port))
    write_gateway(directory, port)
    try:
        async with (
            running(directory, str(NGINX), "-e", "stderr", "-c", f"{directory}/app.conf") as app,
            running(directory, str(NGINX), "-e", "stderr", "-c", f"{directory}/nginx.conf") as nginx,
            running(directory, str(TRAEFIK), f"--configFile={directory}/traefik.yml") as traefik,
            edge(_caddy(directory, issued)) as caddy,
        ):
            found = [
                Party("direct", tls_port, {"app": app}),
                Party("traefik", traefik_port, {"traefik": traefik, "app": app}),
                Party("ours", caddy.https_port, {"caddy": caddy.pid, "gateway": nginx, "app": app}),
            ]
            for party in found:
                await answers(directory, party.port)
            yield found
    finally:
        shutil.rmtree(directory)


def _caddy(directory: Path, issued: Issued) -> dict[str, Any]:
    site = {"certificate": issued.certificate, "certificate_key": issued.key}
    of = {"name": "labs", "compose": "compose.yml", "domains": [SITE], "services": {"api": {"port": 1}}, "site": site}
    return {"apps": [of], "caddy_gateway_socket": f"{directory}/public/http.sock"}
