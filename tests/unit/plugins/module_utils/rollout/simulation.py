# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host in memory, with a driver that can be killed before and after everything it does."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._backup.model import RecoveryPoint
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import state as states
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import streams
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Counts, Pool
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.driver import Ill, Observed
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import (
    generation,
    releases_of,
    render,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    Release,
    RolloutError,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.routing import app_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.split import Split
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Network, Route, State

NETWORK = Network("labs_private", "10.9.0.0/24", "10.9.0.254")


def pool(requests: int, error_rate: float = 0.0, seconds: float = 0.02) -> Pool:
    """Requests that took so long; so many of them failed."""
    counts = Counts()
    for number in range(requests):
        failed = number < error_rate * requests
        counts.add(error=failed, seconds=seconds)
        counts.at("10.9.0.129", "GET /notes", status=503 if failed else None, seconds=seconds)
    return counts.pool()


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


@dataclass
class Container:
    running: bool = False
    restart: str = "no"
    ready: bool = False
    was_ready: bool = False
    strategy: str = "blue_green"
    port: int | None = 3001
    service: str = ""
    address: str = ""
    # The engine was told to stop it, and does so whether anybody waits for that or not.
    ending: bool = False


def reachable(text: str | None) -> set[str]:
    """The addresses to which the gateway sends requests."""
    return set(re.findall(r"^    server (\S+):\d+ ", text or "", re.MULTILINE))


@dataclass
class World:
    """What survives a kill. `written` is the gateway's file, `loaded` what its workers have."""

    state: str | None = None
    # By release and service; further replicas have a number behind the name of the service.
    containers: dict[tuple[str, str], Container] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    written: str | None = None
    loaded: str | None = None
    gateway_up: bool = True
    network: Network | None = NETWORK
    # Addresses that old workers may still send requests to.
    in_flight: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    # Containers of one-shots by release and name, with their exit status, or None while they run.
    jobs: dict[tuple[str, str], int | None] = field(default_factory=dict)
    # What one-shots did: every end that was good, in order.
    done: list[tuple[str, str]] = field(default_factory=list)
    schema: int = 0
    # Recovery points by their ids, with the schema that is in them.
    points: dict[str, int] = field(default_factory=dict)
    repository_up: bool = True
    # What is said of a release that is watched, look by look, and what each answered after the switch and before.
    complaints: list[str | None] = field(default_factory=list)
    answered: Mapping[str, Pool] = field(default_factory=dict)
    answered_before: Mapping[str, Pool] = field(default_factory=dict)
    # Seconds since the test began, and by how many the clock was set forward.
    time: float = 0
    clock_set: float = 0
    # Parts of releases that are stopped later.
    timers: dict[str, Release] = field(default_factory=dict)
    # How far a migration takes the schema; 0 where a release brings none.
    steps_of_schema: int = 1
    # The schema as a migration that fails leaves it; None where it changes nothing.
    schema_of_failure: int | None = None
    # What part of the users the gateway was told to send to a canary, in the order it was told.
    shares: list[tuple[str, int]] = field(default_factory=list)

    def of(self, release: str) -> dict[str, Container]:
        """The containers of a release by service."""
        return {service: container for (name, service), container in self.containers.items() if name == release}

    def check(self) -> None:
        """I1-I3 at every instant: what is reachable runs and has been ready. Some things never run twice."""
        found = {container.address: container for container in self.containers.values()}
        for address in reachable(self.loaded) | self.in_flight:
            container = found.get(address)
            if container is not None and container.strategy == "stop_first":
                continue
            if container is None or not container.running:
                self.broken.append(f"{address} is reachable and does not run")
            elif not container.was_ready:
                self.broken.append(f"{address} is reachable and never was ready")
        alone = [key for key, one in self.containers.items() if one.running and one.strategy == "stop_first"]
        if len(alone) > len({service for _, service in alone}):
            self.broken.append(f"{alone} run at the same time")

    def end(self, release: Release, job: str) -> None:
        """A one-shot ends, whether anybody waits for it or not."""
        good = release.jobs[job].digest == "sha256:good"
        self.jobs[release.id, job] = 0 if good else 3
        if good:
            self.done.append((release.hash, job))
            self.schema += {"migrate.command": self.steps_of_schema, "migrate.rollback": -1}.get(job, 0)
        elif job == "migrate.command" and self.schema_of_failure is not None:
            self.schema = self.schema_of_failure

    def fire(self) -> None:
        """What goes on by itself happens now: timers go off, and what is ending ends."""
        for container in self.containers.values():
            if container.ending:
                container.running = container.ending = False
        for part in self.timers.values():
            for container in self.of(part.id).values():
                if container.address in part.addresses:
                    container.running = False
        self.timers = {}
        self.check()

    def reboot(self) -> None:
        self.timers = {}
        self.jobs = {key: 137 if status is None else status for key, status in self.jobs.items()}
        for container in self.containers.values():
            container.running, container.ending = container.restart == "unless-stopped", False
        self.loaded = self.written
        self.in_flight = set()
        self.check()


class Driver:
    """Implements the protocol over a World; dies at step `kill_at` of its side effects (before, or after it)."""

    def __init__(
        self, world: World, kill_at: int | None = None, fail: str | None = None, fire_at: int | None = None
    ) -> None:
        """:param fire_at: the step at which timers go off and stops that were begun have come to their end"""
        self.world = world
        self.kill_at = kill_at
        self.fail = fail
        self.fire_at = fire_at
        self.steps = 0
        # Requests per second of each release, and what part of them fails.
        self.rps = 10.0
        self.error_rate: dict[str, float] = {}
        # Configurations that the gateway was asked to test, and that it loaded without having been asked before.
        self.tested: set[str] = set()
        self.untested: list[str] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=self.world.time + self.world.clock_set)

    def elapsed(self) -> float:
        return self.world.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0, "waiting for nothing would never end"
        self.effect("sleep")
        self.world.time += seconds

    def effect(self, name: str) -> None:
        """Called right before and right after each side effect."""
        self.world.check()
        self.steps += 1
        if self.fire_at == self.steps:
            self.world.fire()
        if self.kill_at == self.steps:
            raise Killed(name)
        if self.fail == name:
            self.fail = None
            raise RolloutError(f"{name} fails on purpose")

    def inventory(self) -> Mapping[str, Observed]:
        found = {}
        for name in {release for release, _ in self.world.containers}:
            containers = self.world.of(name).values()
            running = [container for container in containers if container.running]
            found[name] = Observed(len(containers), len(running), sum(container.ready for container in running))
        return found

    def release_files(self) -> Collection[str]:
        return sorted(self.world.files)

    def load(self) -> State:
        return states.loads("labs", self.world.state)

    def save(self, state: State) -> None:
        self.effect("save")
        self.world.state = state.dumps()
        self.effect("saved")

    def loaded_generation(self) -> str | None:
        return generation(self.world.loaded) if self.world.gateway_up else None

    def written_generation(self) -> str | None:
        return generation(self.world.written)

    def check_gateway(self) -> None:
        if not self.world.gateway_up:
            raise RolloutError("gateway: the container does not run")

    def prepare(self) -> Network:
        return NETWORK

    def fetch(self, references: Collection[str]) -> list[str]:
        return []

    def apply_base(self) -> None:
        self.effect("base")

    def remove_base(self) -> None:
        self.effect("remove_base")

    def erase(self) -> None:
        self.effect("erase")
        self.world.state = None

    def stage(self, release: Release) -> None:
        self.effect("stage")
        self.world.files.add(release.id)
        self.effect("files")

    def of(self, part: Release) -> list[Container]:
        return [one for one in self.world.of(part.id).values() if one.address in part.addresses]

    def start(self, release: Release) -> None:
        assert not release.services or release.id in self.world.files
        for name, service in release.services.items():
            for address in service.addresses:
                self.effect("start")
                others = [one for one in self.of_all(release) if one.service == name and one.address != address]
                number = len(others) + 1
                container = Container(True, strategy=service.strategy, port=service.port, service=name, address=address)
                self.world.containers[release.id, name if number == 1 else f"{name}-{number}"] = container
                self.effect("started")

    def of_all(self, release: Release) -> list[Container]:
        return list(self.world.of(release.id).values())

    def run(self, release: Release, job: str, version: str = "") -> str:
        assert release.id in self.world.files
        self.effect(f"run {job}")
        if (release.id, job) not in self.world.jobs:
            self.world.jobs[release.id, job] = None
            self.effect("begun")
        if self.world.jobs[release.id, job] is None:
            self.world.end(release, job)
            self.effect("ended")
        if self.world.jobs[release.id, job] != 0:
            raise RolloutError(f"{job} of {release.id} fails")
        return str(self.world.schema)

    def make_point(self, release: Release) -> RecoveryPoint:
        self.effect("point")
        if not self.world.repository_up:
            raise RolloutError("the repository gave no answer")
        name = f"p{len(self.world.points) + 1}"
        self.world.points[name] = self.world.schema
        self.effect("pointed")
        return RecoveryPoint(name, "labs", "2026-01-01T00:00:00Z", 9, ("labs",), 0.5, "before-migration", release.id)

    def begun(self, release: Release) -> Collection[str]:
        return [job for name, job in self.world.jobs if name == release.id]

    def discard(self, release: Release, jobs: Collection[str]) -> None:
        self.effect("discard")
        self.world.jobs = {k: v for k, v in self.world.jobs.items() if k[0] != release.id or k[1] not in jobs}

    def resume(self, release: Release) -> None:
        self.effect("resume")
        for container in self.of(release):
            if container.running:
                continue
            container.restart = "no"
            self.effect("resume policy")
            container.running = True
            self.effect("resumed")

    def ready(self, release: Release) -> None:
        self.effect("ready")
        found = self.of(release)
        if len(found) < len(release.addresses):
            raise RolloutError(f"{release.id} is not complete")
        for container in found:
            if not container.running or release.services[container.service].digest == "sha256:ill":
                raise RolloutError(f"{container.service} of {release.id} does not get ready")
            container.ready = container.was_ready = True

    def keep(self, release: Release, always: bool) -> None:
        self.effect("keep")
        for container in self.of(release):
            container.restart = "unless-stopped" if always else "no"
            if always and not container.running:
                raise RolloutError(f"{container.service} of {release.id} has ended")
        self.effect("kept")

    def rehearse(self, release: Release, route: Route, split: Split | None = None) -> None:
        self.tested.add(render(app_of("labs", route, release), release, NETWORK.gateway, split))
        self.effect("rehearse")

    def shift(self, release: Release, route: Route, split: Split | None = None) -> str:
        text = render(app_of("labs", route, release), release, NETWORK.gateway, split)
        if split is not None:
            self.world.shares.append((split.candidate.id, split.weight))
        if text not in self.tested:
            self.untested.append(text)
        self.effect("test")
        self._load(text)
        return str(generation(text))

    def put_back(self, release: Release | None, route: Route | None) -> None:
        text = None
        if release is not None and route is not None:
            text = render(app_of("labs", route, release), release, NETWORK.gateway)
        if self.world.gateway_up:
            self._load(text)
            self.fence(generation(text))
        else:
            self.effect("write")
            self.world.written = text

    def forget(self) -> None:
        self._load(None)

    def _load(self, text: str | None) -> None:
        self.effect("write")
        self.check_gateway()
        # Two files, of which the one for HTTP is the last.
        http, tcp = streams.divide(self.world.written or "")[0], streams.divide(text or "")[1]
        self.world.written = streams.unite(http or None, tcp or None)
        self.effect("half written")
        self.world.written = text
        self.effect("written")
        # One that has ended meanwhile loads it when it starts.
        if self.world.gateway_up:
            self.world.in_flight |= reachable(self.world.loaded) - reachable(text)
            self.world.loaded = text
        self.effect("loaded")

    def fence(self, generation: str | None) -> None:
        self.effect("fence")

    def traffic(self, since: datetime, until: datetime | None = None, *, drawn: bool = True) -> Mapping[str, Pool]:
        self.effect("traffic")
        if not drawn:
            return self.world.answered if until is None else self.world.answered_before
        seconds = (self.now() - since).total_seconds()
        rates = {name: self.error_rate.get(name, 0.0) for name in releases_of(generation(self.world.loaded))}
        return {name: pool(round(seconds * self.rps), rate) for name, rate in rates.items()}

    def settle_switch(self) -> None:
        pass

    def drain(self, release: Release) -> Mapping[str, Any]:
        self.effect("drain")
        self.world.in_flight -= release.addresses
        return {"by": "workers", "ms": 1, "open": 0, "forced": False}

    def unwell(self, release: Release) -> Ill | None:
        self.effect("look")
        if not all(container.running for container in self.of(release)):
            raise RolloutError(f"{release.id} ended")
        why = self.world.complaints.pop(0) if self.world.complaints else None
        return Ill("api", why) if why is not None else None

    def words(self, release: Release) -> str:
        return f"\nLast lines of {', '.join(sorted(release.services))}"

    def stop(self, release: Release) -> None:
        self.effect("stop")
        self._stop(self.of(release))

    def finish_stop(self, release: Release) -> None:
        self._stop([container for container in self.of(release) if container.running and container.restart == "no"])

    def _stop(self, containers: list[Container]) -> None:
        for container in containers:
            container.ending = container.running
            self.effect("stopping")
            container.running = container.ending = False
            self.effect("stopped")

    def stop_later(self, release: Release, seconds: int) -> None:
        self.effect("stop later")
        self.world.timers[release.id] = release

    def cancel_stop(self, release: Release) -> None:
        self.effect("cancel")
        self.world.timers.pop(release.id, None)

    def remove(self, release_id: str) -> None:
        self.effect("remove")
        for name, container in self.world.of(release_id).items():
            if container.running and container.was_ready:
                self.world.broken.append(f"{name} of {release_id} was removed at its work")
            del self.world.containers[release_id, name]
            self.effect("removed")
        self.world.jobs = {key: value for key, value in self.world.jobs.items() if key[0] != release_id}
        self.world.files.discard(release_id)
        self.effect("files removed")
