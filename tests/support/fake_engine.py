# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container engine on a Unix socket that answers what it is told: what no real engine can be made to say."""

from __future__ import annotations

import contextlib
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INFO: dict[str, Any] = {"Swarm": {"LocalNodeState": "inactive"}, "ServerVersion": "26.1.5", "Warnings": None}


class Status(int):
    """An answer that is only a status."""


class Hang:
    """No answer."""


HANG = Hang()


def bridge(name: str = "bridge", binding: str = "127.0.0.1", **more: Any) -> dict[str, Any]:
    """One element of /networks as an engine has it."""
    options = {"com.docker.network.bridge.name": "docker0"} if name == "bridge" else {}
    if binding:
        options["com.docker.network.bridge.host_binding_ipv4"] = binding
    return {"Name": name, "Id": "d" * 64, "Driver": "bridge", "Scope": "local", "Options": options, **more}


def summary(number: int, name: str = "", state: str = "running", **more: Any) -> dict[str, Any]:
    """One element of /containers/json."""
    return {
        **{"Id": f"{number:064x}", "Names": [f"/{name or f'c{number}'}"], "State": state, "Ports": [], "Mounts": []},
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": f"172.17.{number >> 8}.{number & 255}"}}},
        **more,
    }


def inspected(number: int, policy: str = "always", status: str = "exited", **more: Any) -> dict[str, Any]:
    """/containers/{id}/json of a stopped container that publishes a port without an address."""
    return {
        "Id": f"{number:064x}",
        "State": {"Status": status, "ExitCode": 0, "StartedAt": "2026-01-01T00:00:00Z"},
        "HostConfig": {
            **{"NetworkMode": "bridge", "RestartPolicy": {"Name": policy}},
            **{"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}, **more},
        },
    }


@contextmanager
def engine(directory: Path, answers: Mapping[str, Any], name: str = "docker.sock") -> Iterator[str]:
    """The socket of an engine; a resource without an answer is not known to it, bytes are sent as they are."""
    known = {
        "/containers/json?all=1": [],
        "/networks": [bridge()],
        "/info": INFO,
        "/volumes": {"Volumes": None},
        **answers,
    }
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = known.get(self.path, Status(404))
            if isinstance(answer, Hang):
                over.wait(30)
                return
            status = int(answer) if isinstance(answer, Status) else 200
            body = (
                answer
                if isinstance(answer, bytes)
                else json.dumps({} if isinstance(answer, Status) else answer).encode()
            )
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_arguments: Any) -> None:
            """Nothing: tests print what matters."""

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

        def handle_error(self, *_arguments: Any) -> None:
            """A client that goes away is part of the tests."""

    path = str(directory / name)
    with Server(path, Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield path
        finally:
            over.set()
            with contextlib.suppress(OSError):
                server.shutdown()
