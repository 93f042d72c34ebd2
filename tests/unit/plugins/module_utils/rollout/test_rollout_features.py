# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


"""What becomes of the parts of a compose file, from what Compose itself prints of one that has them all.

golden/features.json is the output of `docker compose --profile '*' --project-name labs config --format json` (2.26.1).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import compose
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.configs import read_configs
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release, ReleasedService
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import parse_app
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parts import filled, split

FILE = Path(__file__).with_name("golden") / "features.json"
ID = "r20260101t000000-00000001"
OPTIONS: dict[str, Any] = {
    "app": "labs",
    "domains": ["labs.example.test"],
    "env": {"FOO": "va$l", "COMPOSE_PROFILES": "obs"},
    "secrets": {"s1": "correct horse"},
    "services": {"api": {"port": 3001, "routes": ["/api/"]}, "web": {"port": 3000, "routes": ["/"]}},
}


def documents() -> tuple[dict[str, Any], dict[str, Any]]:
    """The base project and that of a release."""
    model = json.loads(FILE.read_text())
    app = parse_app(filled(OPTIONS, model))
    parts = split(model, app)
    parts = replace(parts, configs=read_configs(parts.model, app, lambda path: path.encode()))
    digests = dict.fromkeys(parts.images.values(), "sha256:" + "a" * 64)
    pinned = compose.pin_all(parts.images, digests, sorted(parts.images))
    services = {
        service.name: ReleasedService(
            *(parts.images[service.name], "sha256:" + "a" * 64, service.port),
            tuple(f"10.9.{index}.{replica}" for replica in range(service.replicas)),
        )
        for index, service in enumerate(app.services)
    }
    release = Release(ID, "hash", "blue", "2026-01-01", services)
    base = compose.base_model(app, parts, pinned, "/base", b"key")
    assert base is not None
    return base, compose.release_model(app, parts, release, "/release")


def at(document: Mapping[str, Any], path: str) -> Any:
    """What is at a path of keys; None where nothing is."""
    value: Any = document
    for key in path.split("/"):
        value = (value or {}).get(key)
    return value


def test_services_are_those_of_the_file_of_what_it_includes_and_of_the_profiles_in_use() -> None:
    base, release = documents()
    assert sorted(base["services"]) == ["cache", "db", "migrate", "side", "worker"]
    assert set(release["services"]) == {f"{name}.{ID}" for name in ("api", "api-2", "api-3", "web")}


IN_A_RELEASE: list[tuple[str, str, Any]] = [
    ("extends", "api/environment/A", "1"),
    ("env_file", "api/environment/FOO", "bar"),
    ("resources", "api/deploy", {"resources": {"limits": {"memory": "268435456"}}}),
    ("depends_on", "api/depends_on", None),
    ("links", "api/links", None),
    ("links elsewhere", "web/external_links", ["other:o", "daffathan-gateway:api", "daffathan-gateway:web"]),
    ("volumes of a container elsewhere", "web/volumes_from", ["container:x"]),
    ("profile", "web/profiles", None),
    ("pull_policy", "api/pull_policy", None),
    ("external networks", "api/networks", {"private": {"ipv4_address": "10.9.0.0"}, "default": None, "ext": None}),
    ("network of its own", "web/networks", {"private": {"ipv4_address": "10.9.1.0"}}),
    ("configs", "api/configs", [{"source": "c1", "target": "/etc/c1"}, {"source": "c2"}, {"source": "c3"}]),
    ("secrets", "api/secrets", [{"source": "api.s1", "target": "/run/secrets/s1"}]),
    ("healthcheck", "web/healthcheck", {"test": ["CMD", "x"]}),
]
IN_THE_BASE: list[tuple[str, str, Any]] = [
    ("build", "db/build", None),
    ("develop", "db/develop", None),
    ("container_name", "db/container_name", "dbx"),
    ("networks", "db/networks", {"back": None, "default": {"aliases": ["database"]}, "private": None}),
    ("dollar", "db/healthcheck", {"test": ["CMD-SHELL", "true $$X"]}),
    ("configs", "db/configs", [{"source": "c1"}]),
    ("network of another", "side/network_mode", "service:db"),
    ("no network beside it", "side/networks", None),
    ("volumes of another", "side/volumes_from", ["db"]),
    ("processes of another", "side/pid", "service:db"),
    ("profile", "side/profiles", None),
    ("links", "worker/links", ["db"]),
    ("scale", "worker/scale", 2),
    ("one-shot", "migrate/command", ["echo", "$$HOME"]),
]


@pytest.mark.parametrize(("path", "value"), [row[1:] for row in IN_A_RELEASE], ids=[row[0] for row in IN_A_RELEASE])
def test_of_a_swapped_service(path: str, value: Any) -> None:
    service, dummy, key = path.partition("/")
    assert at(documents()[1]["services"][f"{service}.{ID}"], key) == value


@pytest.mark.parametrize(("path", "value"), [row[1:] for row in IN_THE_BASE], ids=[row[0] for row in IN_THE_BASE])
def test_of_a_base_service(path: str, value: Any) -> None:
    assert at(documents()[0]["services"], path) == value


def test_everything_that_a_service_names_is_in_its_project() -> None:
    for document in documents():
        for name, service in document["services"].items():
            for section in ("configs", "secrets"):
                for item in service.get(section) or []:
                    assert item["source"] in document[section], name
            assert set(service.get("networks") or {}) <= set(document["networks"]), name
            named = {item["source"] for item in service.get("volumes") or [] if item.get("source")}
            assert named <= set(document.get("volumes") or {}), name
            assert set(service.get("depends_on") or {}) <= set(document["services"]), name


def test_dependency_on_a_swapped_service_is_dropped_and_its_condition_kept_elsewhere() -> None:
    base, _ = documents()
    assert {name: how["condition"] for name, how in base["services"]["worker"]["depends_on"].items()} == {
        "db": "service_started"
    }
