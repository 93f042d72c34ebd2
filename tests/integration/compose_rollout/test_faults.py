# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the environment does to a rollout: each fault ends with the new release, or with the old one and a remedy."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.app import APP, other_than, version
from tests.support.lab import Host, inside, wait_until
from tests.support.load import site_load
from tests.support.rollout import (
    APPS,
    GATEWAY_APPS,
    GATEWAY_LOGS,
    SECOND,
    SECOND_SITE,
    Call,
    Watched,
    ask,
    assert_settled,
    containers_of,
    faulted_at,
    journal,
    rollout,
    second,
    site,
    state_of,
    wordy,
)

SERVICES = {"ui": 1, "api": 1, "ai": 1}
GATEWAY = "daffathan-gateway"
MASTER = f"$(docker inspect --format '{{{{.State.Pid}}}}' {GATEWAY})"
# An image whose containers are good, and which no other test leaves on the host.
UNKNOWN = "registry.lab:5000/daffathan/api:slow-start"


def other(host: Host) -> str:
    return other_than(version(host))


def assert_old(host: Host, result: dict[str, Any], live: str, *said: str) -> None:
    """Old live, candidate gone, and a person is told why."""
    assert result["failed"], result
    for word in said:
        assert word in result["msg"], result["msg"]
    assert assert_settled(host, APP, SERVICES)["live"]["id"] == live


def assert_new(host: Host, result: dict[str, Any], tag: str) -> None:
    assert not result["failed"], result["msg"]
    assert_settled(host, APP, SERVICES)
    assert version(host) == tag


@pytest.fixture(scope="module", autouse=True)
def both_versions(platform_host: Host) -> None:
    """From here on the images of both versions are there."""
    for _ in range(2):
        result = rollout(platform_host, site(platform_host, other(platform_host)))
        assert not result["failed"], result["msg"]


@pytest.fixture(autouse=True)
def engine_may_start_again(platform_host: Host) -> None:
    """Its unit starts it three times a minute at most, and these tests together more often."""
    platform_host.run("systemctl", "reset-failed", "docker.service")


@pytest.mark.parametrize("step", ["fetch", "ready"])
def test_engine_that_is_away_for_a_while_does_not_stop_a_deploy(platform_host: Host, step: str) -> None:
    """As in an upgrade of its package. In a mere restart the socket stays, and only what is under way is lost.

    Nobody reads what containers print meanwhile, and a pipe that is full holds up whoever writes to it. That of the app
    gets little, that of the gateway, if it wrote its log to one, more than there is room for.
    """
    host, tag = platform_host, other(platform_host)
    away = "systemd-run --quiet --collect --on-active=5 systemctl start docker; systemctl stop docker.socket docker; "
    with site_load(host, rate=5) as load:
        result = faulted_at(host, site(host, tag), f"done:{step}", away + wordy(60))
        report = load.stop()
    assert_new(host, result, tag)
    assert report.failed == 0, report.describe()


@contextlib.contextmanager
def no_live_restore(host: Host) -> Iterator[None]:
    """An engine whose containers end with it."""
    change = "import json, sys; p = '/etc/docker/daemon.json'; d = json.load(open(p)); d['live-restore'] = {}; "
    change += "json.dump(d, open(p, 'w'), indent=4, sort_keys=True)"
    try:
        host.run("sh", "-ec", f'python3 -c "{change.format(False)}"; systemctl reload docker')
        yield
    finally:
        host.run("sh", "-ec", f'python3 -c "{change.format(True)}"; systemctl reload docker')


def test_engine_that_takes_its_containers_along(platform_host: Host) -> None:
    host, live, tag = platform_host, state_of(platform_host, APP)["live"]["id"], other(platform_host)
    with no_live_restore(host):
        result = faulted_at(host, site(host, tag), "done:start", "systemctl restart docker")
    assert_old(host, result, live, f"{live} keeps serving", "engine was restarted meanwhile", "same command again")
    assert wait_until(lambda: version(host) != tag, seconds=30)
    assert_new(host, rollout(host, site(host, tag)), tag)


def test_engine_that_goes_away_while_the_base_comes_and_while_it_goes(platform_host: Host) -> None:
    """Each takes some seconds here, and the engine is away in the middle of them."""
    host, app, path = platform_host, "anchor", "/root/anchor.yml"
    image = "registry.lab:5000/daffathan/api:1.0.0"
    patient = "trap '' TERM; sleep 5; touch /tmp/up; while :; do sleep 1; done"
    base = {
        "image": image,
        "entrypoint": ["sh", "-c", patient],
        "healthcheck": {"test": ["CMD", "test", "-e", "/tmp/up"], "interval": "1s", "retries": 30},
        "stop_grace_period": "5s",
    }
    model = {"services": {"api": {"image": image, "environment": {"PORT": "3001"}}, "base": base}}
    host.write(path, json.dumps(model))
    options = {
        "app": app,
        "compose_file": path,
        "services": {"api": {"port": 3001, "start_timeout": 20, "drain_timeout": 1, "stop_timeout": 5}},
    }
    away = "systemctl stop docker.socket docker; sleep 2; systemctl start docker"
    soon = f"systemd-run --quiet --collect --on-active=2 --timer-property=AccuracySec=100ms sh -c '{away}'"
    absent = {"app": app, "state": "absent"}
    try:
        result = faulted_at(host, options, 0, soon)
        assert not result["failed"], result["msg"]
        assert_settled(host, app, {"api": 1})
        result = faulted_at(host, absent, "done:stop", soon)
        assert not result["failed"], result["msg"]
        assert containers_of(host, app) == []
        assert f"{app}_private" not in host.run("docker", "network", "ls", "--format", "{{.Name}}").split()
    finally:
        rollout(host, absent)


def test_gateway_that_dies_in_the_shift_comes_back_with_the_new_release(platform_host: Host) -> None:
    host, tag = platform_host, other(platform_host)
    assert_new(host, faulted_at(host, site(host, tag), "done:ready", f"kill -9 {MASTER}"), tag)


def test_gateway_that_is_stopped_in_the_shift_starts_with_the_old_release(platform_host: Host) -> None:
    host, live, tag = platform_host, state_of(platform_host, APP)["live"]["id"], other(platform_host)
    try:
        result = faulted_at(host, site(host, tag), "done:shift", f"docker stop {GATEWAY}")
    finally:
        host.run("docker", "start", GATEWAY)
    assert wait_until(lambda: version(host) != tag, seconds=30)
    assert_old(host, result, live, "gateway: ", "is exited", f"docker logs {GATEWAY}", f"{GATEWAY_LOGS}/error.log")
    assert_new(host, rollout(host, site(host, tag)), tag)


def test_file_that_is_spoiled_in_the_middle_of_a_deploy(platform_host: Host) -> None:
    host, live, tag = platform_host, state_of(platform_host, APP)["live"]["id"], other(platform_host)
    spoiled = f"{GATEWAY_APPS}/spoiled.conf"
    with site_load(host, rate=20) as load:
        result = faulted_at(host, site(host, tag), "done:start", f"echo 'not_a_directive on;' > {spoiled}")
        host.run("rm", spoiled)
        assert_old(host, result, live, "nginx refuses", "spoiled.conf", f"{live} keeps serving")
        assert_new(host, rollout(host, site(host, tag)), tag)
        report = load.stop()
    assert report.failed == 0, report.describe()


@contextlib.contextmanager
def small(host: Host, directory: str) -> Iterator[str]:
    """The command that puts a small file system, which is full, in the place of a directory with what is in it."""
    copy = f"/run/{directory.replace('/', '-')}"
    try:
        yield (
            f"cp -a {directory} {copy}; mount -t tmpfs -o size=512k,mode=700 tmpfs {directory}; "
            f"cp -a {copy}/. {directory}/; dd if=/dev/zero of={directory}/filler bs=4k status=none || true"
        )
    finally:
        host.run(
            *("sh", "-ec"),
            f"mountpoint --quiet {directory} || exit 0; rm -f {directory}/filler; rm -rf {copy}; "
            f"cp -a {directory} {copy}; umount {directory}; rm -rf {directory}; mv {copy} {directory}",
        )


def unknown_image(host: Host) -> dict[str, Any]:
    """The options for a release that has to be pulled."""
    host.run("docker", "image", "rm", UNKNOWN, check=False)
    options = second(host, "1.0.0")
    host.run("sed", "-i", f"s#registry.lab:5000/daffathan/api:1.0.0#{UNKNOWN}#", options["compose_file"])
    return options


@pytest.fixture(scope="module")
def second_app(platform_host: Host) -> Iterator[str]:
    """Another app, and the release of it that serves."""
    result = rollout(platform_host, second(platform_host, "1.1.0"))
    assert not result["failed"], result["msg"]
    yield result["release"]
    rollout(platform_host, {"app": SECOND, "state": "absent"})


def second_is(host: Host, tag: str) -> None:
    assert_settled(host, SECOND, {"api": 1, "ai": 1})
    assert json.loads(ask(host, SECOND_SITE, "/api/version"))["version"] == tag


IMAGES = "/var/lib/docker/image/overlay2/imagedb/content/sha256"


def test_image_that_the_disk_has_no_room_for(platform_host: Host, second_app: str) -> None:
    host = platform_host
    with small(host, IMAGES) as fill:
        result = faulted_at(host, unknown_image(host), 0, fill)
    assert result["failed"], result
    for word in (UNKNOWN.split(":slow")[0], "no space left on device", "Free some space", "min_free_disk"):
        assert word in result["msg"], result["msg"]
    assert state_of(host, SECOND)["live"]["id"] == second_app
    second_is(host, "1.1.0")


@contextlib.contextmanager
def no_registry(host: Host) -> Iterator[str]:
    """The command that takes the registry away, until the block ends."""
    rule = "OUTPUT --protocol tcp --dport 5000 --jump REJECT --reject-with tcp-reset"
    try:
        yield f"iptables --insert {rule}; ip6tables --insert {rule}"
    finally:
        host.run("sh", "-c", f"iptables --delete {rule}; ip6tables --delete {rule}", check=False)


def test_registry_that_goes_away_before_the_pull(platform_host: Host, second_app: str) -> None:
    host = platform_host
    with no_registry(host) as gone:
        result = faulted_at(host, unknown_image(host), 0, gone)
    assert result["failed"], result
    for word in (UNKNOWN.split(":slow")[0], "cannot be pulled", "connection refused", "registry is reachable"):
        assert word in result["msg"], result["msg"]
    assert state_of(host, SECOND)["live"]["id"] == second_app
    second_is(host, "1.1.0")


def test_registry_that_is_gone_from_the_start(platform_host: Host) -> None:
    host, old = platform_host, version(platform_host)
    tag = other(host)
    with no_registry(host) as gone:
        host.run("sh", "-ec", gone)
        assert rollout(host, site(host, old))["changed"] is False
        # What is kept for a rollback is known, and here.
        assert_new(host, rollout(host, site(host, tag)), tag)
        live = state_of(host, APP)["live"]["id"]
        result = rollout(host, site(host, "9.9.9"))
    assert_old(host, result, live, "9.9.9", "connection refused", "registry is reachable from this host")


def test_disk_that_is_full_for_everything(platform_host: Host) -> None:
    """Not even the state can be written."""
    host, live, tag = platform_host, state_of(platform_host, APP)["live"]["id"], other(platform_host)
    directory = f"{APPS}/{APP}"
    with site_load(host, rate=20) as load, small(host, directory) as fill:
        result = faulted_at(host, site(host, tag), "done:start", fill)
        assert result["failed"]
        for word in ("No space left on device", "Free some space", "run the same command again"):
            assert word in result["msg"], result["msg"]
        running = {c["release"] for c in containers_of(host, APP) if c["release"] and c["state"] == "running"}
        assert running == {live}
        host.run("rm", f"{directory}/filler")
        assert_new(host, rollout(host, site(host, tag)), tag)
        report = load.stop()
    assert report.failed == 0, report.describe()


def test_second_run_of_an_app_waits_or_names_the_first(platform_host: Host) -> None:
    host, tag = platform_host, other(platform_host)
    options = site(host, tag)
    first = Watched(host, options, "done:start", "hold")
    assert first.lines() is not None
    refused = rollout(host, {**options, "lock_timeout": 1})
    waiting = Call(host, options)
    first.let_go()
    assert_new(host, first.call.result(), tag)
    assert waiting.result()["changed"] is False
    assert refused["failed"], refused
    for word in (f"another rollout of {APP} runs", "process ", "`state: present`, begun by", "raise `lock_timeout`"):
        assert word in refused["msg"], refused["msg"]


CLOCK, SET_CLOCK = "/run/clock", "/usr/local/bin/python-of-the-set-clock"


@pytest.fixture(scope="module")
def clock(platform_host: Host) -> str:
    """A Python whose clock is as far from the real one as the file CLOCK says.

    The clock itself belongs to all containers of the machine. So this one is set for the rollout alone, by libfaketime:
    the engine and the gateway go on with theirs, which makes it harder, not easier.
    """
    host = platform_host
    host.run("apt-get", "install", "--yes", "--no-install-recommends", "faketime")
    library = host.run("sh", "-c", "ls /usr/lib/*/faketime/libfaketime.so.1").strip()
    setting = f"LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={CLOCK} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1"
    host.write(SET_CLOCK, f'#!/bin/sh\nexec env {setting} python3 "$@"\n')
    host.run("chmod", "755", SET_CLOCK)
    return SET_CLOCK


@pytest.mark.parametrize("by", ["+3h", "-3h"])
def test_clock_that_is_set_in_the_middle_of_a_canary(platform_host: Host, clock: str, by: str) -> None:
    host, tag = platform_host, other(platform_host)
    options = site(host, tag)
    options["services"]["api"]["strategy"] = "canary"
    analysis = {"min_requests": 40, "interval": 1, "max_wait": 60}
    steps = [{"weight": 30, "pause": 3}, {"weight": 60, "pause": 3}]
    options |= {"canary": {"steps": steps, "analysis": analysis}, "bake": {"seconds": 3}}
    python = ("--extra-vars", f"ansible_python_interpreter={clock}")
    host.write(CLOCK, "+0")
    with site_load(host, rate=40) as load:
        run = Watched(host, options, "look:canary", "hold", *python)
        assert run.lines() is not None, run.call.result()
        host.write(CLOCK, by)
        run.let_go()
        result = run.call.result()
        times = [datetime.fromisoformat(line["at"]) for line in journal(host)]
        assert_new(host, result, tag)
        # And what comes later, by a clock that is right again.
        host.write(CLOCK, "+0")
        back = other(host)
        assert_new(host, rollout(host, site(host, back), *python), back)
        report = load.stop()
    assert max(times) - min(times) > timedelta(hours=2), "the clock was not set"
    assert report.failed == 0, report.describe()


@contextlib.contextmanager
def gateway_locked(host: Host) -> Iterator[None]:
    """Nobody gets to the gateway while the block runs."""
    holder = subprocess.Popen(
        inside(host.name, "flock", "/run/daffathan/gateway.lock", "sh", "-c", "echo held; cat"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    try:
        yield
    finally:
        holder.communicate(timeout=30)


def reloads(host: Host) -> int:
    return host.run("sh", "-c", f"zcat --force {GATEWAY_LOGS}/error.log*").count("signal 1 (SIGHUP) received")


def test_two_apps_that_come_to_the_gateway_together_share_one_reload(platform_host: Host, second_app: str) -> None:
    host, tag, before = platform_host, other(platform_host), reloads(platform_host)
    queue = {f"{APP}.wanted", f"{SECOND}.wanted"}
    with site_load(host, rate=20) as load:
        with gateway_locked(host):
            calls = [Call(host, options) for options in (site(host, tag), second(host, "1.0.0"))]
            waits = wait_until(lambda: queue <= set(host.run("ls", "/run/daffathan/gateway.queue").split()), seconds=90)
        results = [call.result() for call in calls]
        report = load.stop()
    assert waits, results
    assert not results[1]["failed"], results[1]["msg"]
    assert_new(host, results[0], tag)
    second_is(host, "1.0.0")
    assert reloads(host) == before + 1
    assert report.failed == 0, report.describe()
    assert host.run("ls", "/run/daffathan/gateway.queue") == ""
