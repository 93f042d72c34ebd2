# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names by which containers reach swapped services: what a new container gets, and what an old one keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import compose
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import parts as parts_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, Service
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.names import unknown_names

from tests.unit.plugins.module_utils.rollout.models import (
    APP,
    KEY,
    PINNED,
    Change,
    changed,
    release,
    set_in,
)

EXTRA = replace(APP, services=(*APP.services, Service("extra", 8080)))


def with_extra(change: Change) -> dict[str, Any]:
    model = changed(change)
    model["services"]["extra"] = {"image": "registry.test:5000/api:1.0.0", "networks": {"default": None}}
    return model


def base(app: App, change: Change = lambda m: None, before: dict[str, Any] | None = None) -> dict[str, Any]:
    model = with_extra(change) if app is EXTRA else changed(change)
    # As the next run reads it.
    before = json.loads(json.dumps(before)) if before is not None else None
    text = compose.base_model(app, parts_of.split(model, app), PINNED, "/base", KEY, before)
    assert text is not None
    return text


def links(document: dict[str, Any], service: str = "db") -> list[str] | None:
    found: list[str] | None = document["services"][service].get("external_links")
    return found


def test_containers_of_a_release_know_what_the_gateway_serves_of_it() -> None:
    app = replace(APP, services=(*APP.services, Service("worker")))
    model = changed(lambda m: m["services"].update(worker={"image": "registry.test:5000/api:1.0.0"}))
    one = release()
    worker = replace(one.services["api"], port=None, addresses=("10.9.0.131",))
    whole = replace(one, services={**one.services, "worker": worker})
    text = compose.release_model(app, parts_of.split(model, app), whole, "/x")
    for name in ("api", "api-2", "web", "worker"):
        assert links(text, f"{name}.{whole.id}") == ["daffathan-gateway:api", "daffathan-gateway:web"]


def test_link_of_the_team_to_a_name_stays() -> None:
    mine = set_in("db", "external_links", ["legacy:api", "other"])
    assert links(base(APP, mine)) == ["legacy:api", "other", "daffathan-gateway:web"]


def test_base_service_without_a_network_of_its_own_gets_no_links() -> None:
    assert links(base(APP, set_in("db", "network_mode", "none"))) is None


WAS = base(APP)
OLD = base(APP)
del OLD["services"]["db"]["external_links"]


@pytest.mark.parametrize("before", [WAS, OLD], ids=["with links", "made before there were links"])
def test_base_container_is_not_replaced_for_a_service_that_comes(before: dict[str, Any]) -> None:
    assert base(EXTRA, before=before) == before
    assert base(APP, before=base(EXTRA, before=before)) == before


@pytest.mark.parametrize(
    "change",
    [set_in("db", "environment", {"A": "http://extra"}), set_in("db", "external_links", ["other"])],
    ids=["environment", "links of the team"],
)
def test_base_container_that_is_replaced_anyway_knows_all_names(change: Change) -> None:
    after = base(EXTRA, change, WAS)
    assert "daffathan-gateway:extra" in (links(after) or [])
    assert base(EXTRA, change, after) == after


def test_name_of_a_service_that_belongs_to_the_base_now_leads_there() -> None:
    app = replace(APP, services=APP.services[:1])
    parts = parts_of.split(changed(lambda m: None), app)
    after = compose.base_model(app, parts, PINNED, "/base", KEY, WAS)
    assert after is not None
    assert links(after) == ["daffathan-gateway:api"]


MENTIONS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("in a variable", {"environment": {"URL": "http://extra:8080/x"}}, ["extra"]),
    ("in a command", {"command": ["wait", "extra"]}, ["extra"]),
    ("part of another word", {"environment": {"A": "extra-large no-extra extraordinary my.extra"}}, []),
    ("known by a link", {"environment": {"A": "extra"}, "external_links": ["daffathan-gateway:extra"]}, []),
    ("known to all", {"environment": {"A": "api"}}, []),
    ("without the network", {"environment": {"A": "extra"}, "networks": {}}, []),
]


@pytest.mark.parametrize(("service", "found"), [row[1:] for row in MENTIONS], ids=[row[0] for row in MENTIONS])
def test_names_that_a_container_mentions_and_cannot_know(service: dict[str, Any], found: list[str]) -> None:
    services = {"db": {"networks": {"private": None}, **service}}
    said = unknown_names(services, ["api", "extra"], ["api"])
    assert [text.split(",")[0] for text in said] == [f"base service db mentions {name}" for name in found]
    assert unknown_names(services, ["api", "extra"], None) == []
