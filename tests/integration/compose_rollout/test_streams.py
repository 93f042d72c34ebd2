# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""East-west: what a container sees of a service it speaks to, by HTTP and by TCP, while the service is replaced."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.ansible import Run
from tests.support.lab import Host, execute, inside
from tests.support.rollout import (
    GATEWAY_APPS,
    SOCKETS,
    Call,
    Watched,
    assert_settled,
    containers_of,
    killed_at,
    rollout,
    state_of,
)

APP = "wires"
COMPOSE = f"/root/{APP}.yml"
IMAGE = "registry.lab:5000/daffathan/api:1.0.0"
STREAMS = f"{GATEWAY_APPS}/../streams"
CLIENT = f"{APP}-client-1"
# Answers each line with its version, its name and the line. Told to end, it says so and lets its callers finish.
BROKER = """
import asyncio, os, signal, socket
me = f"{os.environ['VERSION']} {socket.gethostname()} ".encode()
closing = asyncio.Event()
open_ones = set()
async def serve(reader, writer):
    open_ones.add(writer)
    if closing.is_set():
        writer.write(b"bye\\n")
    while line := await reader.readline():
        writer.write(me + line)
        await writer.drain()
    writer.close()
    open_ones.discard(writer)
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, closing.set)
    async with await asyncio.start_server(serve, "0.0.0.0", 1883):
        await closing.wait()
        for writer in open_ones:
            writer.write(b"bye\\n")
        while open_ones:
            await asyncio.sleep(0.02)
asyncio.run(main())
"""
# Ten new connections and ten requests a second, and two connections that are held: until standard input ends.
LOAD = """
import asyncio, json, sys, urllib.request
seen = {"new": [], "http": [], "held": [], "broken": []}
over = asyncio.Event()
def note(kind, line):
    seen[kind].append(line.decode().split()[0])
    seen.setdefault("names", []).append(line.decode().split()[1])
async def new(number):
    # The end of what it says is a part of what it says: the answer comes all the same.
    reader, writer = await asyncio.open_connection("broker", 1883)
    writer.write(b"new %d\\n" % number)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    assert answer.endswith(b" new %d\\n" % number), answer
    note("new", answer)
async def http(number):
    def ask():
        with urllib.request.urlopen("http://api:3001/version", timeout=10) as answer:
            return json.load(answer)["version"]
    seen["http"].append(await asyncio.to_thread(ask))
async def held(number):
    reader, writer = await asyncio.open_connection("broker", 1883)
    said = False
    while not said and not over.is_set():
        writer.write(b"held %d\\n" % number)
        answer = await reader.readline()
        if said := answer == b"bye\\n":
            answer = await reader.readline()
        assert answer.endswith(b" held %d\\n" % number), answer
        note("held", answer)
        try:
            said = said or await asyncio.wait_for(reader.readline(), 0.1) == b"bye\\n"
        except asyncio.TimeoutError:
            pass
    if said:
        seen["held"].append("bye")
    writer.write_eof()
    rest = await asyncio.wait_for(reader.read(), 10)
    assert rest in (b"", b"bye\\n"), rest
    writer.close()
async def tried(kind, number):
    try:
        await asyncio.wait_for(kind(number), 60)
    except Exception as error:
        seen["broken"].append(f"{kind.__name__}: {error!r}")
async def hold(number):
    while not over.is_set():
        await tried(held, number)
async def main():
    asyncio.get_running_loop().add_reader(0, over.set)
    tasks = [asyncio.create_task(hold(number)) for number in (1, 2)]
    number = 0
    while not over.is_set():
        number += 1
        tasks += [asyncio.create_task(tried(kind, number)) for kind in (new, http)]
        if number == 5:
            print("at work", flush=True)
        await asyncio.sleep(0.1)
    await asyncio.wait(tasks)
    print(json.dumps(seen))
asyncio.run(main())
"""


def wires(host: Host, version: str, *more: str, note: str = "calls extra", **broker: Any) -> dict[str, Any]:
    """The options for a version of an app with a broker, an API and a client of both, which is never swapped.

    :param more: names of further APIs
    :param note: a part of what the client is
    """
    common = {"image": IMAGE, "init": True}
    apis = ("api", *more)
    model = {
        "services": {
            **{name: {**common, "environment": {"PORT": "3001", "VERSION": version}} for name in apis},
            "broker": {
                **common,
                "environment": {"VERSION": version},
                "entrypoint": ["python3", "-c", BROKER.replace("$", "$$")],
            },
            "client": {**common, "entrypoint": ["sleep", "infinity"], "labels": {"note": note}},
        }
    }
    host.write(COMPOSE, json.dumps(model))
    times = {"start_timeout": 20, "drain_timeout": 3, "stop_timeout": 10}
    return {
        "app": APP,
        "compose_file": COMPOSE,
        "services": {
            **{name: {"port": 3001, "health": "/health", **times} for name in apis},
            "broker": {"port": 1883, "protocol": "tcp", **times, **broker},
        },
    }


@dataclass
class Seen:
    """What the client saw: versions by kind, names of the containers that answered, and what went wrong."""

    new: list[str] = field(default_factory=list)
    http: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@contextmanager
def callers(host: Host) -> Iterator[Seen]:
    """Load from a container of the app for as long as the block runs; what it saw is complete behind it."""
    argv = inside(host.name, "docker", "exec", "--interactive", CLIENT, "python3", "-c", LOAD)
    seen = Seen()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        yield seen
        vars(seen).update(json.loads(process.communicate(timeout=90)[0]))


def once(host: Host, container: str = CLIENT) -> str:
    """The version of the broker that a new connection of a container meets."""
    script = (
        "import socket; s = socket.create_connection(('broker', 1883), 5); s.send(b'?\\n'); print(s.recv(99).decode())"
    )
    return host.run("docker", "exec", container, "python3", "-c", script).split()[0]


@pytest.fixture(scope="module")
def host(platform_host: Host) -> Iterator[Host]:
    result = rollout(platform_host, wires(platform_host, "1"))
    assert not result["failed"], result["msg"]
    yield platform_host
    rollout(platform_host, {"app": APP, "state": "absent"})


def test_nothing_is_lost_inside_the_network_and_what_is_held_lives_until_the_grace_ends(host: Host) -> None:
    with callers(host) as seen:
        result = rollout(host, wires(host, "2"))
    assert not result["failed"], result["msg"]
    assert seen.broken == []
    for kind in (seen.new, seen.http):
        assert (kind[0], kind[-1], len(kind) > 30) == ("1", "2", True), kind
    # Two connections were counted where the old broker runs, for all of its time; then it told them to leave.
    assert (result["drained"]["by"], result["drained"]["open"]) == ("timeout", 2)
    assert seen.held.count("bye") == 2
    # Nobody was moved to the new one in the middle, and both came back to it.
    last = max(index for index, version in enumerate(seen.held) if version == "bye")
    assert "1" not in seen.held[last:] and seen.held[-1] == "2"
    assert len([version for version in seen.held if version == "1"]) > 30
    assert_settled(host, APP, {"api": 1, "broker": 1})
    assert rollout(host, wires(host, "2"))["changed"] is False


def test_containers_replaced_one_by_one_share_the_connections(host: Host) -> None:
    with callers(host) as seen:
        result = rollout(host, wires(host, "3", replicas=2, strategy="rolling", drain_timeout=1))
    assert not result["failed"], result["msg"]
    assert seen.broken == []
    assert (seen.new[-1], seen.http[-1]) == ("3", "3")
    # The old one and both new ones.
    assert len(set(seen.names)) == 3
    assert_settled(host, APP, {"api": 1, "broker": 2})


def test_configuration_that_nginx_refuses_changes_nothing(host: Host) -> None:
    before = host.run("sh", "-c", f"cat {GATEWAY_APPS}/{APP}.conf {STREAMS}/{APP}.conf")
    live = once(host)
    host.run("sh", "-c", f"echo 'not_a_directive on;' > {STREAMS}/spoiled.conf")
    try:
        with callers(host) as seen:
            result = rollout(host, wires(host, "refused"))
    finally:
        host.run("rm", f"{STREAMS}/spoiled.conf")
    assert result["failed"]
    for word in ("nginx refuses", "not_a_directive", "streams/spoiled.conf", "keeps serving"):
        assert word in result["msg"]
    assert seen.broken == [] and set(seen.new) == {live}
    assert host.run("sh", "-c", f"cat {GATEWAY_APPS}/{APP}.conf {STREAMS}/{APP}.conf") == before
    assert host.run("ls", STREAMS).split() == [f"{APP}.conf"]


def test_file_that_does_not_fit_the_other_is_written_again(host: Host) -> None:
    options = wires(host, once(host), replicas=2, strategy="rolling", drain_timeout=1)
    before = host.run("cat", f"{STREAMS}/{APP}.conf")
    host.run("sed", "-i", "s/proxy_timeout .*/proxy_timeout 1s;/", f"{STREAMS}/{APP}.conf")
    result = rollout(host, options)
    assert [operation["kind"] for operation in result["operations"]] == ["route"]
    assert host.run("cat", f"{STREAMS}/{APP}.conf") == before
    assert rollout(host, options)["changed"] is False


def test_port_that_another_app_has_for_http_is_refused(host: Host) -> None:
    before = host.run("docker", "ps", "--quiet")
    result = rollout(host, wires(host, "4", port=3000))
    assert result["failed"]
    for word in ("services.broker.port: 3000", "service ui of app daffathan-labs", "another port"):
        assert word in result["msg"]
    assert host.run("docker", "ps", "--quiet") == before


def test_gateway_image_that_cannot_serve_tcp_is_refused_by_the_role(host: Host) -> None:
    before = host.run("sh", "-c", "cat /etc/daffathan/gateway/*.*")
    role = ("--module-name", "include_role", "--args", "name=daffathan.platform.gateway tasks_from=configure")
    done = Run("ansible", host.name, "--inventory", str(host.inventory), *role, "-e", f"gateway_image={IMAGE}").result()
    assert done.returncode != 0
    for word in (f"gateway_image: nginx of {IMAGE} cannot serve TCP", "libnginx-mod-stream"):
        assert word in done.stdout
    assert host.run("sh", "-c", "cat /etc/daffathan/gateway/*.*") == before


def test_stop_first_and_a_kill_at_the_switch_end_well(host: Host) -> None:
    options = wires(host, "5", strategy="stop_first", drain_timeout=1)
    # Behind fetch, start, ready and swap: the files are about to be written, or are.
    last = killed_at(host, options, 9)
    assert last is not None and last["step"] == "shift", last
    result = rollout(host, options)
    assert not result["failed"], result["msg"]
    assert once(host) == "5"
    assert_settled(host, APP, {"api": 1, "broker": 1})


def test_beside_a_canary_its_own_containers_meet_its_broker(host: Host) -> None:
    def canary(version: str) -> dict[str, Any]:
        options = wires(host, version, drain_timeout=1)
        options["services"]["api"] |= {"routes": ["/"], "strategy": "canary"}
        return {**options, "domains": [f"{APP}.example.test"], "canary": {"steps": [{"weight": 10, "pause": "manual"}]}}

    # There is nobody to share out before the app has a route.
    for version in ("6", "7"):
        result = rollout(host, canary(version))
        assert not result["failed"], result["msg"]
    candidate = state_of(host, APP)["candidate"]["id"]
    assert (once(host), once(host, f"{APP}--{candidate}-api-1")) == ("6", "7")
    result = rollout(host, {"app": APP, "state": "promoted"})
    assert not result["failed"], result["msg"]
    assert once(host) == "7"
    assert_settled(host, APP, {"api": 1, "broker": 1})


def test_gateway_starts_without_the_network_of_an_app_and_serves_it_again(host: Host) -> None:
    site = ("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--insecure")
    public = (*site, "--unix-socket", f"{SOCKETS}/public/http.sock", "http://labs.example.test/health")
    host.run("docker", "network", "disconnect", "--force", f"{APP}_private", "daffathan-gateway")
    host.run("docker", "restart", "--time", "2", "daffathan-gateway")
    host.run("timeout", "20", "sh", "-c", 'until "$@" | grep -q 200; do sleep 0.2; done', "sh", *public)
    result = rollout(host, wires(host, "7", drain_timeout=1))
    assert not result["failed"], result["msg"]
    assert [operation["kind"] for operation in result["operations"]] == ["route"]
    assert once(host) == "7"


def answers(host: Host, container: str, name: str) -> str:
    """The version that a container is told at this name, or the error that it meets."""
    script = f"import urllib.request; print(urllib.request.urlopen('http://{name}:3001/version', timeout=5).read())"
    done = execute(host.name, "docker", "exec", container, "python3", "-c", script, check=False)
    return done.stdout or done.stderr.strip().splitlines()[-1]


def endpoint(host: Host) -> str:
    """The gateway's attachment to the network of the app; another one after it was detached."""
    where = f'{{{{(index .NetworkSettings.Networks "{APP}_private").EndpointID}}}}'
    return host.run("docker", "inspect", "--format", where, "daffathan-gateway")


def test_service_that_comes_ends_no_connection(host: Host) -> None:
    before = endpoint(host)
    slow = "import urllib.request; print(urllib.request.urlopen('http://api:3001/slow?seconds=6', timeout=30).status)"
    with callers(host) as seen:
        waits = subprocess.Popen(
            inside(host.name, "docker", "exec", CLIENT, "python3", "-c", slow), stdout=subprocess.PIPE, text=True
        )
        call = Call(host, wires(host, "8", "extra", drain_timeout=6))
        result = call.result()
        assert waits.communicate(timeout=60)[0] == "200\n"
    assert not result["failed"], result["msg"]
    assert seen.broken == []
    assert (seen.new[-1], seen.http[-1], seen.held.count("bye")) == ("8", "8", 2)
    assert endpoint(host) == before
    # Its containers know the name. That of the base is older: a database is not restarted for a name.
    live = result["release"]
    assert '"version": "8"' in answers(host, f"{APP}--{live}-api-1", "extra")
    assert '"version": "8"' in answers(host, f"{APP}--{live}-api-1", f"extra.{APP}_private")
    assert "URLError" in answers(host, CLIENT, "extra")
    warning = "base service client mentions extra"
    assert warning in " ".join(call.output.split()), call.output
    assert rollout(host, wires(host, "8", "extra", drain_timeout=6))["changed"] is False
    call = Call(host, wires(host, "8", "extra", note="still calls extra", drain_timeout=6))
    result = call.result()
    assert [operation["kind"] for operation in result["operations"]] == ["base"], result
    assert warning not in " ".join(call.output.split())
    assert '"version": "8"' in answers(host, CLIENT, "extra")
    assert endpoint(host) == before


def rival(host: Host, name: str, domains: list[str], **service: Any) -> dict[str, Any]:
    """The options of an app that wants the same as another one."""
    path = f"/root/{name}.yml"
    host.write(path, json.dumps({"services": {"api": {"image": IMAGE, "environment": {"PORT": "3007"}}}}))
    api = {"port": 3007, "start_timeout": 20, "drain_timeout": 1, "stop_timeout": 5, **service}
    return {"app": name, "compose_file": path, "domains": domains, "services": {"api": api}}


WEB = {"routes": ["/"], "health": "/health"}
RIVALS = {
    "domain": (["rival.example.test"], WEB, ["rival.example.test"], WEB, "rival.example.test already belongs to app"),
    "port": ([], {}, [], {"protocol": "tcp"}, "port 3007 cannot be served"),
}


@pytest.mark.parametrize("case", RIVALS.values(), ids=RIVALS)
def test_of_two_apps_that_want_the_same_at_once_one_is_told_of_the_other(host: Host, case: Any) -> None:
    names, said = ("rival-a", "rival-b"), case[4]
    wanted = [rival(host, name, domains, **service) for name, domains, service in zip(names, case[0:3:2], case[1:4:2])]
    try:
        runs = [Watched(host, options, 0, "hold") for options in wanted]
        # Both have looked at what the others have, and neither has noted what it wants.
        assert [run.lines() for run in runs] == [[], []]
        for run in runs:
            run.let_go()
        results = [run.call.result() for run in runs]
        assert sorted(result["failed"] for result in results) == [False, True], results
        loser, winner = sorted(range(2), key=lambda at: not results[at]["failed"])
        for word in (said, *names):
            assert word in results[loser]["msg"], results[loser]["msg"]
        assert_settled(host, names[winner], {"api": 1})
        assert state_of(host, names[loser])["live"] is None
        assert containers_of(host, names[loser]) == []
        left = host.run("sh", "-c", f"ls -A {GATEWAY_APPS} {STREAMS} {GATEWAY_APPS}/..")
        assert names[loser] not in left
    finally:
        for name in names:
            rollout(host, {"app": name, "state": "absent"})


def listens(host: Host, port: int) -> bool:
    """Whether the gateway takes connections on a port."""
    sockets = host.run("docker", "exec", "daffathan-gateway", "cat", "/proc/net/tcp").splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in sockets)


def test_removal_leaves_no_stream(host: Host) -> None:
    assert listens(host, 1883)
    result = rollout(host, {"app": APP, "state": "absent"})
    assert not result["failed"], result["msg"]
    assert host.run("ls", STREAMS).split() == []
    assert not listens(host, 1883)
