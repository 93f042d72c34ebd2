# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An app on two hosts: a version is switched on both or on none, whatever becomes of one of them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.ansible import Run
from tests.support.lab import BIN, PROJECT, Host, PlayResult, play, play_arguments, wait_until
from tests.support.oven import clients
from tests.support.rollout import ask, assert_settled, journals, rollout, state_of

APP = "fleet"
DOMAIN = "fleet.example.test"
Pair = tuple[Host, Host]
COMPOSE = """
services:
  api:
    image: registry.lab:5000/daffathan/api:${TAG}
    environment: {PORT: "3001", PREFIX: /api, VERSION: "${VERSION}", DATABASE_HOST: "${DATABASE}"}
  mailer:
    image: registry.lab:5000/daffathan/api:1.0.0
    entrypoint: [python3, -c, "${MAILER}"]
"""
WORKS = "import time; time.sleep(3600)"
SERVICES = {"api": 1, "mailer": 1}
# Without a database there are none (404); with one that does not answer this is an error (503), and all else works.
NOTES = "/api/notes"
NOWHERE = "127.0.0.1"
# Behind a deploy on both, one on a host alone.
TWICE = """
- import_playbook: {playbooks}/deploy.yml
- hosts: {host}
  gather_facts: false
  roles: [daffathan.platform.app]
"""
# Of a host it tells when it is out of the load balancer and when it is in it.
HOOK = """
- name: Tell the load balancer
  ansible.builtin.lineinfile:
    path: {log}
    line: "{{{{ inventory_hostname }}}} {word} {{{{ lookup('ansible.builtin.pipe', 'wc -l < {log}') }}}}"
  delegate_to: localhost
"""


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet") / "compose.yml"
    path.write_text(COMPOSE)
    return path


def app(
    compose: Path,
    version: str,
    *,
    tag: str = "1.0.0",
    mailer: str = WORKS,
    database: str = "",
    api: dict[str, Any] | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    times = {"start_timeout": 60, "drain_timeout": 2, "stop_timeout": 2}
    return [
        {
            "name": APP,
            "domains": [DOMAIN],
            "compose": str(compose),
            "env": {"TAG": tag, "VERSION": version, "MAILER": mailer, "DATABASE": database},
            "services": {
                "api": {"port": 3001, "routes": ["/api/"], "health": "/health", **times, **(api or {})},
                "mailer": {"min_uptime": 1, **times},
            },
            **options,
        }
    ]


def only_on(host: Host, bad: str, good: str) -> str:
    return f"{{{{ '{bad}' if inventory_hostname == '{host.name}' else '{good}' }}}}"


def versions(pair: Pair) -> list[str]:
    return [str(json.loads(ask(host, DOMAIN, "/api/version"))["version"]) for host in pair]


def assert_none(pair: Pair, result: PlayResult, *words: str) -> None:
    """Both serve what they served, and nothing is left of the new version."""
    assert result.rc != 0
    for word in (f"{APP} was switched on none of", *words):
        assert word in result.output, result.output[-6000:]
    for host in pair:
        assert_settled(host, APP, SERVICES)
    assert versions(pair) == ["1", "1"]


@pytest.fixture(scope="module")
def first_version(platform_pair: Pair, compose: Path) -> Pair:
    result = play(platform_pair, "deploy", apps=app(compose, "1"))
    assert result.rc == 0, result.output[-6000:]
    return platform_pair


@pytest.fixture
def fleet(first_version: Pair) -> Pair:
    """Both hosts serve version 1."""
    for host, version in zip(first_version, versions(first_version)):
        if version != "1":
            back = rollout(host, {"app": APP, "state": "rolled_back"})
            assert not back["failed"], back["msg"]
    assert versions(first_version) == ["1", "1"]
    return first_version


def test_both_are_switched_before_anything_is_stopped(fleet: Pair, compose: Path, tmp_path: Path) -> None:
    lines = [len(journals(host, APP)) for host in fleet]
    result = play(fleet, "deploy", apps=app(compose, "2"))
    assert result.rc == 0, result.output[-6000:]
    assert versions(fleet) == ["2", "2"]
    written = [journals(host, APP)[count:] for host, count in zip(fleet, lines)]
    at = {
        step: [line["at"] for new in written for line in new if line["step"] == step]
        for step in ("start", "shift", "fence", "stop")
    }
    assert max(at["start"]) < min(at["shift"]) and max(at["fence"]) < min(at["stop"])
    for host in fleet:
        assert_settled(host, APP, SERVICES)
    twice = tmp_path / "twice.yml"
    twice.write_text(TWICE.format(playbooks=PROJECT / "playbooks", host=fleet[0].name))
    again = play(fleet, str(twice), apps=app(compose, "2"))
    assert again.rc == 0, again.output[-6000:]
    assert [again.changed(host.name) for host in fleet] == [0, 0]


def test_none_is_switched_where_one_cannot_be_prepared(fleet: Pair, compose: Path) -> None:
    first, second = fleet
    lines = len(journals(first, APP))
    result = play(fleet, "deploy", apps=app(compose, "2", tag=only_on(second, "9.9.9", "1.1.0")))
    assert_none(
        fleet, result, f"{second.name}: image registry.lab:5000/daffathan/api:9.9.9: the registry does not have it"
    )
    steps = [line["step"] for line in journals(first, APP)[lines:]]
    assert "ready" in steps and "shift" not in steps
    assert state_of(first, APP)["history"][-1]["event"] == "aborted"


def hooks(directory: Path) -> dict[str, Any]:
    log = directory / "balancer.log"
    log.touch()
    for word in ("out", "in"):
        (directory / f"{word}.yml").write_text(HOOK.format(log=log, word=word))
    return {"deploy_drain_tasks": str(directory / "out.yml"), "deploy_attach_tasks": str(directory / "in.yml")}


def told(directory: Path, fleet: Pair) -> list[tuple[int, str]]:
    """Which host was taken out or put in, in order."""
    names = [host.name for host in fleet]
    lines = [line.split() for line in (directory / "balancer.log").read_text().splitlines()]
    return [(names.index(name), word) for name, word, _ in lines]


def test_hosts_leave_the_load_balancer_one_after_the_other(fleet: Pair, compose: Path, tmp_path: Path) -> None:
    result = play(fleet, "deploy", apps=app(compose, "2"), **hooks(tmp_path))
    assert result.rc == 0, result.output[-6000:]
    assert versions(fleet) == ["2", "2"]
    assert told(tmp_path, fleet) == [(0, "out"), (0, "in"), (1, "out"), (1, "in")]
    # As after a run that was killed while a host was out.
    (tmp_path / "balancer.log").write_text("")
    again = play(fleet, "deploy", apps=app(compose, "2"), **hooks(tmp_path))
    assert again.rc == 0, again.output[-6000:]
    assert told(tmp_path, fleet) == [(0, "in"), (1, "in")]


def test_all_go_back_where_one_cannot_be_switched(fleet: Pair, compose: Path, tmp_path: Path) -> None:
    first, second = fleet
    lines = len(journals(first, APP))
    bad = app(compose, "2", mailer=only_on(second, "raise SystemExit(3)", WORKS))
    result = play(fleet, "deploy", apps=bad, **hooks(tmp_path))
    assert_none(fleet, result, f"{second.name}: ", "exit status 3")
    # The first one had switched.
    steps = [line["step"] for line in journals(first, APP)[lines:] if line["event"] == "done"]
    assert {"fence", "undo"} <= set(steps), (steps, result.output)
    assert steps.index("fence") < steps.index("undo") and "stop" not in steps
    back = [(0, "out"), (0, "in")]
    assert told(tmp_path, fleet) == [*back, (1, "out"), (1, "in"), *back, (1, "in")]


def test_the_other_goes_back_where_one_is_lost_and_both_go_on_when_it_is_there_again(
    fleet: Pair, compose: Path
) -> None:
    first, second = fleet
    wanted = app(compose, "2", bake={"seconds": 5})
    count = len(journals(second, APP))
    run = Run("ansible-playbook", *play_arguments(fleet, "deploy", apps=wanted), merged=True)
    baking = {"event": "begin", "step": "bake"}
    assert wait_until(
        lambda: any(baking.items() <= line.items() for line in journals(second, APP)[count:]), seconds=120
    )
    ssh = ("ssh.socket", "ssh.service")
    # With every process that serves a connection, the module's run among them.
    second.run("systemctl", "kill", "--kill-whom=all", "--signal=KILL", "ssh.service")
    second.run("systemctl", "stop", *ssh)
    try:
        result = run.result()
    finally:
        second.run("systemctl", "start", "ssh.service")
    assert result.returncode != 0
    for word in ("UNREACHABLE", f"{second.name}: lost", f"Not known to be back: {second.name}"):
        assert word in result.stdout, result.stdout[-6000:]
    assert_settled(first, APP, SERVICES)
    assert versions(fleet)[0] == "1"
    again = play(fleet, "deploy", apps=wanted)
    assert again.rc == 0, again.output[-6000:]
    assert versions(fleet) == ["2", "2"]
    for host in fleet:
        assert_settled(host, APP, SERVICES)


def test_a_batch_that_fails_keeps_the_next_one_from_starting(fleet: Pair, compose: Path) -> None:
    first, second = fleet
    before = (journals(second, APP), state_of(second, APP))
    bad = app(compose, "2", tag=only_on(first, "9.9.9", "1.1.0"))
    result = play(fleet, "deploy", apps=bad, deploy_serial=1)
    assert result.rc != 0
    assert "9.9.9" in result.output
    assert (journals(second, APP), state_of(second, APP)) == before
    assert versions(fleet) == ["1", "1"]


def test_what_is_switched_on_one_host_only_is_taken_back_by_hand(fleet: Pair, compose: Path, tmp_path: Path) -> None:
    """The verbs of the module, as a pipeline of one's own would call them."""
    first, second = fleet
    options = {"app": APP, "compose_file": f"/etc/daffathan/apps/{APP}/compose.yml", "domains": [DOMAIN]}
    (wanted,) = app(compose, "2")
    prepared = rollout(first, {**options, "env": wanted["env"], "services": wanted["services"], "state": "prepared"})
    assert not prepared["failed"], prepared["msg"]
    assert prepared["candidate"]["phase"] == "prepared" and versions(fleet) == ["1", "1"]
    which = {"app": APP, "release": prepared["candidate"]["release"]}
    planned = rollout(first, {**which, "state": "switched"}, "--check")
    assert [operation["kind"] for operation in planned["operations"]] == ["switch"]
    for changed in (True, False):
        result = rollout(first, {**which, "state": "switched"})
        assert (result["failed"], result["changed"]) == (False, changed), result
    assert versions(fleet) == ["2", "1"]
    lost = rollout(second, {**which, "state": "switched"})
    assert lost["failed"] and "is not prepared on this host" in lost["msg"], lost
    undone = first.play("abort", apps=[wanted], app=APP, **hooks(tmp_path))
    assert undone.rc == 0, undone.output[-4000:]
    assert told(tmp_path, fleet) == [(0, "in")]
    assert versions(fleet) == ["1", "1"]
    assert_settled(first, APP, SERVICES)


def canary(compose: Path, version: str, pause: object = 2, **options: Any) -> list[dict[str, Any]]:
    """Half of the requests meet the new version before all do; both versions have to answer some."""
    analysis = {"min_requests": 10, "interval": 1, "max_wait": 60}
    policy = {"steps": [{"weight": 50, "pause": pause}], "sticky": "none", "analysis": analysis}
    return app(compose, version, api={"strategy": "canary"}, canary=policy, **options)


def test_canary_that_fails_on_one_host_is_taken_away_on_both(fleet: Pair, compose: Path) -> None:
    first, second = fleet
    lines = len(journals(first, APP))
    bad = canary(compose, "2", database=only_on(second, NOWHERE, ""))
    with (
        clients(first, domain=DOMAIN, path=NOTES, rate=20) as well,
        clients(second, domain=DOMAIN, path=NOTES, rate=20) as ill,
    ):
        result = play(fleet, "deploy", apps=bad)
    assert_none(fleet, result, f"{second.name}: canary ", "met by 50 % of the users", "errors of the canary")
    # The first one had passed the step, and all its users met the new version.
    new = journals(first, APP)[lines:]
    looks = [line["verdict"] for line in new if line["event"] == "look"]
    steps = [line["step"] for line in new if line["event"] == "done"]
    assert looks[-1] == "promote" and "fence" in steps[: steps.index("undo")] and "stop" not in steps, steps
    assert [state_of(host, APP)["history"][-1]["event"] for host in fleet] == ["aborted", "aborted"]
    assert set(well) == {"404 1", "404 2"}, well
    assert set(ill) == {"404 1", "503 2"}, ill


def test_canary_that_passes_on_one_host_waits_for_the_other(fleet: Pair, compose: Path) -> None:
    first, second = fleet
    gated = canary(compose, "2", f"{{{{ 'manual' if inventory_hostname == '{second.name}' else 2 }}}}")
    with clients(first, domain=DOMAIN, rate=20) as passed, clients(second, domain=DOMAIN, rate=20) as waited:
        for _ in range(2):
            result = play(fleet, "deploy", apps=gated)
            assert result.rc == 0, result.output[-6000:]
            assert "waits to be promoted" in result.output
            states = [state_of(host, APP) for host in fleet]
            assert [state["phase"] for state in states] == ["switched", "canary"]
        assert [result.changed(host.name) for host in fleet] == [0, 0]
        promoted = play(fleet, "promote", apps=gated)
        assert promoted.rc == 0, promoted.output[-6000:]
    assert versions(fleet) == ["2", "2"]
    for host, answers, state in zip(fleet, (passed, waited), states):
        assert assert_settled(host, APP, SERVICES)["live"]["id"] == state["candidate"]["id"]
        assert set(answers) == {"200 1", "200 2"}, answers


def test_canaries_that_pass_on_both_hosts_are_finalized(fleet: Pair, compose: Path) -> None:
    lines = [len(journals(host, APP)) for host in fleet]
    with clients(fleet[0], domain=DOMAIN, rate=20) as one, clients(fleet[1], domain=DOMAIN, rate=20) as other:
        result = play(fleet, "deploy", apps=canary(compose, "2"))
    assert result.rc == 0, result.output[-6000:]
    assert versions(fleet) == ["2", "2"]
    written = [journals(host, APP)[count:] for host, count in zip(fleet, lines)]
    passed = [[line["at"] for line in new if line.get("verdict") == "promote"] for new in written]
    stopped = [line["at"] for new in written for line in new if line["step"] == "stop"]
    assert all(passed) and max(sum(passed, [])) < min(stopped)
    for host, answers in zip(fleet, (one, other)):
        assert_settled(host, APP, SERVICES)
        assert set(answers) == {"200 1", "200 2"}, answers


def test_site_takes_a_version_to_all_hosts_or_to_none(fleet: Pair, compose: Path) -> None:
    """Beside an app that has nothing new, and where hosts are not told to wait for each other."""
    first, second = fleet
    variables = yaml.safe_load((PROJECT / "inventories/demo/group_vars/vps/main.yml").read_text())
    lines = len(journals(first, APP))
    bad = app(compose, "2", mailer=only_on(second, "raise SystemExit(3)", WORKS))
    argv = play_arguments(fleet, "site", apps=[*variables["apps"], *bad])
    done = subprocess.run(
        [BIN / "ansible-playbook", *argv],
        cwd=PROJECT,
        env={**os.environ, "ANSIBLE_STRATEGY": "free"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    assert_none(fleet, PlayResult(done.returncode, done.stdout, {}), f"{second.name}: ", "exit status 3")
    steps = [line["step"] for line in journals(first, APP)[lines:] if line["event"] == "done"]
    assert {"fence", "undo"} <= set(steps) and "stop" not in steps, (steps, done.stdout)
    assert steps.index("fence") < steps.index("undo")
