# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An app with two swapped services and a base, as Compose prints its file after normalising it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    App,
    Release,
    ReleasedService,
    Service,
)

KEY = b"\1" * 32
DIGESTS = {"api": "sha256:" + "a" * 64, "web": "sha256:" + "b" * 64, "db": "sha256:" + "d" * 64}
PINNED = {name: f"registry.test:5000/{name}@{digest}" for name, digest in DIGESTS.items()}

APP = App(
    "labs",
    ("labs.example.test", "www.labs.example.test"),
    (
        Service("api", 3001, ("/api/", "/hooks/"), "/health", replicas=2),
        Service("web", 3000, ("/",), "/health"),
    ),
    secrets={"DB_PASSWORD": "correct horse"},
)

MODEL: dict[str, Any] = {
    "name": "labs",
    "services": {
        "api": {
            "image": "registry.test:5000/api:1.0.0",
            "environment": {"PORT": "3001"},
            "ports": [{"mode": "ingress", "host_ip": "127.0.0.1", "target": 3001, "published": "3001"}],
            "depends_on": {"db": {"condition": "service_healthy", "required": True}},
            "restart": "always",
            "build": {"context": "/src"},
            "labels": {"team": "labs"},
            "secrets": [{"source": "DB_PASSWORD", "target": "/run/secrets/DB_PASSWORD"}],
            "volumes": [
                {"type": "volume", "source": "uploads", "target": "/data"},
                {"type": "bind", "source": "/etc/hostname", "target": "/name"},
            ],
            "networks": {"default": None},
            "deploy": {"replicas": 4, "resources": {"limits": {"memory": "268435456"}}},
        },
        "web": {"image": "registry.test:5000/web:1.0.0", "networks": {"default": None, "shared": None}},
        "db": {
            "image": "registry.test:5000/db:17",
            "secrets": [{"source": "DB_PASSWORD", "target": "/run/secrets/DB_PASSWORD"}],
            "depends_on": {"web": {"condition": "service_started", "required": True}},
            "volumes": [{"type": "volume", "source": "database", "target": "/var/lib/postgresql/data"}],
            "networks": {"default": None, "shared": None},
        },
    },
    "networks": {"default": {"name": "labs_default"}, "shared": {"name": "labs_shared"}},
    "volumes": {"uploads": {"name": "labs_uploads"}, "database": {"name": "labs_database"}},
    "secrets": {"DB_PASSWORD": {"name": "labs_DB_PASSWORD", "file": "/etc/daffathan/apps/labs/secrets/DB_PASSWORD"}},
}


# Every option that says how the requests of a service are served.
SERVED: dict[str, Any] = {
    "max_body_size": "20M",
    "connect_timeout": 2,
    "read_timeout": "30",
    "body_timeout": 10,
    "rate_limit": {
        "rate": "30/m",
        "burst": 5,
        "nodelay": False,
        "dry_run": True,
        "exempt": ["192.0.2.0/24", "2001:db8::1"],
    },
    "connection_limit": {"connections": 20, "exempt": ["192.0.2.7"]},
    "maintenance": {
        "page": '<p>"We" are \\back\\ for $5\n# Streams of app labs\n    server_name x;\n</p>',
        **{"retry_after": 600, "allow": ["192.0.2.8", "2001:db8::/64"]},
    },
}


Change = Callable[[dict[str, Any]], Any]


def model() -> dict[str, Any]:
    return copy.deepcopy(MODEL)


def changed(change: Change) -> dict[str, Any]:
    value = model()
    change(value)
    return value


def set_in(service: str, key: str, value: object) -> Change:
    return lambda m: m["services"][service].update({key: value})


def release(colour: str = "blue") -> Release:
    services = {
        "api": ReleasedService(
            "registry.test:5000/api:1.0.0", DIGESTS["api"], 3001, ("10.9.0.128", "10.9.0.129"), "/health"
        ),
        "web": ReleasedService("registry.test:5000/web:1.0.0", DIGESTS["web"], 3000, ("10.9.0.130",), "/health"),
    }
    return Release("r20260101t000000-00000001", "1" * 64, colour, "2026-01-01T00:00:00+00:00", services)


def options(**changes: Any) -> dict[str, Any]:
    return {"app": "labs", "services": {"api": {"port": 3001, "routes": ["/"]}}, "domains": ["a.test"], **changes}


def service(**changes: Any) -> dict[str, Any]:
    return options(services={"api": {"port": 3001, "routes": ["/"], **changes}})
