# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import compose
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import parts as parts_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Job, OneShot

from tests.unit.plugins.module_utils.rollout.models import (
    APP,
    DIGESTS,
    KEY,
    PINNED,
    Change,
    changed,
    model,
    release,
    set_in,
)

SWAPPED_IMAGES = {name: PINNED[name] for name in ("api", "web")}


def test_one_shot_is_a_container_of_its_service_without_an_address_of_its_own() -> None:
    app = replace(APP, jobs=(OneShot("migrate.command", "api", command=("./migrate", "$up")),))
    job = Job("api", "registry.test:5000/api:1.0.0", DIGESTS["api"], 600, ("./migrate", "$up"))
    whole = replace(release(), jobs={"migrate.command": job})
    text = compose.release_model(app, parts_of.split(model(), app), whole, "/var/lib/x")
    name = compose.job_service("migrate.command", whole)
    service = text["services"][name]
    assert service["command"] == ["./migrate", "$$up"]
    assert service["networks"]["private"] is None
    assert service["secrets"] == text["services"][f"api.{whole.id}"]["secrets"]
    assert service["labels"]["daffathan.job"] == "migrate.command"
    assert name not in compose.services_of(text, whole)
    assert compose.services_of(text, whole.only(["web"])) == [f"web.{whole.id}"]


def test_changed_job_is_a_new_release() -> None:
    def hash_of(*jobs: OneShot) -> str:
        app = replace(APP, jobs=jobs)
        return compose.release_hash(app, parts_of.split(model(), app), SWAPPED_IMAGES, KEY)

    up = OneShot("migrate.command", "api", command=("up",))
    hashes = {hash_of(), hash_of(up), hash_of(replace(up, command=("up", "2")))}
    assert len(hashes) == 3
    assert hash_of(up) == hash_of(replace(up, timeout=1))


def document() -> dict[str, Any]:
    return compose.release_model(APP, parts_of.split(model(), APP), release(), "/var/lib/x")


def test_release_has_one_service_per_replica_under_names_that_no_other_release_has() -> None:
    services = document()["services"]
    assert set(services) == {f"{name}.{release().id}" for name in ("api", "api-2", "web")}
    assert len({service["container_name"] for service in services.values()}) == 3
    assert all(release().id in service["container_name"] for service in services.values())


def test_release_drops_what_belongs_to_a_single_container_and_keeps_the_rest() -> None:
    service = document()["services"][f"api.{release().id}"]
    assert not {"ports", "depends_on", "build", "scale", "profiles", "links"} & set(service)
    assert service["environment"] == {"PORT": "3001"}
    assert service["deploy"] == {"resources": {"limits": {"memory": "268435456"}}}
    assert service["volumes"] == model()["services"]["api"]["volumes"]


def test_release_starts_pinned_and_without_a_restart_policy_on_its_own_addresses() -> None:
    text = document()
    for name, service in text["services"].items():
        short = name.split(".")[0].removesuffix("-2")
        assert service["image"] == PINNED[short]
        assert service["restart"] == "no"
        assert service["labels"]["daffathan.release"] == release().id
        assert service["labels"]["daffathan.colour"] == "blue"
        assert service["labels"]["daffathan.service"] == short
    addresses = [s["networks"]["private"]["ipv4_address"] for s in text["services"].values()]
    assert sorted(addresses) == ["10.9.0.128", "10.9.0.129", "10.9.0.130"]
    assert text["services"][f"api.{release().id}"]["labels"]["team"] == "labs"


def test_release_makes_neither_networks_nor_volumes() -> None:
    text = document()
    assert text["networks"] == {
        "private": {"name": "labs_private", "external": True},
        "shared": {"name": "labs_shared", "external": True},
    }
    assert text["volumes"] == {"uploads": {"name": "labs_uploads", "external": True}}
    assert set(text["services"][f"web.{release().id}"]["networks"]) == {"private", "shared"}
    assert "default" not in str(text["networks"])


def test_release_leaves_the_model_it_was_made_of_alone() -> None:
    parts = parts_of.split(model(), APP)
    compose.release_model(APP, parts, release(), "/x")
    compose.base_model(APP, parts, PINNED, "/x", KEY)
    assert parts.model == model()


def base(change: Change = lambda m: None, password: str = "correct horse") -> dict[str, Any]:
    app = replace(APP, secrets={"DB_PASSWORD": password})
    text = compose.base_model(app, parts_of.split(changed(change), app), PINNED, "/base", KEY)
    assert text is not None
    return text


def test_base_is_pinned_on_the_private_network_and_depends_on_no_swapped_service() -> None:
    service = base()["services"]["db"]
    assert service["image"] == PINNED["db"]
    assert service["depends_on"] == {}
    assert service["networks"] == {"private": None, "shared": None}
    assert base()["volumes"] == {"database": {"name": "labs_database"}}


def test_base_keeps_a_network_mode_that_is_allowed() -> None:
    service = base(set_in("db", "network_mode", "none"))["services"]["db"]
    assert service["network_mode"] == "none"


def test_base_changes_with_a_secret_that_a_service_uses() -> None:
    assert base() == base()
    assert base(password="another") != base()


def test_no_base_where_every_service_is_swapped() -> None:
    parts = parts_of.split(changed(lambda m: m["services"].pop("db")), APP)
    assert compose.base_model(APP, parts, PINNED, "/x", KEY) is None


SECRETS: list[tuple[str, dict[str, Any], tuple[int, int], tuple[int, int, int]]] = [
    ("unprivileged user", {}, (1000, 1000), (1000, 1000, 0o400)),
    ("root may change its user", {}, (0, 0), (0, 0, 0o444)),
    ("what the file says wins", {"uid": "70", "gid": "71", "mode": "0440"}, (1000, 1000), (70, 71, 0o440)),
    ("mode as a number", {"mode": 0o440}, (0, 0), (0, 0, 0o440)),
]


@pytest.mark.parametrize(("options", "user", "access"), [row[1:] for row in SECRETS], ids=[row[0] for row in SECRETS])
def test_secret_file_belongs_to_the_user_of_the_container(
    options: dict[str, Any], user: tuple[int, int], access: tuple[int, int, int]
) -> None:
    service = {"secrets": [{"source": "DB_PASSWORD", **options}]}
    (file,) = compose.secret_files({"api": service})
    assert file.access(*user) == access


def test_each_service_gets_its_own_file_of_a_secret() -> None:
    text = document()
    assert text["secrets"] == {
        "api.DB_PASSWORD": {"name": "api.DB_PASSWORD", "file": "/var/lib/x/secrets/api/DB_PASSWORD"}
    }
    assert text["services"][f"api.{release().id}"]["secrets"] == [
        {"source": "api.DB_PASSWORD", "target": "/run/secrets/DB_PASSWORD"}
    ]


def release_hash(change: Change = lambda m: None, **app: Any) -> str:
    wanted = replace(APP, **app)
    return compose.release_hash(wanted, parts_of.split(changed(change), wanted), SWAPPED_IMAGES, KEY)


SAME: list[tuple[str, Change]] = [
    ("nothing", lambda m: None),
    ("a port for the laptop", set_in("api", "ports", [])),
    ("how many there are", set_in("api", "scale", 7)),
    ("when it is pulled", set_in("api", "pull_policy", "always")),
    ("a profile", set_in("api", "profiles", ["production"])),
    ("how it is built", set_in("api", "build", {"context": "/elsewhere"})),
    ("the base", set_in("db", "environment", {"A": "1"})),
]
OTHER: list[tuple[str, Change]] = [
    ("environment", set_in("api", "environment", {"PORT": "3001", "A": "1"})),
    ("label", set_in("api", "labels", {"team": "other"})),
    ("volume", set_in("api", "volumes", [])),
    ("network", set_in("api", "networks", {"default": None, "shared": None})),
    ("memory", set_in("api", "deploy", {"resources": {"limits": {"memory": "1"}}})),
    ("options of a volume", lambda m: m["volumes"]["uploads"].update(driver_opts={"size": "1g"})),
]


@pytest.mark.parametrize("change", [row[1] for row in SAME], ids=[row[0] for row in SAME])
def test_what_no_container_would_notice_is_the_same_release(change: Change) -> None:
    assert release_hash(change) == release_hash()


@pytest.mark.parametrize("change", [row[1] for row in OTHER], ids=[row[0] for row in OTHER])
def test_what_changes_a_container_is_another_release(change: Change) -> None:
    assert release_hash(change) != release_hash()


def test_secret_replicas_and_port_are_part_of_the_release_and_limits_are_not() -> None:
    api, web = APP.services
    assert release_hash(secrets={"DB_PASSWORD": "another"}) != release_hash()
    assert release_hash(services=(replace(api, replicas=1), web)) != release_hash()
    assert release_hash(services=(replace(api, port=1), web)) != release_hash()
    assert release_hash(services=(replace(api, drain_timeout=1, routes=()), web)) == release_hash()


REFERENCES = [
    ("nginx", "nginx"),
    ("nginx:1.30", "nginx"),
    ("registry.test:5000/team/api", "registry.test:5000/team/api"),
    ("registry.test:5000/team/api:1.0", "registry.test:5000/team/api"),
    ("registry.test:5000/api:1.0@sha256:00", "registry.test:5000/api"),
]


@pytest.mark.parametrize(("reference", "name"), REFERENCES)
def test_repository_is_the_reference_without_tag_and_digest(reference: str, name: str) -> None:
    assert compose.repository(reference) == name


def test_pinned_reference_names_one_content() -> None:
    assert compose.pinned_reference("r:5000/a:1", "sha256:0f") == "r:5000/a@sha256:0f"
    assert compose.pinned_reference("made-here:1", "image:sha256:0f") == "sha256:0f"
    images = {name: service["image"] for name, service in model()["services"].items()}
    by_reference = {images[name]: digest for name, digest in DIGESTS.items()}
    assert compose.pin_all(images, by_reference, ["api", "db"]) == {"api": PINNED["api"], "db": PINNED["db"]}


def test_volumes_of_a_release_exist_before_it_except_external_ones() -> None:
    assert [(v.key, v.name) for v in compose.release_volumes(parts_of.split(model(), APP))] == [
        ("uploads", "labs_uploads")
    ]
    parts = parts_of.split(changed(lambda m: m["volumes"]["uploads"].update(external=True)), APP)
    assert compose.release_volumes(parts) == []
