# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real nginx with the base configuration of the role and the file of the module for an app, in front of a small one.

It runs in a network of its own, so that containers and the gateway have the addresses that they would have on a host.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import gateway, streams
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, Release
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import parse_app
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.split import Split
from yarl import URL

from tests.support.namespaces import apart, beside
from tests.unit.plugins.module_utils.rollout.models import release
from tests.unit.roles.caddy import served as behind

PROJECT = Path(__file__).resolve().parents[4]
ROLE = PROJECT / "roles/gateway"
# DAFFATHAN_TEST_NGINX=/path/to/nginx tries another version.
NGINX = Path(os.environ.get("DAFFATHAN_TEST_NGINX", PROJECT / ".build/nginx/nginx"))
# Of a release: where its containers are, and where they find the gateway.
API, API_TOO, WEB, GATEWAY = "10.9.0.128", "10.9.0.129", "10.9.0.130", "10.9.0.254"
CLIENT = "203.0.113.7"
SITE = "labs.example.test"
# In front of the port of a container.
APART = "1"
INSIDE = """
import socket, sys
channel = socket.socket(fileno=int(sys.argv[1]))
while channel.recv(1):
    with socket.socket() as made:
        socket.send_fds(channel, [b"x"], [made.fileno()])
"""


class Network:
    """A network namespace in which every address of 10.9.0.0/24 is this machine."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        prepare = 'ip link set lo up && ip address add 10.9.0.1/24 dev lo && exec "$@"'
        self._process = subprocess.Popen(
            apart("sh", "-ec", prepare, "sh", sys.executable, "-c", INSIDE, str(theirs.fileno())),
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def socket(self) -> socket.socket:
        """A new socket of that network, for a process that is in another one."""
        self._channel.send(b"x")
        return socket.socket(fileno=socket.recv_fds(self._channel, 1, 1)[1][0])

    def command(self, *argv: str) -> list[str]:
        """What starts a process in it."""
        return beside(self._process.pid, *argv)

    def close(self) -> None:
        self._channel.close()
        self._process.wait(10)


@functools.cache
def network() -> Network:
    found = Network()
    # The first socket is there when the addresses are.
    found.socket().close()
    return found


def base(**variables: Any) -> str:
    """The base configuration as the role makes it."""
    defaults = DataLoader().load_from_file(str(ROLE / "defaults/main.yml"), trusted_as_template=True)
    known = {"ansible_managed": "Ansible managed", "gateway_mark": "0123456789abcdef", **defaults, **variables}
    template = ROLE / "templates/etc/daffathan/gateway/nginx.conf.j2"
    text: str = Templar(loader=DataLoader(), variables=known).template(
        trust_as_template(f"{{{{ lookup('ansible.builtin.template', '{template}') }}}}")
    )
    return text


def here(text: str, directory: Path) -> str:
    """A file of the gateway for an nginx that has its files in a directory of this machine."""
    for old, new in (
        ("/etc/gateway/", f"{directory}/"),
        ("/run/gateway/", f"{directory}/"),
        ("/var/log/gateway/", f"{directory}/"),
        ("/etc/nginx/modules-enabled/", f"{directory}/modules/"),
        ("/tmp/nginx.pid", f"{directory}/pid"),
        ("_temp_path /tmp/", f"_temp_path {directory}/temp-"),
        ("\nuser nginx;", "\nuser root root;"),
        ("\nworker_processes auto;", "\nworker_processes 2;"),
        ("""'{"time":""", """'{"connection":$connection,"time":"""),
    ):
        text = text.replace(old, new)
    return text


def make_places(directory: Path) -> None:
    """What is there before nginx starts."""
    for name in ("public", "admin", "modules"):
        (directory / name).mkdir()
    modules = sorted((NGINX.parent / "root/usr/lib/nginx/modules").glob("ngx_stream_module.so"))
    (directory / "modules/stream.conf").write_text("".join(f"load_module {path};\n" for path in modules))


def _reached_there(text: str) -> str:
    # Of one network there is one socket for each address and port, and the gateway listens on all addresses.
    return re.sub(r"(server 10\.9\.0\.\d+):(\d{4}) ", rf"\1:{APART}\2 ", text)


def app(api: dict[str, Any] | None = None, **options: Any) -> App:
    """The app `labs`, with options of its service `api`."""
    services = {"api": {"port": 3001, "routes": ["/api/"], **(api or {})}, "web": {"port": 3000, "routes": ["/"]}}
    return parse_app({"app": "labs", "domains": [SITE], "services": services, **options})


class Upstream(behind.App):
    """What stands behind the gateway."""

    def __init__(self) -> None:
        super().__init__()
        self.received = 0

    async def upload(self, request: web.Request) -> web.Response:
        self.received = 0
        async for piece in request.content.iter_any():
            self.received += len(piece)
        return web.Response(text=str(self.received))

    async def status(self, request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["status"]), text="the app's own")

    async def headers(self, request: web.Request) -> web.Response:
        """An answer with so many headers of so many bytes each, and those of the query."""
        response = web.Response(body=b"body" * 50_000, headers=dict(request.query))
        for _ in range(int(request.match_info["number"])):
            response.headers.add("X-Long", "v" * int(request.match_info["size"]))
        return response

    async def silent(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    def routes(self) -> list[web.RouteDef]:
        own = [
            web.post("/api/upload", self.upload),
            web.get("/api/status/{status}", self.status),
            web.get("/api/headers/{number}/{size}", self.headers),
            web.get("/api/silent", self.silent),
            web.get("/api/stream", self.stream),
            web.get("/api/socket", self.socket),
        ]
        return [*own, *super().routes()]


@dataclass
class Served:
    """A running gateway, and a client of it that has the address CLIENT."""

    directory: Path
    client: aiohttp.ClientSession
    upstream: Upstream
    process: asyncio.subprocess.Process | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    generation: str | None = None
    # Of the last answer.
    body: bytes = b""

    def write(self, of: App, released: Release, split: Split | None = None, *, beside: str = "") -> None:
        text = gateway.render(of, released, GATEWAY, split)
        self.generation = gateway.generation(text)
        http, tcp = streams.divide(text)
        for name, content in (
            ("nginx.conf", base(**self.variables)),
            ("apps/labs.conf", http),
            ("apps/beside.conf", beside),
            ("streams/labs.conf", tcp),
        ):
            path = self.directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(_reached_there(here(content, self.directory)))

    async def start(self) -> None:
        make_places(self.directory)
        argv = network().command(str(NGINX), "-e", "stderr", "-c", f"{self.directory}/nginx.conf")
        with (self.directory / "start.log").open("w") as log:
            process = self.process = await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log)
        await self.until(lambda: (self.directory / "admin/admin.sock").exists() or process.returncode is not None)
        assert process.returncode is None, self.said()

    async def until(self, true: Callable[[], object]) -> None:
        for _ in range(1000):
            if true():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(self.said())

    def said(self) -> str:
        logs = [self.directory / name for name in ("start.log", "error.log")]
        return "".join(path.read_text()[-3000:] for path in logs if path.exists())

    async def reload(self, of: App, released: Release | None = None, **options: Any) -> None:
        """Return when the new configuration is in force."""
        assert self.process is not None
        self.write(of, released or release(), **options)
        before = self.workers()
        self.process.send_signal(signal.SIGHUP)
        await self.until(lambda: not before & self.workers() and self.workers())
        assert await self.admin("/generation", "labs") == self.generation, self.said()

    def workers(self) -> set[int]:
        """Those that accept connections. That the new ones answer does not say that the old ones have stopped to."""
        assert self.process is not None
        master = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = set()
        for pid in master.read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if b"shutting down" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.add(int(pid))
        return found

    async def admin(self, path: str, host: str = "localhost") -> str:
        connector = aiohttp.UnixConnector(f"{self.directory}/admin/admin.sock", force_close=True)
        async with aiohttp.ClientSession(connector=connector) as client, client.get(f"http://{host}{path}") as response:
            return (await response.text()).strip()

    async def get(self, path: str = "/", **options: Any) -> aiohttp.ClientResponse:
        return await self.ask("GET", path, **options)

    async def ask(
        self, method: str, path: str = "/", *, host: str = SITE, client: str = CLIENT, **options: Any
    ) -> aiohttp.ClientResponse:
        """As Caddy asks, which says who the client is."""
        headers = {"X-Forwarded-For": client, "X-Forwarded-Proto": "https", **options.pop("headers", {})}
        url = URL(f"http://{host}{path}", encoded=True)
        async with self.client.request(method, url, headers=headers, allow_redirects=False, **options) as response:
            self.body = await response.read()
            return response

    async def asked(self, path: str = "/", **options: Any) -> dict[str, str]:
        """The headers that the app got, by their names in lower case."""
        await self.get(path, **options)
        return {name.lower(): value for name, value in json.loads(self.body)["headers"].items()}

    async def inside(self, request: str, address: str = GATEWAY, port: int = 3001, me: str = API) -> str:
        """The answer to a request that a container sends."""
        held = network().socket()
        held.setblocking(False)
        held.bind((me, 0))
        await asyncio.get_running_loop().sock_connect(held, (address, port))
        reader, writer = await asyncio.open_connection(sock=held)
        with contextlib.closing(writer):
            writer.write(request.encode())
            return (await reader.read()).decode()

    async def logged(self, count: int) -> list[dict[str, Any]]:
        """The first lines of the access log, so many, in the order in which the requests came.

        nginx writes them when the answers are sent already, and each of its workers for itself.
        """
        path = self.directory / "access.log"
        await self.until(lambda: path.read_text().count("\n") >= count)
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        return sorted(entries, key=lambda entry: int(entry["connection"]))[:count]


def _listening(address: str, port: int) -> socket.socket:
    made = network().socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, int(f"{APART}{port}")))
    return made


@contextlib.asynccontextmanager
async def served(
    of: App, released: Release | None = None, split: Split | None = None, *, beside: str = "", **variables: Any
) -> AsyncIterator[Served]:
    """:param variables: of the role"""
    # The path of a socket must be short.
    directory = Path(tempfile.mkdtemp(prefix="gateway-"))
    upstream = Upstream()
    application = web.Application(client_max_size=1 << 30)
    application.add_routes(upstream.routes())
    runner = web.AppRunner(
        application, shutdown_timeout=0.1, access_log=None, max_line_size=behind.LINE, max_field_size=behind.LINE
    )
    await runner.setup()
    for address, port in ((API, 3001), (API_TOO, 3001), (WEB, 3000)):
        await web.SockSite(runner, _listening(address, port)).start()
    connector = aiohttp.UnixConnector(f"{directory}/public/http.sock", force_close=True, limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        found = Served(directory, client, upstream, variables=variables)
        try:
            found.write(of, released or release(), split, beside=beside)
            await found.start()
            yield found
        finally:
            if found.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    found.process.terminate()
                await found.process.wait()
            await runner.cleanup()
            shutil.rmtree(directory)
