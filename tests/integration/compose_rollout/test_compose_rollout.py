# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module compose_rollout where it hurts: killed, beside another app, without its gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.app import APP, containers, leftovers, other_than, version
from tests.support.lab import Host
from tests.support.load import SITE, site_load
from tests.support.rollout import (
    APPS,
    GATEWAY_APPS,
    SECOND,
    SECOND_SITE,
    Call,
    ask,
    assert_settled,
    containers_of,
    killed_at,
    rollout,
    second,
    site,
    state_of,
)

SERVICES = {"ui": 1, "api": 1, "ai": 1}
STEPS = ("fetch", "start", "ready", "shift", "fence", "drain", "stop", "prune")
# Every step of a deploy writes a line before and one after. A kill after `done` differs from one before the next step
# only where the state is saved in between, around the switch; the simulation of the unit tests is killed everywhere.
LINES = (1, 3, 5, 6, 7, 8, 9, 10, 11, 13, 15)


@pytest.fixture(scope="module")
def second_app(platform_host: Host) -> Iterator[dict[str, Any]]:
    options = second(platform_host, "1.1.0")
    result = rollout(platform_host, options)
    assert not result["failed"], result["msg"]
    yield options
    removed = rollout(platform_host, {"app": SECOND, "state": "absent"})
    assert not removed["failed"], removed["msg"]
    assert containers_of(platform_host, SECOND) == []
    assert platform_host.rc("test", "-e", f"{GATEWAY_APPS}/{SECOND}.conf") == 1


def peer(host: Host, domain: str) -> Any:
    """What service ai is told when it asks for http://api:3001/version."""
    return json.loads(ask(host, domain, "/ai/peer"))


def test_a_kill_in_any_step_is_made_good_by_the_same_command(platform_host: Host) -> None:
    host = platform_host
    for tag in ("1.1.0", "1.0.0"):
        result = rollout(host, site(host, tag))
        assert not result["failed"], result["msg"]
    before = leftovers(host)
    died_after = set()
    with site_load(host, rate=20) as load:
        for index, number in enumerate(LINES):
            tag = ("1.1.0", "1.0.0")[index % 2]
            options = site(host, tag)
            last = killed_at(host, options, number)
            assert last is not None, f"the run ended before line {number}"
            died_after.add((last["event"], last["step"]))
            result = rollout(host, options)
            assert not result["failed"], f"after {last}: {result['msg']}"
            assert_settled(host, APP, SERVICES)
            assert version(host) == tag, f"after {last}"
        report = load.stop()
    assert report.failed == 0, report.describe()
    assert report.sent > 20 * 30
    assert {step for _, step in died_after} == set(STEPS)
    after = leftovers(host)
    assert {key: len(value) for key, value in after.items()} == {key: len(value) for key, value in before.items()}
    assert (after["networks"], after["volumes"]) == (before["networks"], before["volumes"])


def test_apps_with_the_same_service_names_reach_their_own(platform_host: Host, second_app: dict[str, Any]) -> None:
    host = platform_host
    result = rollout(host, site(host, "1.0.0"))
    assert not result["failed"], result["msg"]
    assert json.loads(ask(host, SITE, "/api/version"))["version"] == "1.0.0"
    assert json.loads(ask(host, SECOND_SITE, "/api/version"))["version"] == "1.1.0"
    assert "1.0.0" in json.dumps(peer(host, SITE)) and "1.1.0" not in json.dumps(peer(host, SITE))
    assert "1.1.0" in json.dumps(peer(host, SECOND_SITE)) and "1.0.0" not in json.dumps(peer(host, SECOND_SITE))
    assert_settled(host, APP, SERVICES)
    assert_settled(host, SECOND, {"api": 1, "ai": 1})


def test_a_domain_of_another_app_is_refused(platform_host: Host) -> None:
    host = platform_host
    before = (containers(host), host.run("docker", "network", "ls", "--quiet"), host.run("ls", GATEWAY_APPS))
    result = rollout(host, second(host, "1.1.0", domains=[SITE.upper()]))
    assert result["failed"]
    for word in (f"domains: {SITE}", APP, "Remove it there first"):
        assert word in result["msg"]
    assert (containers(host), host.run("docker", "network", "ls", "--quiet"), host.run("ls", GATEWAY_APPS)) == before


def test_a_configuration_that_nginx_refuses_changes_nothing(platform_host: Host) -> None:
    host = platform_host
    live = version(host)
    state, text = state_of(host, APP), host.run("cat", f"{GATEWAY_APPS}/{APP}.conf")
    # The file of another app, spoiled by hand: any test of the whole configuration fails.
    host.run("sh", "-c", f"echo 'not_a_directive on;' > {GATEWAY_APPS}/spoiled.conf")
    try:
        with site_load(host, rate=20) as load:
            result = rollout(host, site(host, other_than(live)))
            report = load.stop()
        assert result["failed"]
        for word in ("nginx refuses", "not_a_directive", "spoiled.conf", f"{state['live']['id']} keeps serving"):
            assert word in result["msg"]
        assert host.run("cat", f"{GATEWAY_APPS}/{APP}.conf") == text
        assert report.failed == 0, report.describe()
    finally:
        host.run("rm", f"{GATEWAY_APPS}/spoiled.conf")
    assert assert_settled(host, APP, SERVICES)["live"] == state["live"]
    assert version(host) == live


def test_a_gateway_that_was_removed_comes_back_with_every_app(platform_host: Host, second_app: dict[str, Any]) -> None:
    host = platform_host
    live = state_of(host, APP)["live"]["id"]
    tag = version(host)
    host.run("docker", "rm", "--force", "daffathan-gateway")
    result = rollout(host, site(host, other_than(tag)))
    assert result["failed"]
    assert "Run role daffathan.platform.gateway first" in result["msg"]
    assert state_of(host, APP)["live"]["id"] == live
    play = host.play("site", "--tags", "gateway")
    assert play.rc == 0, play.output[-4000:]
    for options in (site(host, tag), second_app):
        result = rollout(host, options)
        assert not result["failed"], result["msg"]
        assert [operation["kind"] for operation in result["operations"]] == ["route"]
    assert assert_settled(host, APP, SERVICES)["live"]["id"] == live
    assert version(host) == tag
    assert tag in json.dumps(peer(host, SITE))
    assert "1.1.0" in json.dumps(peer(host, SECOND_SITE))


def test_replicas_each_take_requests(platform_host: Host, second_app: dict[str, Any]) -> None:
    host = platform_host
    result = rollout(host, second(host, "1.1.0", api={"replicas": 2}))
    assert not result["failed"], result["msg"]
    state = assert_settled(host, SECOND, {"api": 2, "ai": 1})
    assert len(set(state["live"]["services"]["api"]["addresses"])) == 2
    hostnames = {json.loads(ask(host, SECOND_SITE, "/api/version"))["hostname"] for _ in range(20)}
    assert len(hostnames) == 2
    assert rollout(host, second(host, "1.1.0", api={"replicas": 2}))["changed"] is False


def test_a_secret_appears_nowhere_but_in_its_file(platform_host: Host) -> None:
    host, app, path = platform_host, "canary", "/root/canary.yml"
    secret, words = "canary-4f1d-" * 3, "import os; print(open('/run/secrets/KEY').read(), flush=True); os._exit(3)"
    options = {
        "app": app,
        "compose_file": path,
        "secrets": {"KEY": secret},
        "services": {"api": {"port": 3001, "start_timeout": 20, "drain_timeout": 2}},
    }
    good = {"image": "registry.lab:5000/daffathan/api:1.0.0", "environment": {"PORT": "3001"}, "secrets": ["KEY"]}
    bad = {**good, "entrypoint": ["python3", "-c", words]}
    try:
        for service, fails in ((good, False), (bad, True)):
            model = {"services": {"api": service}, "secrets": {"KEY": {"file": "./KEY"}}}
            host.write(path, json.dumps(model))
            call = Call(host, options, "--diff", "-vvv")
            result = call.result()
            assert result["failed"] is fails, result["msg"]
            assert secret not in call.output
        # What the container printed is told, but for the secret.
        assert "********" in result["msg"], result["msg"]
        found = host.run("grep", "-rlF", secret, APPS, "/etc/daffathan/gateway").split()
        live = state_of(host, app)["live"]["id"]
        assert found == [f"{APPS}/{app}/releases/{live}/secrets/api/KEY"]
    finally:
        rollout(host, {"app": app, "state": "absent"})


def test_compose_file_of_many_parts_is_taken_as_it_is(platform_host: Host) -> None:
    """Profile, number of containers, external network, configs, and a sidecar in the base: on a real Compose."""
    host, app, directory = platform_host, "parts", "/root/parts"
    image = {"image": "registry.lab:5000/daffathan/api:1.0.0", "environment": {"PORT": "3001", "PREFIX": "/api"}}
    idle = {**image, "entrypoint": ["sleep", "infinity"], "init": True}
    configs = [{"source": "note", "target": "/etc/note"}, {"source": "said", "target": "/etc/said"}]
    model = {
        "services": {
            "api": {
                **image,
                "profiles": ["production"],
                "healthcheck": {"test": ["CMD", "true"], "interval": "1s"},
                "deploy": {"replicas": 2},
                "depends_on": {"store": {"condition": "service_started"}},
                "links": ["store"],
                "configs": configs,
                "networks": ["default", "outside"],
                "pull_policy": "always",
            },
            "store": {**idle, "configs": configs},
            "side": {**idle, "network_mode": "service:store", "depends_on": ["store", "api"]},
            "dev": {"build": ".", "profiles": ["dev"], "network_mode": "host"},
        },
        "networks": {"outside": {"external": True, "name": "outside"}},
        "configs": {"note": {"file": "./note"}, "said": {"content": "costs $$5, ${NAME}"}},
    }
    options = {
        "app": app,
        "compose_file": f"{directory}/compose.yml",
        "domains": ["parts.example.test"],
        "env": {"NAME": "parts"},
        "services": {"api": {"port": 3001, "routes": ["/"], "start_timeout": 30, "drain_timeout": 2}},
    }

    def note(text: str) -> None:
        host.write(f"{directory}/note", text)

    def read() -> dict[str, set[str]]:
        """What the running containers of each service find in the two files."""
        found: dict[str, set[str]] = {}
        for container in containers_of(host, app):
            if container["state"] == "running" and container["service"] != "side":
                said = host.run("docker", "exec", container["name"], "sh", "-c", "cat /etc/note; echo; cat /etc/said")
                found.setdefault(container["service"], set()).add(said)
        return found

    host.run("mkdir", "-p", directory)
    host.write(f"{directory}/compose.yml", json.dumps(model))
    host.run("docker", "network", "create", "outside")
    note("first")
    try:
        first = rollout(host, options)
        assert not first["failed"], first["msg"]
        assert_settled(host, app, {"api": 2})
        assert {entry["service"] for entry in containers_of(host, app)} == {"api", "store", "side"}
        assert read() == dict.fromkeys(("api", "store"), {"first\ncosts $5, parts"})
        assert (
            len(host.run("docker", "network", "inspect", "--format", "{{range .Containers}}x{{end}}", "outside")) == 3
        )
        assert rollout(host, options)["changed"] is False
        note("second")
        second = rollout(host, options)
        assert not second["failed"], second["msg"]
        assert second["release"] != first["release"]
        assert read() == dict.fromkeys(("api", "store"), {"second\ncosts $5, parts"})
        back = rollout(host, {"app": app, "state": "rolled_back"})
        assert not back["failed"], back["msg"]
        # The base stays as it is: it is never swapped.
        assert read() == {"api": {"first\ncosts $5, parts"}, "store": {"second\ncosts $5, parts"}}
    finally:
        rollout(host, {"app": app, "state": "absent"})
        host.run("docker", "network", "rm", "outside")
