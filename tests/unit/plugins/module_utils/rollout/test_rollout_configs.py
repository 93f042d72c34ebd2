# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


"""The configs of a compose file: what they hold belongs to the release that was made with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import compose
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.configs import file_name, read_configs
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import InputError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parts import Parts, split

from tests.unit.plugins.module_utils.rollout.models import APP, KEY, PINNED, changed, release

FILES = {"/etc/app/web.conf": b"listen \xff;\n"}


def using(config: dict[str, Any], service: str = "web") -> dict[str, Any]:
    """A model of which one service uses one config."""

    def change(given: dict[str, Any]) -> None:
        given["services"][service]["configs"] = [{"source": "web.conf", "target": "/etc/web.conf"}]
        given["configs"] = {"web.conf": {"name": "labs_web.conf", **config}, "unused": {"file": "/nowhere"}}

    return changed(change)


SOURCES: list[tuple[str, dict[str, Any], bytes]] = [
    ("file", {"file": "/etc/app/web.conf"}, b"listen \xff;\n"),
    # Compose prints a dollar twice.
    ("content", {"content": "pay $$5 to $${WHO}"}, b"pay $5 to ${WHO}"),
    ("empty content", {"content": ""}, b""),
    ("environment", {"environment": "WEB_CONF"}, b"from env $x"),
]


@pytest.mark.parametrize(("config", "content"), [row[1:] for row in SOURCES], ids=[row[0] for row in SOURCES])
def test_content_is_read_from_where_the_compose_file_says(config: dict[str, Any], content: bytes) -> None:
    app = replace(APP, env={"WEB_CONF": "from env $x"})
    assert read_configs(using(config), app, FILES.get) == {"web.conf": content}


MISSING: list[tuple[str, dict[str, Any], list[str]]] = [
    ("file", {"file": "/etc/app/other.conf"}, ["web.conf", "/etc/app/other.conf", "`files` of the app"]),
    ("environment", {"environment": "WEB_CONF"}, ["env.WEB_CONF", "missing", "web.conf"]),
    ("swarm", {"external": True}, ["web.conf", "Swarm", "Give it a `file`"]),
]


@pytest.mark.parametrize(("config", "named"), [row[1:] for row in MISSING], ids=[row[0] for row in MISSING])
def test_content_that_is_not_there_is_told_with_its_place_and_a_remedy(
    config: dict[str, Any], named: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        read_configs(using(config), APP, FILES.get)
    for word in named:
        assert word in str(error.value)


def parts(content: bytes, service: str = "web") -> Parts:
    return replace(split(using({"file": "/x"}, service), APP), configs={"web.conf": content})


def test_other_content_is_another_release_and_the_same_is_not() -> None:
    def hash_of(content: bytes) -> str:
        return compose.release_hash(APP, parts(content), PINNED, KEY)

    assert hash_of(b"a") == hash_of(b"a")
    assert hash_of(b"a") != hash_of(b"b")


def test_release_has_a_file_of_its_own() -> None:
    text = compose.release_model(APP, parts(b"a"), release(), "/var/lib/x")
    path = f"/var/lib/x/configs/{file_name('web.conf', b'a')}"
    assert text["configs"] == {"web.conf": {"name": "web.conf", "file": path}}
    assert text["services"][f"web.{release().id}"]["configs"] == [{"source": "web.conf", "target": "/etc/web.conf"}]


def test_base_service_changes_with_the_content_and_only_that_one() -> None:
    """Compose makes a container anew where the service itself differs, whatever becomes of what it names."""

    def base_of(content: bytes) -> Any:
        given = using({"file": "/x"}, "db")
        given["services"]["cache"] = {"image": "registry.test:5000/cache:1"}
        made = replace(split(given, APP), configs={"web.conf": content})
        return compose.base_model(APP, made, {**PINNED, "cache": "c@sha256:0"}, "/base", KEY)

    assert base_of(b"a") == base_of(b"a")
    assert base_of(b"a")["services"]["db"] != base_of(b"b")["services"]["db"]
    assert base_of(b"a")["services"]["cache"] == base_of(b"b")["services"]["cache"]
