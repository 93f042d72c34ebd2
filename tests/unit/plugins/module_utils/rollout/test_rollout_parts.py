# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


"""Which compose files are taken, which are refused and with what words, and what they say by themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import InputError, OneShot
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import parse_app
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parts import filled, selected, split

from tests.unit.plugins.module_utils.rollout.models import APP, Change, changed, model, set_in

HOST_NETWORK = {"image": "d:1", "network_mode": "host", "profiles": ["dev"]}


def published(host_ip: str | None) -> list[dict[str, Any]]:
    return [{"target": 80, "published": "8080", "protocol": "tcp", **({"host_ip": host_ip} if host_ip else {})}]


def secret(**source: object) -> Change:
    """One more secret, which a service uses."""

    def change(given: dict[str, Any]) -> None:
        given["secrets"]["TOKEN"] = source
        given["services"]["web"]["secrets"] = [{"source": "TOKEN"}]

    return change


def unused_secret(given: dict[str, Any]) -> None:
    for service in given["services"].values():
        service.pop("secrets", None)


def test_split_leaves_the_services_that_are_not_named_to_the_base() -> None:
    parts = split(model(), APP)
    assert (sorted(parts.base), sorted(parts.swapped)) == (["db"], ["api", "web"])
    assert parts.images == {name: service["image"] for name, service in model()["services"].items()}


REFUSED: list[tuple[str, Change, list[str]]] = [
    ("no such service", lambda m: m["services"].pop("web"), ["services.web", "api, db"]),
    ("no services", lambda m: m.update(services={}), ["services.api", "none"]),
    ("base published to all", set_in("db", "ports", published(None)), ["db", "8080", "127.0.0.1:8080:80"]),
    ("base published to a public address", set_in("db", "ports", published("203.0.113.5")), ["db", "203.0.113.5"]),
    ("base published on IPv6", set_in("db", "ports", published("::")), ["db", "[::1]:8080:80"]),
    ("swapped published to all", set_in("api", "ports", published("0.0.0.0")), ["api", "8080", "leave the port out"]),
    ("host network", set_in("db", "network_mode", "host"), ["db", "network_mode: host", "Remove"]),
    ("host network of a swapped one", set_in("web", "network_mode", "host"), ["web", "network_mode: host", "Remove"]),
    (
        "host network by another name",
        lambda m: m["networks"].update(lan={"name": "host", "external": True}),
        ["lan", "host", "Remove"],
    ),
    ("another's network", set_in("db", "network_mode", "service:api"), ["db", "service:api", "Remove"]),
    ("bridge for a swapped one", set_in("api", "network_mode", "bridge"), ["api", "bridge", "Remove"]),
    ("nothing but a build", set_in("api", "image", None), ["api", "image", "push"]),
    ("pid of a swapped one", set_in("db", "pid", "service:api"), ["db", "pid: service:api"]),
    ("ipc between swapped ones", set_in("api", "ipc", "service:db"), ["api", "ipc: service:db"]),
    ("volumes of a swapped one", set_in("db", "volumes_from", ["api:ro"]), ["db", "volumes_from: api:ro"]),
    ("secret without a value", secret(file="/x"), ["secrets.TOKEN", "missing", "vault"]),
    ("secret from elsewhere", secret(external=True), ["secrets.TOKEN", "`external`", "in `secrets`"]),
    ("secret from the environment", secret(environment="T"), ["secrets.TOKEN", "`environment`", "in `secrets`"]),
    (
        "name of one container",
        set_in("api", "container_name", "my-api"),
        ["container_name: my-api", "Remove it"],
    ),
    (
        "card of one container",
        set_in("api", "mac_address", "02:42:ac:11:65:43"),
        ["api", "mac_address", "Remove"],
    ),
    (
        "another name",
        set_in("api", "networks", {"default": {"aliases": ["backend"]}}),
        ["api", "networks.default.aliases: ['backend']", "let callers use api"],
    ),
    (
        "address of one container",
        set_in("web", "networks", {"shared": {"ipv4_address": "10.1.0.4"}}),
        ["web", "networks.shared.ipv4_address: 10.1.0.4", "Remove it"],
    ),
    ("network of one of a release", set_in("web", "network_mode", "service:db"), ["web", "service:db", "Remove"]),
    ("network of any container", set_in("db", "network_mode", "container:x"), ["db", "container:x", "Remove"]),
    ("volumes of a base service", set_in("web", "volumes_from", ["db"]), ["web", "volumes_from: db", "named volume"]),
    ("other name by a link", set_in("api", "links", ["db:database"]), ["api", "links: db:database", "the name db"]),
    ("other name of a swapped one", set_in("db", "links", ["web:www"]), ["db", "links: web:www", "the name web"]),
    (
        "what runs elsewhere",
        lambda m: m["services"].update(llm={"provider": {"type": "model"}}),
        ["llm", "provider", "profile"],
    ),
    ("a model", set_in("api", "models", {"llm": None}), ["api", "models", "as a service"]),
    ("value nobody uses", unused_secret, ["secrets.DB_PASSWORD", "remove it"]),
]


@pytest.mark.parametrize(("change", "named"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_is_refused_with_its_place_and_a_remedy(change: Change, named: list[str]) -> None:
    with pytest.raises(InputError) as error:
        split(changed(change), APP)
    for word in named:
        assert word in str(error.value)


@pytest.mark.parametrize("check", [None, {}, {"disable": True, "test": ["CMD", "x"]}, {"test": ["NONE"]}], ids=str)
def test_service_that_users_meet_has_to_tell_when_it_is_ready(check: dict[str, Any] | None) -> None:
    blind = replace(APP, services=tuple(replace(service, health=None) for service in APP.services))
    given = changed(set_in("api", "healthcheck", check))
    with pytest.raises(InputError, match="services.api.health: missing, .* like /health, or `health: port`"):
        split(given, blind)
    for service in ("api", "web"):
        given["services"][service]["healthcheck"] = {"test": ["CMD", "true"]}
    assert split(given, blind).swapped
    assert split(model(), replace(blind, services=tuple(replace(s, health="port") for s in blind.services))).swapped
    # Nobody but containers of the app asks it.
    assert split(model(), replace(blind, services=tuple(replace(s, routes=()) for s in blind.services))).swapped


def test_job_without_a_command_is_refused() -> None:
    app = replace(APP, services=(APP.service("api"),), jobs=(OneShot("services.web", "web"),))
    with pytest.raises(InputError, match="services.web.job: the compose file has no `command` .* Add the command"):
        split(model(), app)
    assert "web" in split(changed(set_in("web", "command", ["./seed"])), app).swapped


ALLOWED: list[tuple[str, Change]] = [
    ("loopback", set_in("db", "ports", published("127.0.0.1"))),
    ("loopback in IPv6", set_in("db", "ports", published("::1"))),
    ("no network for a base service", set_in("db", "network_mode", "none")),
    ("pid of the host", set_in("db", "pid", "host")),
    ("name of a base service", set_in("db", "container_name", "labs-db")),
    ("alias of a base service", set_in("db", "networks", {"default": {"aliases": ["database"]}})),
    ("link by the same name", set_in("api", "links", ["db", "web:web"])),
    ("sidecar in the base", lambda m: m["services"].update(exporter={"image": "e:1", "network_mode": "service:db"})),
    ("volumes inside the base", lambda m: m["services"].update(copy={"image": "c:1", "volumes_from": ["db:ro"]})),
    ("volumes of a container elsewhere", set_in("api", "volumes_from", ["container:x"])),
    ("secret of a build", lambda m: m["secrets"].update(npm={"file": "/npm"})),
    ("build beside an image", set_in("api", "build", {"context": "/src", "secrets": [{"source": "npm"}]})),
    ("build alone for another profile", lambda m: m["services"].update(dev={"build": {}, "profiles": ["dev"]})),
    ("host network for another profile", lambda m: m["services"].update(dev=HOST_NETWORK)),
    ("conditions", set_in("api", "depends_on", {"db": {"condition": "service_completed_successfully"}})),
]


@pytest.mark.parametrize("change", [row[1] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
def test_what_is_harmless_is_taken(change: Change) -> None:
    assert split(changed(change), APP).base


PROFILES: list[tuple[str, dict[str, list[str]], dict[str, list[str]], list[str], str, list[str]]] = [
    ("none", {}, {}, ["a"], "", ["a", "b", "c"]),
    ("not asked for", {"b": ["dev"]}, {}, ["a"], "", ["a", "c"]),
    ("asked for", {"b": ["dev"]}, {}, ["a"], "test, dev", ["a", "b", "c"]),
    ("all", {"b": ["dev"], "c": ["x"]}, {}, ["a"], "*", ["a", "b", "c"]),
    ("named as a service", {"a": ["prod"], "b": ["dev"]}, {}, ["a"], "", ["a", "c"]),
    ("needed by another", {"b": ["dev"], "c": ["dev"]}, {"a": ["b"], "b": ["c"]}, ["a"], "", ["a", "b", "c"]),
    ("needed in a circle", {"b": ["dev"]}, {"a": ["b"], "b": ["a"]}, ["a"], "", ["a", "b", "c"]),
]


@pytest.mark.parametrize(
    ("profiles", "needs", "wanted", "active", "chosen"), [row[1:] for row in PROFILES], ids=[row[0] for row in PROFILES]
)
def test_services_of_a_profile_take_part_where_it_is_asked_for(
    profiles: dict[str, list[str]], needs: dict[str, list[str]], wanted: list[str], active: str, chosen: list[str]
) -> None:
    services = {
        name: {
            "profiles": profiles.get(name),
            "depends_on": {other: {"required": True} for other in needs.get(name, [])},
        }
        for name in ("a", "b", "c")
    }
    assert sorted(selected({"services": services}, wanted, active)["services"]) == chosen


def test_what_a_service_can_do_without_does_not_drag_its_profile_along() -> None:
    services = {"a": {"depends_on": {"b": {"required": False}}}, "b": {"profiles": ["dev"]}}
    assert list(selected({"services": services}, ["a"], "")["services"]) == ["a"]


def test_profile_is_asked_for_by_the_variable_of_compose() -> None:
    given = changed(lambda m: m["services"].update(backup={"image": "b:1", "profiles": ["data"]}))
    assert sorted(split(given, APP).base) == ["db"]
    assert sorted(split(given, replace(APP, env={"COMPOSE_PROFILES": "data"})).base) == ["backup", "db"]


REPLICAS: list[tuple[str, dict[str, Any], dict[str, Any], int]] = [
    ("nothing", {}, {}, 1),
    ("deploy", {"deploy": {"replicas": 4}}, {}, 4),
    ("scale", {"scale": 3}, {}, 3),
    ("deploy without a number", {"deploy": {"resources": {}}}, {}, 1),
    ("option wins", {"deploy": {"replicas": 4}}, {"replicas": 2}, 2),
]


@pytest.mark.parametrize(
    ("service", "given", "replicas"), [row[1:] for row in REPLICAS], ids=[row[0] for row in REPLICAS]
)
def test_number_of_containers_is_that_of_the_compose_file_where_no_other_is_given(
    service: dict[str, Any], given: dict[str, Any], replicas: int
) -> None:
    options = {"app": "labs", "services": {"api": {"port": 3001, **given}}}
    assert parse_app(filled(options, {"services": {"api": service}})).service("api").replicas == replicas


def test_number_of_the_compose_file_is_held_against_what_may_be_away() -> None:
    options = {"app": "labs", "services": {"api": {"port": 1, "strategy": "rolling", "unavailable": 2}}}
    assert parse_app(filled(options, {"services": {"api": {"scale": 3}}})).service("api").unavailable == 2
    with pytest.raises(InputError, match="services.api.unavailable: 2 is not a number from 0 to 1"):
        parse_app(filled(options, {"services": {"api": {"scale": 2}}}))
    with pytest.raises(InputError, match="services.api.replicas: 0 is not a number from 1 to 50"):
        parse_app(filled({"app": "labs", "services": {"api": {"port": 1}}}, {"services": {"api": {"scale": 0}}}))


def test_job_and_worker_without_options_stay_what_they_are() -> None:
    options = {"app": "labs", "services": {"seed": {"job": "before_start"}, "mailer": None, "api": {"port": 1}}}
    found = filled(options, {"services": {"seed": {"scale": 2}}})["services"]
    assert (found["seed"], found["mailer"]) == ({"job": "before_start"}, {"replicas": 1})
