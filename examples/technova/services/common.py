# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the services do alike: settings, health, metrics, log lines, and ways to be broken on purpose."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

# How long an answer took, in seconds.
BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5)


def setting(name: str, default: str | None = None) -> str:
    value = os.environ.get(name) or default
    if value is None:
        sys.exit(f"{name}: not set. Give it in `environment` of the compose file.")
    return value


class Web:
    """An HTTP service with /health, /ready and /metrics; `ready` says what is missing, None where nothing is."""

    def __init__(self, ready: Callable[[], Awaitable[str | None]] | None = None) -> None:
        self.version = setting("VERSION", "0.0.0")
        # What this version is broken by: "not-ready", "crash", "errors", "bad-migration", or nothing.
        self.fault = os.environ.get("FAULT", "")
        self.gauges: dict[str, Callable[[], Awaitable[float]]] = {}
        self._ready_now = ready
        self._requests: dict[int, int] = {}
        self._took = dict.fromkeys((*map(str, BUCKETS), "+Inf"), 0)
        self.app = web.Application(middlewares=[self._around])
        self.app.add_routes(
            [web.get("/health", self._health), web.get("/ready", self._ready), web.get("/metrics", self._metrics)]
        )

    def run(self) -> None:
        if self.fault == "crash":
            raise RuntimeError("FAULT=crash: this version is broken on purpose")
        web.run_app(self.app, port=int(setting("PORT")), print=None, access_log=None)

    @web.middleware
    async def _around(self, request: web.Request, handler: Callable[..., Awaitable[web.Response]]) -> web.Response:
        begun, watched = time.monotonic(), request.path not in ("/health", "/ready", "/metrics")
        try:
            if watched and self.fault == "errors":
                raise web.HTTPInternalServerError(text="FAULT=errors: this version is broken on purpose")
            response = await handler(request)
        except web.HTTPException as error:
            error.headers["X-Version"] = self.version
            self._count(error.status, begun, request)
            raise
        self._count(response.status, begun, request)
        response.headers["X-Version"] = self.version
        return response

    def _count(self, status: int, begun: float, request: web.Request) -> None:
        took = time.monotonic() - begun
        self._requests[status] = self._requests.get(status, 0) + 1
        for bucket in self._took:
            self._took[bucket] += took <= float(bucket)
        line = {"service": setting("SERVICE"), "version": self.version, "path": request.path, "status": status}
        line["request_id"] = request.headers.get("X-Request-Id", "")
        print(json.dumps({**line, "ms": round(took * 1000, 1)}), flush=True)

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy", "version": self.version})

    async def _ready(self, _request: web.Request) -> web.Response:
        missing = "FAULT=not-ready" if self.fault == "not-ready" else None
        if missing is None and self._ready_now is not None:
            missing = await self._ready_now()
        return web.json_response({"ready": missing is None, "missing": missing}, status=200 if missing is None else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        lines = [f'http_requests_total{{status="{key}"}} {value}' for key, value in sorted(self._requests.items())]
        lines += [f'http_request_seconds_bucket{{le="{key}"}} {value}' for key, value in self._took.items()]
        lines += [f"{name} {await ask():g}" for name, ask in self.gauges.items()]
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")
