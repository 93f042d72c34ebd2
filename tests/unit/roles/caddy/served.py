# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Caddy on loopback with the configuration that the role makes, in front of a small app."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDictProxy
from yarl import URL

from tests.unit.roles.caddy.caddyfile import caddyfile, templated

# DAFFATHAN_TEST_CADDY=/path/to/caddy tries another version, from 2.9 on.
CADDY = os.environ.get("DAFFATHAN_TEST_CADDY", str(Path(sys.executable).parent / "caddy"))
# Whether a head is too long is not for those to say between whom Caddy and the gateway are.
LINE = 1 << 20
PAGE = "<html>" + "text " * 1000


class Everywhere(AbstractResolver):
    """Every name is this machine."""

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0),
        ]

    async def close(self) -> None:
        pass


@functools.cache
def version() -> str:
    said = subprocess.run([CADDY, "version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"[0-9]+\.[0-9]+\.[0-9]+", said)
    assert found, said
    return found[0]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


@dataclass(frozen=True)
class Seen:
    """A request, as the app got it."""

    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes


class App:
    """What stands behind Caddy. `part` lets go of the next part of an answer that is under way."""

    def __init__(self) -> None:
        self.part = asyncio.Semaphore(0)
        self.seen: list[Seen] = []

    async def echo(self, request: web.Request) -> web.Response:
        self.seen.append(Seen(request.method, request.raw_path, request.headers, await request.read()))
        headers = {"X-Powered-By": "the app", "Server": "the app"}
        if "own" in request.query:
            headers |= {"X-Frame-Options": "DENY", "Strict-Transport-Security": "max-age=1"}
        return web.json_response({"path": request.raw_path, "headers": dict(request.headers)}, headers=headers)

    async def page(self, request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": request.query["type"]})
        await response.prepare(request)
        for number in range(3):
            await self.part.acquire()
            # More than what is too short to be compressed.
            await response.write(f"data: {number}{'.' * 2000}\n\n".encode())
        return response

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        async for message in opened:
            await opened.send_str(message.data)
        return opened

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/page", self.page),
            web.get("/stream", self.stream),
            web.get("/socket", self.socket),
            web.route("*", "/{tail:.*}", self.echo),
        ]


@dataclass
class Edge:
    """A running Caddy, and a client that takes any certificate."""

    directory: Path
    http_port: int
    https_port: int
    metrics_port: int
    client: aiohttp.ClientSession
    app: App
    # Of the last answer.
    body: bytes = b""
    pid: int = 0

    def url(self, path: str = "/", host: str = "labs.example.com", scheme: str = "https") -> URL:
        port = self.https_port if scheme == "https" else self.http_port
        return URL(f"{scheme}://{host}:{port}{path}", encoded=True)

    async def get(self, path: str = "/", host: str = "labs.example.com", **options: Any) -> aiohttp.ClientResponse:
        while True:
            try:
                async with self.client.get(self.url(path, host), allow_redirects=False, **options) as response:
                    self.body = await response.read()
                    return response
            except aiohttp.ClientSSLError:
                # After its start Caddy makes the certificates of its names one after the other.
                if "ssl" in options:
                    raise
                await asyncio.sleep(0.1)

    async def asked(self, path: str = "/", **options: Any) -> dict[str, Any]:
        """What the app was asked."""
        await self.get(path, **options)
        found: dict[str, Any] = json.loads(self.body)
        return found

    def configure(self, variables: dict[str, Any]) -> None:
        sockets = {"caddy_gateway_socket": f"{self.directory}/app.sock", "__caddy_certificates": str(self.directory)}
        text = caddyfile({"caddy_tls": "internal", **sockets, **variables}, version())
        ports = f"http_port {self.http_port}\n\thttps_port {self.https_port}\n\tdefault_bind 127.0.0.1"
        for old, new in (
            ("admin unix//run/caddy/admin.sock", f"admin unix/{self.directory}/admin.sock\n\t{ports}"),
            ("/var/log/caddy", str(self.directory)),
            ("grace_period 30s", "grace_period 1s"),
        ):
            assert old in text
            text = text.replace(old, new)
        (self.directory / "Caddyfile").write_text(text)
        for name, pem in templated("{{ __caddy_edge.certificates }}", variables).items():
            (self.directory / name).write_text(pem)

    async def reload(self, variables: dict[str, Any]) -> None:
        self.configure(variables)
        process = await asyncio.create_subprocess_exec(
            *(CADDY, "reload", "--force", "--config", f"{self.directory}/Caddyfile"),
            *("--address", f"unix/{self.directory}/admin.sock"),
            stderr=subprocess.PIPE,
        )
        said = (await process.communicate())[1]
        assert process.returncode == 0, said.decode()


@contextlib.asynccontextmanager
async def edge(variables: dict[str, Any], *, local: str = "127.0.0.1") -> AsyncIterator[Edge]:
    """:param local: the address that the client has."""
    # The path of a socket must be short.
    directory = Path(tempfile.mkdtemp(prefix="edge-"))
    app = App()
    application = web.Application()
    application.add_routes(app.routes())
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, f"{directory}/app.sock").start()
    connector = aiohttp.TCPConnector(ssl=False, resolver=Everywhere(), local_addr=(local, 0))
    http_port, https_port, metrics_port = _free_ports(3)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=False, max_line_size=LINE, max_field_size=LINE
    ) as client:
        found = Edge(directory, http_port, https_port, metrics_port, client, app)
        if variables.get("caddy_metrics_address"):
            variables = {**variables, "caddy_metrics_address": f"127.0.0.1:{found.metrics_port}"}
        found.configure(variables)
        environment = {**os.environ, "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
        with (directory / "caddy.log").open("w") as log:
            argv = (CADDY, "run", "--config", f"{directory}/Caddyfile")
            process = await asyncio.create_subprocess_exec(*argv, env=environment, stderr=log, stdout=log)
        found.pid = process.pid
        try:
            await _ready(found, process)
            yield found
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await runner.cleanup()
            shutil.rmtree(directory)


async def _ready(found: Edge, process: asyncio.subprocess.Process) -> None:
    for _ in range(100):
        if process.returncode is not None:
            break
        try:
            await asyncio.wait_for(found.get(), 10)
            return
        except (aiohttp.ClientError, asyncio.TimeoutError):
            await asyncio.sleep(0.1)
    raise AssertionError((found.directory / "caddy.log").read_text()[-3000:])
