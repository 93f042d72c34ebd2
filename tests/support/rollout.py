# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module compose_rollout on a VPS: calling it, killing it, and what it must leave behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.ansible import Run, answer, module
from tests.support.app import APP
from tests.support.lab import Host, inside
from tests.support.load import SITE

APPS = "/var/lib/daffathan/apps"
GATEWAY_APPS = "/etc/daffathan/gateway/apps"
SOCKETS = "/run/daffathan/gateway"
GATEWAY_LOGS = "/var/log/daffathan/gateway"
KILLER = Path(__file__).with_name("kill_at_line.py")
SECOND = "second"
SECOND_SITE = "second.example.test"
SECOND_COMPOSE = f"/root/{SECOND}.yml"


class Call:
    """One run of the module, from its start on; `result` waits for its end."""

    def __init__(self, host: Host, options: Mapping[str, Any], *flags: str) -> None:
        self.host = host
        self.run = Run("ansible", *module(host, "compose_rollout", options), "--become", *flags, merged=True)
        self.output = ""

    def result(self) -> dict[str, Any]:
        """What the module returned; `failed` tells whether it failed."""
        done = self.run.result()
        self.output = done.stdout
        return answer(done)

    def kill(self) -> None:
        """Kill -9 the controller: Ansible, and every connection to the host. What runs on the host is not told."""
        self.run.kill()
        peers = subprocess.run(["ss", "-Htnp", "dst", self.host.address], stdout=subprocess.PIPE, text=True, check=True)
        for pid in set(re.findall(r'"ssh",pid=(\d+)', peers.stdout)):
            os.kill(int(pid), signal.SIGKILL)


def rollout(host: Host, options: Mapping[str, Any], *flags: str) -> dict[str, Any]:
    return Call(host, options, *flags).result()


class Watched:
    """A run whose journal is watched by kill_at_line.py; see there for `line` and `when`."""

    def __init__(self, host: Host, options: Mapping[str, Any], line: int | str, when: str, *flags: str) -> None:
        argv = inside(host.name, "python3", "-u", "-c", KILLER.read_text(), str(options["app"]), str(line), when)
        self.watcher = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._said() == "watching"
        self.call = Call(host, options, *flags)

    def _said(self) -> str:
        assert self.watcher.stdout is not None
        return self.watcher.stdout.readline().strip()

    def lines(self) -> list[dict[str, Any]] | None:
        """What the run had written when it came to the line; None where it ended before."""
        said = self._said()
        return list(json.loads(said)["lines"]) if said else None

    def let_go(self) -> None:
        """A run that is held goes on."""
        self.watcher.communicate(timeout=60)


def killed_at(host: Host, options: Mapping[str, Any], line: int | str, when: str = "after") -> dict[str, Any] | None:
    """Run the module and kill -9 it at a line of its journal: as soon as that is written, or see kill_at_line.py.

    The last line it wrote, empty where it wrote none; None where the run ended before.
    """
    run = Watched(host, options, line, when)
    done = run.call.run.result()
    # The watcher ends by itself once the lock has been held and is free again.
    lines = run.lines()
    run.let_go()
    if lines is None:
        return None
    assert done.returncode != 0, done.stdout
    return lines[-1] if lines else {}


def faulted_at(host: Host, options: Mapping[str, Any], line: int | str, command: str) -> dict[str, Any]:
    """What the module returns when root's shell runs a command between a line of the journal and the next one."""
    run = Watched(host, options, line, "hold")
    lines = run.lines()
    assert lines is not None, f"the run ended before its line {line}: {run.call.result()}"
    host.run("sh", "-ec", command)
    run.let_go()
    return run.call.result()


def second(host: Host, tag: str, **options: Any) -> dict[str, Any]:
    """Another app whose services have the names and ports of the demo's."""
    image = "registry.lab:5000/daffathan"
    services = {
        "api": {"image": f"{image}/api:{tag}", "environment": {"PORT": "3001", "PREFIX": "/api"}},
        "ai": {
            "image": f"{image}/ai:{tag}",
            "environment": {"PORT": "3002", "PREFIX": "/ai", "PEER_URL": "http://api:3001/version"},
        },
    }
    host.write(SECOND_COMPOSE, json.dumps({"services": services}))
    times = {"start_timeout": 20, "drain_timeout": 2, "stop_timeout": 5}
    api = {"port": 3001, "routes": ["/api/"], "health": "/health", **times, **options.pop("api", {})}
    return {
        "app": SECOND,
        "compose_file": SECOND_COMPOSE,
        "domains": [SECOND_SITE],
        "services": {"api": api, "ai": {"port": 3002, "routes": ["/ai/"], "health": "/health", **times}},
        **options,
    }


def state_of(host: Host, app: str) -> dict[str, Any]:
    return dict(json.loads(host.run("cat", f"{APPS}/{app}/state.json")))


def journals(host: Host, app: str) -> list[dict[str, Any]]:
    """The lines of all runs."""
    return [json.loads(line) for line in host.run("cat", f"{APPS}/{app}/journal.ndjson").splitlines()]


def journal(host: Host, app: str = APP) -> list[dict[str, Any]]:
    """The lines of the last run."""
    lines = journals(host, app)
    return [line for line in lines if line["run"] == lines[-1]["run"]]


def looks(host: Host) -> list[dict[str, Any]]:
    """What the last run has seen of its canary so far."""
    return [line for line in journal(host) if line["event"] == "look"]


def site(host: Host, tag: str) -> dict[str, Any]:
    """The options of the demo's app. The slow requests of the load take 1.5 s, held connections are ended after 3 s."""
    live = state_of(host, APP)["live"]["id"]
    times = {"start_timeout": 20, "drain_timeout": 3}
    return {
        "app": APP,
        "compose_file": f"/etc/daffathan/apps/{APP}/compose.yml",
        "domains": [SITE],
        "env": {"TAG": tag, "REGISTRY": "registry.lab:5000", "POSTGRES_IMAGE": "registry.lab:5000/postgres:17"},
        "secrets": {"DB_PASSWORD": host.run("cat", f"{APPS}/{APP}/releases/{live}/secrets/api/DB_PASSWORD")},
        "services": {
            "ui": {"port": 3000, "routes": ["/"], "health": "/health", **times},
            "api": {"port": 3001, "routes": ["/api/"], "health": "/health", **times},
            "ai": {"port": 3002, "routes": ["/ai/"], "health": "/health", **times},
        },
    }


def ask(host: Host, domain: str, path: str) -> str:
    """The answer of an app through the gateway's public socket."""
    return host.run(
        *("curl", "--silent", "--show-error", "--fail", "--max-time", "10"),
        *("--unix-socket", f"{SOCKETS}/public/http.sock", f"http://{domain}{path}"),
    )


def containers_of(host: Host, app: str) -> list[dict[str, str]]:
    """Every container with a label of the app: its name, state, Compose project, release and service."""
    label = '{{.Label "%s"}}'
    fields = {"name": "{{.Names}}", "state": "{{.State}}", "project": label % "com.docker.compose.project"}
    fields |= {key: label % f"daffathan.{key}" for key in ("release", "service")}
    out = host.run(
        *("docker", "ps", "--all", "--filter", f"label=daffathan.app={app}", "--format", "\t".join(fields.values()))
    )
    return [dict(zip(fields, line.split("\t"))) for line in out.splitlines()]


def gateway_log(host: Host, since: str) -> list[dict[str, Any]]:
    """What the gateway has logged of the requests of the demo's app since then, however often that was rotated."""
    begin = datetime.fromisoformat(since).timestamp()
    lines = host.run("sh", "-c", f"zcat --force {GATEWAY_LOGS}/access.log*").splitlines()
    entries = [json.loads(line) for line in lines]
    return [entry for entry in entries if entry["app"] == APP and entry["msec"] >= begin]


def wordy(count: int) -> str:
    """The command for so many requests that have 6 kB each in the gateway's log, and next to nothing in the app's."""
    ask = "curl --silent --show-error --fail --max-time 10 --output /dev/null"
    return (
        f"{ask} --user-agent {'x' * 6000} --unix-socket {SOCKETS}/public/http.sock 'http://{SITE}/version?[1-{count}]'"
    )


LOOK = """
cat "$1/$2/state.json"; echo @@
curl --silent --fail --max-time 5 --unix-socket "$4/admin/admin.sock" --header "Host: $2" http://localhost/generation
echo @@
head -n 1 "$3/$2.conf"; echo @@
ls "$1/$2/releases"; echo @@
ls -A "$3/.."; echo @@
docker ps --all --format '{{.Label "com.docker.compose.project"}}'; echo @@
docker inspect --format '{{index .Config.Labels "daffathan.release"}} {{.HostConfig.RestartPolicy.Name}}' $(
    docker ps --quiet --all --filter "label=daffathan.app=$2" --filter label=daffathan.release)
"""


def assert_settled(host: Host, app: str, services: Mapping[str, int]) -> dict[str, Any]:
    """One release live, at most one kept, nothing else left over; `services` has the containers of each service."""
    # One call for all: each costs the best part of a second.
    answer = host.run("sh", "-c", LOOK, "sh", APPS, app, GATEWAY_APPS, SOCKETS).split("@@\n")
    text, generation, head, files, gateway_files, projects, policies = answer
    state = dict(json.loads(text))
    live = state["live"]["id"]
    kept = {live} | ({state["previous"]["id"]} if state["previous"] else set())
    assert (state["phase"], state["candidate"], state["next_route"]) == ("idle", None, None)
    assert generation.split("/")[0] == live
    assert f"release {live} " in head
    assert set(files.split()) == kept
    assert not [name for name in gateway_files.split() if name.endswith("candidate")]
    found = containers_of(host, app)
    released = [container for container in found if container["release"]]
    running = [container for container in released if container["state"] == "running"]
    wanted = sorted(name for name, count in services.items() for _ in range(count))
    assert sorted(entry["service"] for entry in running) == wanted, found
    assert {entry["release"] for entry in running} == {live}, found
    assert {entry["release"] for entry in released} == kept, found
    mine = {project for project in projects.split() if project == app or project.startswith(f"{app}--")}
    assert mine == {entry["project"] for entry in found} <= {app, *(f"{app}--{release}" for release in kept)}
    for line in policies.splitlines():
        release, policy = line.split()
        assert policy == ("unless-stopped" if release == live else "no"), policies
    return state
