# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The rollout's driver for Docker Compose on one host."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._backup.command import make_point
from ansible_collections.daffathan.platform.plugins.module_utils._backup.model import (
    BackupError,
    RecoveryPoint,
    Request,
)
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import read_text, write_atomic
from ansible_collections.daffathan.platform.plugins.module_utils._docker import (
    app_files,
    drain,
    probe,
    staging,
    stop_timer,
)
from ansible_collections.daffathan.platform.plugins.module_utils._docker.app_files import (
    app_directory,
    read_key,
    read_state,
)
from ansible_collections.daffathan.platform.plugins.module_utils._docker.containers import Containers
from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import (
    Engine,
    EngineError,
    compose,
)
from ansible_collections.daffathan.platform.plugins.module_utils._docker.log_files import LogFiles
from ansible_collections.daffathan.platform.plugins.module_utils._docker.network import PrivateNetwork
from ansible_collections.daffathan.platform.plugins.module_utils._docker.nginx import Gateway
from ansible_collections.daffathan.platform.plugins.module_utils._docker.process import Process
from ansible_collections.daffathan.platform.plugins.module_utils._docker.staging import Work
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import compose as model_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Pool
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.driver import Ill, Observed
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import generation, render
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    LABEL,
    SCHEMA_PLACE,
    TCP,
    Release,
    RolloutError,
    project_name,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.phases import utc_now
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.progress import Tell, silent
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.room import Room
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.routing import app_of, served
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.split import Split
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Network, Route, State
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.traffic import Traffic

BASE_TIMEOUT = 600


class ComposeDriver:
    """See the protocol Driver for what the verbs mean. `work` is needed by the verbs that make something new."""

    def __init__(self, engine: Engine, app: str, work: Work | None = None) -> None:
        self.engine = engine
        self.app = app
        self.work = work
        # Open in what a run starts and may outlive it: the lock of the app is free only when that has ended as well.
        self.held: tuple[int, ...] = ()
        self.gateway = Gateway(engine, app)
        self.network = PrivateNetwork(engine, app)
        self.containers = Containers(engine, app, self.network)
        self.directory = app_directory(app)
        self._old_workers: list[Process] = []
        # When they stopped to accept.
        self._fenced: float | None = None
        self._traffic: LogFiles[Traffic] | None = None
        # Told of what is waited for.
        self.tell: Tell = silent

    # State

    def load(self) -> State:
        return read_state(self.app)

    def save(self, state: State) -> None:
        write_atomic(f"{self.directory}/state.json", state.dumps(), mode=0o600)

    def erase(self) -> None:
        app_files.erase(self.app)

    def remains(self) -> bool:
        """Whether there is anything of the app, which a run may have left that was killed before it noted it."""
        return os.path.isdir(self.directory) or self.network.exists()

    # What there is

    def inventory(self) -> Mapping[str, Observed]:
        return self.containers.inventory()

    def release_files(self) -> Collection[str]:
        with contextlib.suppress(FileNotFoundError):
            return os.listdir(f"{self.directory}/releases")
        return []

    def loaded_generation(self) -> str | None:
        return self.gateway.loaded_generation()

    def written_generation(self) -> str | None:
        return self.gateway.written_generation()

    def check_gateway(self) -> None:
        self.gateway.container(patience=0)

    def check_base(self) -> None:
        """Raise where the gateway could run and yet not be told of a release."""
        self.gateway.check_base(tcp=self.work is not None and bool(self.work.app.speaking(TCP)))

    def settle(self) -> None:
        """What a run that was killed still wants of the gateway must not come true behind the back of this one."""
        self.gateway.settle()

    def room(self) -> Room:
        """What is free where images and containers are kept, and in memory."""
        disk = os.statvfs(self.engine.data_directory())
        free = [line.split() for line in (read_text("/proc/meminfo") or "").splitlines() if "MemAvailable" in line]
        # The kernel counts in units of 1024 bytes.
        return Room(disk=disk.f_bavail * disk.f_frsize, memory=int(free[0][1]) * 1024 if free else None)

    # Network and base

    def prepare(self) -> Network:
        work = self._work()
        found = self.network.make()
        state = self.load()
        # The release that serves until the switch, and what the base was made with, go on calling the names they know.
        old = served(state.route) if state.route is not None else []
        self.network.attach(self.gateway.container(), found, {*work.app.served, *old})
        for volume in model_of.release_volumes(work.parts):
            labels = {"com.docker.compose.project": self.app, "com.docker.compose.volume": volume.key}
            self.engine.ensure_volume(volume.name, volume.driver, volume.options, labels)
        if state.network != found:
            self.save(replace(state, network=found))
        return found

    def apply_base(self) -> None:
        work = self._work()
        base = self.base_document(work)
        if base is None:
            return
        staging.write_secrets(self.engine, work, work.parts.base, work.base_images, f"{self.directory}/secrets")
        staging.write_configs(base, work.parts.configs)
        write_atomic(self._base(), json.dumps(base, indent=1), mode=0o600)
        how = ("--detach", "--wait", "--wait-timeout", str(BASE_TIMEOUT), "--no-build", "--quiet-pull")
        try:
            self._compose(self.app, self._base(), "up", *how, timeout=BASE_TIMEOUT + 60)
        except EngineError as error:
            words = self.containers.last_words(self.engine.containers([f"{LABEL}.app={self.app}", f"{LABEL}.base"]))
            raise RolloutError(f"base services of {self.app} did not get healthy: {error}{words}") from error

    def base_document(self, work: Work) -> model_of.Model | None:
        before = json.loads(read_text(self._base()) or "{}")
        return model_of.base_model(work.app, work.parts, work.base_images, self.directory, read_key(self.app), before)

    def _base(self) -> str:
        return f"{self.directory}/base.json"

    def remove_base(self) -> None:
        if os.path.exists(self._base()):
            self._compose(self.app, self._base(), "down", "--remove-orphans", timeout=300)
        self.engine.remove_readers(self.app)
        self.network.remove()

    def _work(self) -> Work:
        if self.work is None:
            raise RuntimeError("this verb needs the app's compose file")
        return self.work

    # Releases

    def fetch(self, references: Collection[str]) -> list[str]:
        return self.engine.pull(references)

    def stage(self, release: Release) -> None:
        staging.stage(self.engine, self._work(), release, self._directory(release))

    def _directory(self, release: Release) -> str:
        return f"{self.directory}/releases/{release.id}"

    def _document(self, release: Release) -> str:
        return f"{self._directory(release)}/{staging.DOCUMENT}"

    def _up(self, release: Release, services: Collection[str]) -> None:
        how = ("--detach", "--no-build", "--pull", "never")
        project = project_name(self.app, release.id)
        self._compose(project, self._document(release), "up", *how, *services, timeout=300)

    def _compose(self, project: str, document: str, *arguments: str, timeout: float) -> None:
        """What was begun before the engine was restarted is gone on with: `up` and `down` may be asked for twice."""
        call = ("--project-name", project, "--file", document, *arguments)
        try:
            compose(*call, timeout=timeout, pass_fds=self.held)
        except EngineError:
            if not self.engine.came_back():
                raise
            compose(*call, timeout=timeout, pass_fds=self.held)

    def start(self, release: Release) -> None:
        if not release.services:
            return
        document = json.loads(read_text(self._document(release)) or "{}")
        try:
            self._up(release, model_of.services_of(document, release))
        except EngineError as error:
            words = self.containers.last_words(self.containers.of(release))
            raise RolloutError(f"release {release.id} cannot be started: {error}{words}") from error

    def run(self, release: Release, job: str, version: str = "") -> str:
        asked = release.jobs[job]
        container = self.containers.jobs_of(release).get(job)
        # A run that was killed in between may have made the container and not started it.
        if container is None or container.status == "created":
            path, name = self._document(release), model_of.job_service(job, release)
            document = json.loads(read_text(path) or "{}")
            if asked.command is not None:
                words = document["services"][name]["command"]
                document["services"][name]["command"] = [word.replace(SCHEMA_PLACE, version) for word in words]
                write_atomic(path, json.dumps(document, indent=1), mode=0o600)
            try:
                self._up(release, [name])
            except EngineError as error:
                raise RolloutError(f"{job}: its container cannot be started: {error}") from error
            container = self.containers.jobs_of(release)[job]
        return probe.wait_ended(self.engine, container, job, asked.timeout, self.tell)

    def make_point(self, release: Release) -> RecoveryPoint:
        try:
            return make_point(Request(self.app, "before-migration", release.id))
        except BackupError as error:
            raise RolloutError(
                f"migrate.recovery_point: {error} The migration was not begun, and the schema is as it was."
            ) from error

    def begun(self, release: Release) -> Collection[str]:
        return [name for name, container in self.containers.jobs_of(release).items() if container.status != "created"]

    def discard(self, release: Release, jobs: Collection[str]) -> None:
        containers = [container for name, container in self.containers.jobs_of(release).items() if name in jobs]
        self.engine.each(containers, "remove", force=True, v=True)

    def resume(self, release: Release) -> None:
        self.containers.resume(release)

    def ready(self, release: Release) -> None:
        probe.wait_ready(self.engine, self.containers.complete(release), release, self._host(), self.tell)

    def _host(self) -> str | None:
        """The name under which a service is asked for its health."""
        route = self.load().next_route
        return route.domains[0] if route is not None and route.domains else None

    def keep(self, release: Release, always: bool) -> None:
        self.containers.keep(release, always)

    def rehearse(self, release: Release, route: Route, split: Split | None = None) -> None:
        self.gateway.test_candidate(self._configuration(release, route, split))

    def shift(self, release: Release, route: Route, split: Split | None = None) -> str:
        text = self._configuration(release, route, split)
        self._old_workers = self.gateway.load(text)
        return str(generation(text))

    def _configuration(self, release: Release, route: Route, split: Split | None = None) -> str:
        network = self.load().network
        if network is None:
            raise RolloutError(f"state.json of {self.app} names no network. Deploy the app again.")
        return render(app_of(self.app, route, release), release, network.gateway, split)

    def put_back(self, release: Release | None, route: Route | None) -> None:
        text = self._configuration(release, route) if release is not None and route is not None else None
        workers = self.gateway.put_back(text)
        self._old_workers = workers or []
        if workers is not None:
            self.fence(generation(text))

    def forget(self) -> None:
        self._old_workers = self.gateway.load(None)

    def fence(self, generation: str | None) -> None:
        self.gateway.fence(generation)
        self._fenced = time.monotonic()

    def settle_switch(self) -> None:
        if self._fenced is not None:
            drain.settle(self._old_workers, self._fenced)

    def traffic(self, since: datetime, until: datetime | None = None, *, drawn: bool = True) -> Mapping[str, Pool]:
        asked = (since, until, drawn)
        if self._traffic is None or asked != self._traffic.reader.asked:
            if self._traffic is not None:
                self._traffic.close()
            self._traffic = LogFiles(Traffic(self.app, *asked))
        return self._traffic.read(utc_now).pools()

    def drain(self, release: Release) -> Mapping[str, Any]:
        network = self.load().network
        names = {network.gateway: "the gateway"} if network is not None else {}
        containers, workers = self.containers.of(release), self._old_workers
        return drain.wait_drained(containers, release, workers, names, self.tell, self._fenced)

    def unwell(self, release: Release) -> Ill | None:
        return probe.unwell(self.engine, self.containers.complete(release), release, self._host())

    def words(self, release: Release) -> str:
        return self.containers.words(release)

    def stop(self, release: Release) -> None:
        self.containers.stop(release)

    def finish_stop(self, release: Release) -> None:
        self.containers.finish_stop(release)

    def stop_later(self, release: Release, seconds: int) -> None:
        self.cancel_stop(release)
        names = [container.name for container in self.containers.of(release)]
        if names:
            patience = max(service.stop_timeout for service in release.services.values())
            stop_timer.begin(project_name(self.app, release.id), names, seconds, patience)

    def cancel_stop(self, release: Release) -> None:
        if stop_timer.cancel(project_name(self.app, release.id)):
            # A container that is about to end must not be taken for one that runs.
            self.stop(release)

    def remove(self, release_id: str) -> None:
        containers = self.containers.all_of(release_id)
        images = {container.attrs["Config"]["Image"] for container in containers}
        directory = f"{self.directory}/releases/{release_id}"
        files = read_text(f"{directory}/meta.json")
        if files is not None:
            # The containers of its jobs are gone since long.
            images |= _images(Release.from_json(json.loads(files)))
        self.engine.each(containers, "remove", force=True, v=True)
        self.engine.remove_readers(self.app)
        state = self.load()
        others = [release for release in (*state.kept, state.candidate) if release is not None]
        kept = set().union(*(_images(release) for release in others if release.id != release_id))
        for image in sorted(images - kept - set((state.base_images or {}).values())):
            self.engine.remove_image(image)
        # Last: by its files a release is found again that was removed in part.
        shutil.rmtree(directory, ignore_errors=True)


def _images(release: Release) -> set[str]:
    return {model_of.pinned_reference(*image) for image in release.images.values()}
