# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An app behind Caddy, on 127.0.0.1:9000: what it was asked, a page, and a connection that stays open and echoes."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Upgrade"):
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", self.headers["Upgrade"])
            self.end_headers()
            for line in self.rfile:
                self.wfile.write(line)
            self.close_connection = True
            return
        asked = {"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}}
        body = ("<html>" + "text " * 1000).encode() if self.path == "/page" else json.dumps(asked).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if self.path == "/page" else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Powered-By", "the app")
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", 9000), Handler).serve_forever()
