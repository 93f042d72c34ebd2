# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An ACME authority and a site that has its certificate from it, each a Caddy as the role sets it up.

Runs in a network namespace of its own, where both have port 443: python -m tests.unit.roles.caddy.acme DIRECTORY.
The site is asked over new connections all the time, until it has shown a second certificate. Prints what came of it as
JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.plugins.loader import init_plugin_loader

from tests.unit.roles.caddy.caddyfile import caddyfile
from tests.unit.roles.caddy.served import CADDY, version

PROJECT = Path(__file__).resolve().parents[4]
AUTHORITY, SITE = "ca.example.test", "acme.example.test"
ADDRESSES = {AUTHORITY: "127.0.0.2", SITE: "127.0.0.3"}
# It renews when a third of the time is left, and looks for such certificates every ten minutes: here both are soon.
SOON = "renew_interval 1s\n\trenewal_window_ratio 0.97"
PATIENCE = 60


@contextlib.contextmanager
def running(name: str, directory: Path, variables: dict[str, Any], options: str) -> Iterator[None]:
    directory.mkdir()
    text = caddyfile(variables, version())
    for old, new in (
        ("/run/caddy/admin.sock", f"{directory}/admin.sock\n\tdefault_bind {ADDRESSES[name]}\n\t{options}"),
        ("/var/log/caddy", str(directory)),
    ):
        assert old in text
        text = text.replace(old, new)
    (directory / "Caddyfile").write_text(text)
    places = {key: str(directory) for key in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    with (directory / "log").open("w") as log:
        argv = [CADDY, "run", "--config", str(directory / "Caddyfile")]
        process = subprocess.Popen(argv, env={**os.environ, **places}, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def connected(tls: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    plain = socket.create_connection((ADDRESSES[name], 443), timeout=10)
    return tls.wrap_socket(plain, server_hostname=name)


def trusted(root: Path) -> ssl.SSLContext:
    """Waits until the authority answers: a site that asks it before does not ask again for a minute."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            tls = ssl.create_default_context(cafile=str(root))
            connected(tls, AUTHORITY).close()
            return tls
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def ask(tls: ssl.SSLContext, method: str) -> str:
    """The fingerprint of the certificate that the site answers with."""
    with contextlib.closing(http.client.HTTPSConnection(SITE, timeout=10)) as connection:
        connection.sock = connected(tls, SITE)
        seen = hashlib.sha256(connection.sock.getpeercert(binary_form=True) or b"").hexdigest()
        connection.request(method, "/", body=b"x" * 1000 if method == "POST" else None)
        answer = connection.getresponse()
        if (answer.status, answer.read()) != (200, b"hello"):
            raise OSError(f"status {answer.status}")
        return seen


def play(directory: Path) -> dict[str, Any]:
    root = directory / "authority/caddy/pki/authorities/local/root.crt"
    server = {"domains": [AUTHORITY], "tls": "internal", "directives": "acme_server {\n\tlifetime 5m\n}"}
    acme = {
        "caddy_email": "ops@example.test",
        "caddy_acme_ca": f"https://{AUTHORITY}/acme/local/directory",
        "caddy_acme_ca_root": str(root),
        "caddy_sites": [{"domains": [SITE], "directives": "respond hello"}],
    }
    certificates: list[str] = []
    failed: list[str] = []
    asked = after = 0
    with running(AUTHORITY, directory / "authority", {"caddy_tls": "internal", "caddy_sites": [server]}, "debug"):
        tls = trusted(root)
        give_up = time.monotonic() + PATIENCE
        with running(SITE, directory / "site", acme, SOON):
            while after < 20 and time.monotonic() < give_up:
                asked += 1
                try:
                    seen = ask(tls, "POST" if asked % 2 else "GET")
                    if seen not in certificates:
                        certificates.append(seen)
                except (OSError, http.client.HTTPException) as error:
                    # Until it has its first one it cannot answer.
                    if certificates:
                        failed.append(repr(error))
                after += len(certificates) > 1
                time.sleep(0.05)
    return {"asked": asked, "failed": failed, "certificates": len(certificates)}


if __name__ == "__main__":
    init_plugin_loader([str(PROJECT / ".collections")])
    print(json.dumps(play(Path(sys.argv[1]))))
