# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every inventory that is shown to users, and every compose file it names, is what the roles and the modules take."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeaudit import Auditor
from ansible_collections.daffathan.platform.plugins.module_utils._backup import objectives
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import compose, gateway
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import parse_bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import parse_canary
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, Release, ReleasedService
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import parse_app
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parts import Parts, filled, split
from ansible_collections.daffathan.platform.plugins.modules import backup_plan

from tests.support import stores
from tests.support.ansible import PROJECT
from tests.support.inventories import ROLES, Inventory, hosts, inventories, role_values, specs, templated
from tests.unit.roles.caddy.caddyfile import problems as caddy_problems

TODAY = datetime.date(2026, 6, 1)
HOSTS = [
    (f"{inventory.name}-{name}", values) for inventory in inventories() for name, values in hosts(inventory).items()
]
VALUES = pytest.mark.parametrize("values", [values for _, values in HOSTS], ids=[name for name, _ in HOSTS])


def apps_of(values: dict[str, Any]) -> list[dict[str, Any]]:
    apps: list[dict[str, Any]] = templated("{{ apps }}", values)
    return apps


# Each app of each inventory with the name it goes by in the tests.
APPS = [(f"{where}-{app['name']}", app) for where, values in HOSTS for app in apps_of(values)]
EACH_APP = pytest.mark.parametrize("app", [app for _, app in APPS], ids=[name for name, _ in APPS])


@VALUES
@pytest.mark.parametrize("role", ROLES)
def test_a_role_takes_its_variables(values: dict[str, Any], role: str) -> None:
    known = specs(role)
    assert [name for name in values if name.startswith(f"{role}_") and name not in known] == []
    given = {name: templated(f"{{{{ {name} }}}}", values) for name in known if name in values}
    assert ArgumentSpecValidator(known).validate(given).error_messages == []


@VALUES
def test_role_app_finds_no_problem(values: dict[str, Any]) -> None:
    role = role_values("app")
    assert templated("{{ __app_problems }}", role, values) == []
    validator = ArgumentSpecValidator(templated("{{ __app_service_spec }}", role))
    for _, service in templated("{{ __app_services_flat }}", role, values):
        assert validator.validate(service["value"]).error_messages == []


@VALUES
def test_role_caddy_finds_no_problem(values: dict[str, Any]) -> None:
    assert caddy_problems({name: value for name, value in values.items() if name != "ansible_version"}) == []


@VALUES
def test_role_backup_can_keep_what_is_declared(values: dict[str, Any]) -> None:
    role = role_values("backup")
    apps = templated("{{ __backup_apps }}", role, values)
    spec = templated("{{ __backup_apps_spec }}", role)
    assert ArgumentSpecValidator(spec).validate({"apps": apps}).error_messages == []
    asked = {name: templated(f"{{{{ backup_{name} }}}}", role, values) for name in ("schedule", "timeout")}
    schedule = backup_plan.read_schedule({**asked, "jitter": templated("{{ backup_schedule_jitter }}", role, values)})
    assert objectives.problems(backup_plan.judge(apps, schedule), schedule) == []


@EACH_APP
def test_the_compose_file_opens_nothing(app: dict[str, Any]) -> None:
    env = {name: str(value) for name, value in (app.get("env") or {}).items()}
    assert Auditor(env).audit([app["compose"]], TODAY) == []


def composed(app: dict[str, Any], tmp_path: Path) -> tuple[App, Parts]:
    """What compose_rollout makes of an app: its options, and the file as Compose of Debian 13 understands it."""
    if not stores.unpacked():
        pytest.skip(stores.MISSING)
    # As on a server: the file alone, in a directory of its own.
    file = tmp_path / "compose.yml"
    file.write_text(Path(app["compose"]).read_text())
    options = {
        "app": app["name"],
        **{key: app.get(key) for key in ("domains", "env", "secrets", "services", "migrate", "canary")},
    }
    env = {name: str(value) for name, value in (app.get("env") or {}).items()}
    model = stores.compose(tmp_path, "--profile", "*", "--project-name", app["name"], "--file", str(file), **env)
    found = parse_app(filled(options, model))
    parse_canary(app.get("canary"), found)
    parse_bake(app.get("bake"))
    return found, split(model, found)


@EACH_APP
def test_the_app_can_be_released(app: dict[str, Any], tmp_path: Path) -> None:
    found, parts = composed(app, tmp_path)
    assert set(parts.swapped) == set(app["services"])
    services, address = {}, 128
    for service in found.services:
        addresses = tuple(f"10.9.0.{address + number}" for number in range(service.replicas))
        services[service.name] = ReleasedService(parts.images[service.name], "sha256:1", service.port, addresses)
        address += service.replicas
    release = Release("r20260101t000000-00000001", "1" * 64, "blue", "2026-01-01", services)
    document = compose.release_model(replace(found, jobs=()), parts, release, "/var/lib/x")
    assert len(document["services"]) == sum(service.replicas for service in found.services)
    base = compose.base_model(found, parts, parts.images, "/var/lib/x", b"key")
    assert set((base or {"services": {}})["services"]) == set(parts.base)
    text = gateway.render(found, release, "10.9.0.254")
    for service in found.services:
        assert all(f"location {route} {{" in text for route in service.routes), text


@EACH_APP
def test_no_password_is_in_the_environment_of_a_container(app: dict[str, Any], tmp_path: Path) -> None:
    _, parts = composed(app, tmp_path)
    secrets = app.get("secrets") or {}
    for service in {**parts.base, **parts.swapped}.values():
        told = json.dumps(
            [service.get(key) for key in ("environment", "command", "entrypoint", "healthcheck", "labels")]
        )
        assert [name for name, value in secrets.items() if value.strip() in told or "-value" in told] == []


@EACH_APP
def test_a_released_service_has_few_rights(app: dict[str, Any], tmp_path: Path) -> None:
    _, parts = composed(app, tmp_path)
    for name, service in parts.swapped.items():
        limits = (service.get("deploy") or {}).get("resources", {}).get("limits", {})
        assert service.get("read_only") and service.get("cap_drop") == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service.get("mem_limit") or limits.get("memory"), name
        assert service.get("pids_limit") or limits.get("pids"), name


@pytest.mark.parametrize("system", ["micro-sayur", "technova"])
def test_staging_is_like_production(system: str) -> None:
    """They have one description of the apps, and a value of their own for the same variables."""
    directories = [PROJECT / "examples" / system / "inventories" / name for name in ("staging", "production")]
    files = [{path.name for path in (directory / "group_vars" / "vps").iterdir()} for directory in directories]
    assert files[0] == files[1] == {"apps.yml", "main.yml", "vault.yml"}
    links = {(directory / "group_vars" / "vps" / "apps.yml").resolve() for directory in directories}
    assert links == {PROJECT / "examples" / system / "apps.yml"}
    mine = [yaml.safe_load((directory / "group_vars" / "vps" / "main.yml").read_text()) for directory in directories]
    assert set(mine[0]) - set(mine[1]) == {"caddy_acme_ca"}
    assert set(mine[1]) <= set(mine[0])


@pytest.mark.parametrize("directory", sorted({Path(app["compose"]).resolve().parent for _, app in APPS}), ids=str)
def test_compose_takes_what_runs_on_a_laptop(directory: Path) -> None:
    if not stores.unpacked():
        pytest.skip(stores.MISSING)
    for service in stores.compose(directory, TAG="1.0.0")["services"].values():
        if "build" in service:
            build = service["build"]
            assert Path(build["context"], build.get("dockerfile", "Dockerfile")).is_file()


def test_all_images_of_technova_are_built_with_their_arguments() -> None:
    """By the commands of docs/getting-started.md."""
    if not stores.unpacked():
        pytest.skip(stores.MISSING)
    directory, told = PROJECT / "examples" / "technova", (PROJECT / "docs/getting-started.md").read_text()
    built = {}
    for command in re.findall(r"^docker compose (.*)build --push$", told, re.MULTILINE):
        for name, service in stores.compose(directory, *command.split(), TAG="1.1.0", SCHEMA="2")["services"].items():
            if "build" in service:
                built[name] = service["build"]["args"]
    wanted = {"VERSION": "1.1.0"}
    assert built == {"api": {**wanted, "SCHEMA": "2"}, "web": wanted, "pricing": wanted}


def test_a_promoted_release_is_what_every_later_run_asks_for(tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(PROJECT / "examples" / "technova", copy, symlinks=True)
    directory = copy / "inventories" / "production"
    _, look, write = yaml.safe_load((copy / "digests.yml").read_text())[0]["tasks"]
    digest = "registry.test:5000/technova/api@sha256:" + "1" * 64
    live = {"services": {"api": {"image": "registry.test:5000/technova/api:1.1.0", "digest": "sha256:" + "1" * 64}}}
    for apps, found in (([{"live": live}], True), ([{"live": None}], False), ([], False)):
        that = f"{{{{ {look['ansible.builtin.assert']['that']} }}}}"
        assert templated(that, {"release": {"apps": apps}}) is found, apps
    known = {"app": "technova", "to": "production", "playbook_dir": str(copy), "release": {"apps": [{"live": live}]}}
    for name, value in write["vars"].items():
        known[name] = templated(value, known)
    file, text = (templated(write["ansible.builtin.copy"][key], known) for key in ("dest", "content"))
    Path(file).write_text(text)
    (values,) = hosts(Inventory(directory)).values()
    found = {app["name"]: app["env"].get("API_IMAGE") for app in apps_of(values)}
    assert found == {"technova": digest, "technova-pricing": None}


def test_a_tag_that_is_to_stay_is_that_of_one_tenant() -> None:
    (values,) = hosts(Inventory(PROJECT / "examples/daffathan-labs/inventories/production")).values()
    tags = {app["name"]: app["env"]["TAG"] for app in apps_of({**values, "labs_tags": {"main": "1.0.0"}})}
    assert tags == {"labs-main": "1.0.0", "labs-univ-pancasila": "univ-pancasila-latest"}


@pytest.mark.parametrize("system", ["daffathan-labs", "micro-sayur", "technova"])
def test_a_copy_of_the_folder_is_a_system_of_its_own(system: str, tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(PROJECT / "examples" / system, copy, symlinks=True)
    (values,) = hosts(Inventory(copy / "inventories" / "production")).values()
    for app in apps_of(values):
        assert Path(app["compose"]).resolve().parent == copy
