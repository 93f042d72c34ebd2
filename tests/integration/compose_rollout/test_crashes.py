# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kills where most is done and least is noted, the end of the controller, and a loss of power; each made good by the
same command. `make soak NAME=crashes` does it at every line of the journal."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support import crash
from tests.support.crash import APP, Victim, clients, controller_lost, killed_and_run_again, power_lost, version
from tests.support.lab import Host
from tests.support.rollout import rollout

SERVICES = {"api": 2, "billing": 1}
ALL = {"jobs": True, "alone": True, "api": {"strategy": "rolling", "replicas": 2}}
# A line, and whether the run dies in the middle of what follows or when all of that is done.
POINTS = (
    ("begin:start", "0.2"),
    ("begin:swap", "next"),
    ("begin:roll", "next"),
    ("begin:shift", "next"),
)
GATED = {
    "api": {"strategy": "canary"},
    "canary": {"steps": [{"weight": 50, "pause": "manual"}]},
}
ABSENT = {"app": APP, "state": "absent"}


@pytest.fixture
def victim(platform_host: Host) -> Iterator[Victim]:
    victim = Victim(platform_host)
    yield victim
    victim.remove()


def test_a_run_that_dies_with_something_done_and_not_noted_loses_nothing(victim: Victim) -> None:
    host = victim.host
    victim.deployed(**ALL)
    with clients(host) as answers:
        for line, when in POINTS:
            killed = killed_and_run_again(host, victim.next(**ALL), line, when)
            assert killed is not None, line
            victim.assert_whole(f"{when} {line}", SERVICES)
            assert version(host) == str(victim.number)
            noted = crash.log(host)
            for kind in ("up", "seed", "after"):
                assert noted.count(f"{kind} {victim.number}") == 1, f"{when} {line}: {noted}"
        last = controller_lost(host, victim.next(**ALL), "begin:shift")
        assert last is not None
        victim.assert_whole("without the controller", SERVICES)
        assert version(host) == str(victim.number)
    assert answers.failed == []
    running = 0
    for entry in crash.log(host, "billing"):
        running += 1 if entry.endswith("start") else -1
        assert running <= 1, entry


def test_a_canary_outlives_the_runs_that_take_it_on_or_away(victim: Victim) -> None:
    host = victim.host
    victim.deployed(**GATED)
    with clients(host) as answers:
        assert killed_and_run_again(host, victim.next(**GATED), "begin:canary", "next") is not None
        assert killed_and_run_again(host, {"app": APP, "state": "promoted"}, "begin:shift", "next") is not None
        victim.assert_whole("promoted", {"api": 1})
        assert version(host) == "2"
        victim.deployed(**GATED)
        assert killed_and_run_again(host, {"app": APP, "state": "aborted"}, "begin:undo", "next") is not None
        victim.assert_whole("aborted", {"api": 1})
        assert version(host) == "2"
    assert answers.failed == []


def test_a_first_deploy_and_a_removal_that_die_leave_nothing_behind(victim: Victim) -> None:
    host = victim.host
    # What a run leaves that dies between two questions to the engine.
    host.run("docker", "network", "create", "--label", f"daffathan.app={APP}", f"{APP}_private")
    # The network is whole then, and nothing is known of it yet.
    assert killed_and_run_again(host, victim.next(), "done:fetch", "next") is not None
    victim.assert_whole("first", {"api": 1})
    network = json.loads(
        host.run("docker", "network", "inspect", "--format", "{{json .IPAM.Config}}", f"{APP}_private")
    )
    assert network[0]["IPRange"]
    victim.deployed(jobs=True)
    host.run("docker", "create", "--label", f"daffathan.reader={APP}", "registry.lab:5000/daffathan/api:1.0.0", "true")
    assert killed_and_run_again(host, ABSENT, "begin:prune", "next") is not None
    victim.assert_gone("removed")
    assert rollout(host, ABSENT)["changed"] is False


def test_what_the_gateway_names_serves_again_after_a_loss_of_power(victim: Victim) -> None:
    host = victim.host
    victim.deployed(**ALL)
    for line in ("begin:roll", "begin:shift"):
        old, options = version(host), victim.next(**ALL)
        assert power_lost(host, options, line, {old, str(victim.number)}) is not None
        victim.assert_whole(f"power lost behind {line}", SERVICES)
        assert version(host) == str(victim.number)
