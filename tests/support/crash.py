# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An app with all that a release can have, whose rollouts are killed; and what must hold when the same command has run.

Its image is another one with every version, so that one that is left behind is seen.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.lab import Host, inside, wait_until
from tests.support.rollout import (
    GATEWAY_APPS,
    SOCKETS,
    Watched,
    ask,
    assert_settled,
    containers_of,
    killed_at,
    rollout,
)

APP = "crash"
DOMAIN = "crash.example.test"
COMPOSE = f"/root/{APP}.yml"
# The demo runs none of them. A version and the one before have no image in common.
IMAGES = ("api:1.1.0", "ai:1.1.0", "ui:1.1.0")
JOB_IMAGES = ("api:crash", "ai:crash", "ui:crash")
DATA = f"/var/lib/docker/volumes/{APP}_data/_data"
# The answers of this part of the app are counted, at a rate that leaves the machine to the rollout.
PATH = "/api/version"
RATE = 20
WORKER = """
import os, signal, sys
def note(what):
    with open("/data/log", "a") as log:
        print("billing", os.environ["VERSION"], what, file=log)
def end(*_):
    note("end")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("start")
while True:
    signal.pause()
"""
# Open loop: a request leaves when its time has come, whatever became of the ones before.
ASKING = """
import http.client, json, socket, sys, threading, time
path, domain, where, rate = *sys.argv[1:4], float(sys.argv[4])
class Gateway(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(path)
sent, failed, ended = 0, [], threading.Event()
def ask(number):
    try:
        connection = Gateway(domain)
        connection.request("GET", where)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            failed.append(f"{time.time():.3f} {answer.status} {body[:200]!r}")
        connection.close()
    except Exception as error:
        failed.append(f"{time.time():.3f} {error!r}")
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
begun, threads = time.monotonic(), []
while not ended.is_set():
    sent += 1
    threads = [each for each in threads if each.is_alive()] + [threading.Thread(target=ask, args=(sent,))]
    threads[-1].start()
    time.sleep(max(0, begun + sent / rate - time.monotonic()))
for thread in threads:
    thread.join()
print(json.dumps({"sent": sent, "failed": failed}))
"""


def crash(
    host: Host, number: int, *, jobs: bool = False, alone: bool = False, health: str = "ok", **options: Any
) -> dict[str, Any]:
    """The options for version `number`: a service api; `jobs`, a job and a migration; `alone`, a worker that must not
    run twice. What `api` and `options` hold is added to the options of the service and of the module."""
    image = f"registry.lab:5000/daffathan/{IMAGES[number % len(IMAGES)]}"
    common = {"image": image, "user": "0", "volumes": ["data:/data"]}
    environment = {"PORT": "3001", "PREFIX": "/api", "VERSION": str(number), "HEALTH": health}
    model: dict[str, Any] = {"api": {**common, "environment": environment}}
    times = {"start_timeout": 20, "stop_timeout": 5}
    services: dict[str, Any] = {
        "api": {"port": 3001, "routes": ["/api/"], "health": "/health", "drain_timeout": 2, **times}
    }
    services["api"] |= options.pop("api", {})
    if alone:
        model["billing"] = {**common, "environment": environment, "entrypoint": ["python3", "-c", WORKER]}
        services["billing"] = {"strategy": "stop_first", "min_uptime": 0, **times}
    if jobs:
        # An image of its own, of which no container is left.
        other = f"registry.lab:5000/daffathan/{JOB_IMAGES[number % len(JOB_IMAGES)]}"
        command = ["sh", "-c", 'echo "seed $$VERSION" >> /data/log']
        model["seed"] = {**common, "image": other, "environment": environment, "command": command}
        services["seed"] = {"job": "before_start", "timeout": 20}
        options["migrate"] = {
            "service": "api",
            "command": ["sh", "-c", 'echo "up $VERSION" >> /data/log; echo "$VERSION" > /data/schema'],
            "rollback": ["sh", "-c", 'echo "down to $0" >> /data/log; echo "$0" > /data/schema', "{version}"],
            "after": ["sh", "-c", 'echo "after $VERSION" >> /data/log'],
            "version": ["cat", "/data/schema"],
            "timeout": 20,
        }
    text = json.dumps({"services": model, "volumes": {"data": {}}})
    host.write(COMPOSE, text)
    return {"app": APP, "compose_file": COMPOSE, "domains": [DOMAIN], "services": services, **options}


def version(host: Host) -> str:
    return str(json.loads(ask(host, DOMAIN, PATH))["version"])


def log(host: Host, kind: str = "") -> list[str]:
    """What jobs, migrations and the worker noted, in order."""
    return [line for line in host.run("cat", f"{DATA}/log").splitlines() if line.startswith(kind)]


@dataclass
class Answers:
    sent: int = 0
    failed: list[str] = field(default_factory=list)


@contextlib.contextmanager
def clients(host: Host) -> Iterator[Answers]:
    """Requests through the gateway for as long as the block runs; what became of them is known behind it."""
    answers = Answers()
    argv = inside(host.name, "python3", "-c", ASKING, f"{SOCKETS}/public/http.sock", DOMAIN, PATH, str(RATE))
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield answers
    finally:
        said = process.communicate(timeout=60)[0]
    found = json.loads(said)
    answers.sent, answers.failed = found["sent"], found["failed"]


LOOK = """
docker ps --all --filter status=created --filter status=exited --filter status=running --format '{{.Names}}'; echo @@
docker network ls --format '{{.Name}}'; echo @@
docker volume ls --quiet; echo @@
docker images --all --digests --format '{{.Repository}}@{{.Digest}}'
"""


def belongings(host: Host) -> dict[str, set[str]]:
    """Everything of the engine that a rollout could leave behind. Containers of the app are told by assert_settled."""
    found = [set(part.split()) for part in host.run("sh", "-c", LOOK).split("@@\n")]
    names = dict(zip(("containers", "networks", "volumes", "images"), found))
    names["containers"] = {name for name in names["containers"] if not name.startswith((f"{APP}--", f"{APP}-"))}
    return names


def images_of(state: Mapping[str, Any]) -> set[str]:
    """The images of the releases that are kept, without their tags."""
    kept = [release for release in (state["live"], state["previous"]) if release]
    parts = [part for release in kept for part in (*release["services"].values(), *release["jobs"].values())]
    return {f"{part['image'].rpartition(':')[0]}@{part['digest']}" for part in parts}


class Victim:
    """The app on a host that had none of it before."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.number = 0
        self.services: dict[str, int] = {}
        self.before = belongings(host)
        self.volumes = {f"{APP}_data"}

    def next(self, **options: Any) -> dict[str, Any]:
        """The options of a version that was never there."""
        self.number += 1
        return crash(self.host, self.number, **options)

    def deployed(self, **options: Any) -> dict[str, Any]:
        result = rollout(self.host, self.next(**options))
        assert not result["failed"], result["msg"]
        return result

    def assert_whole(self, why: str, services: Mapping[str, int]) -> dict[str, Any]:
        """One release serves, the one before can be returned to, and nothing else of the app is there."""
        state = assert_settled(self.host, APP, services)
        there = belongings(self.host)
        assert there["containers"] == self.before["containers"], why
        assert there["networks"] == self.before["networks"] | {f"{APP}_private"}, why
        assert there["volumes"] == self.before["volumes"] | self.volumes, why
        assert there["images"] == self.before["images"] | images_of(state), why
        return state

    def assert_gone(self, why: str) -> None:
        there = belongings(self.host)
        assert there["volumes"] == self.before["volumes"] | self.volumes, why
        for kind in ("containers", "networks", "images"):
            assert there[kind] == self.before[kind], why
        assert containers_of(self.host, APP) == [], why
        left = self.host.run("sh", "-c", f"ls -A /var/lib/daffathan/apps; ls -A {GATEWAY_APPS}/.. {GATEWAY_APPS}")
        assert APP not in left, f"{why}: {left}"

    def remove(self) -> None:
        result = rollout(self.host, {"app": APP, "state": "absent"})
        assert not result["failed"], result["msg"]
        self.host.run("docker", "volume", "rm", "--force", f"{APP}_data")


def killed_and_run_again(
    host: Host, options: Mapping[str, Any], line: int | str, when: str
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The last line of the run that was killed, and what the same command returned; None where it was not killed."""
    last = killed_at(host, options, line, when)
    return None if last is None else (last, run_again(host, options, f"killed {when} {line}, behind {last}"))


def run_again(host: Host, options: Mapping[str, Any], why: str) -> dict[str, Any]:
    result = rollout(host, options)
    assert not result["failed"], f"{why}: {result['msg']}"
    return result


def held_at(host: Host, options: Mapping[str, Any], line: int | str) -> tuple[Watched, dict[str, Any]] | None:
    """A run that waits behind a line, and the last line it wrote; None where it ended before."""
    run = Watched(host, options, line, "hold")
    lines = run.lines()
    if lines is None:
        run.let_go()
        run.call.result()
        return None
    return run, lines[-1] if lines else {}


def controller_lost(host: Host, options: Mapping[str, Any], line: int | str) -> dict[str, Any] | None:
    """The same for a run whose controller is killed while it waits behind a line. The module itself goes on."""
    held = held_at(host, options, line)
    if held is None:
        return None
    run, last = held
    run.call.kill()
    run.let_go()
    run_again(host, options, f"controller lost at {line}")
    return last


def power_lost(host: Host, options: Mapping[str, Any], line: int | str, served: set[str]) -> dict[str, Any] | None:
    """The same for a host that loses its power while the run waits behind a line. It serves again by itself."""
    held = held_at(host, options, line)
    if held is None:
        return None
    run, last = held
    host.lose_power()
    run.call.kill()
    run.let_go()
    assert wait_until(lambda: version(host) in served, seconds=60), f"nothing serves after a loss of power at {last}"
    run_again(host, options, f"power lost behind {last}")
    return last
