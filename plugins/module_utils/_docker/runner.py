# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""One call of the module compose_rollout: read, plan, apply. Nothing in here knows Ansible."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._backup.command import lacking_here
from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import FileLock, LockTimeout
from ansible_collections.daffathan.platform.plugins.module_utils._docker import app_files, compose_file
from ansible_collections.daffathan.platform.plugins.module_utils._docker.compose_driver import ComposeDriver, Work
from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import (
    SDK_ERRORS,
    Engine,
    EngineError,
    normalise,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import compose as model_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import describe, lifecycle, plan, routing
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import parse_bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import Canary, parse_canary
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.configs import read_configs
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.journal import Journal
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    LIMITS,
    MIGRATE,
    App,
    InputError,
    Job,
    Release,
    ReleasedService,
    RolloutError,
    canonical_hash,
    choose_addresses,
    gateway_address,
    other_colour,
    release_id,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import (
    parse_app,
    parse_app_name,
    parse_number,
    parse_release_id,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parts import Parts, filled, split
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.phases import Rollout, utc_now
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.ports import check_ports
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.progress import Progress, progress_path
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.room import MIB, Room, check_room, explain
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Route, State


@dataclass
class Outcome:
    """What the module returns."""

    changed: bool = False
    operations: list[plan.Operation] = field(default_factory=list)
    diff: dict[str, str] = field(default_factory=dict)
    state: State | None = None
    timings: dict[str, int] = field(default_factory=dict)
    drained: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


ENGINE_FAILURES: tuple[type[Exception], ...] = (CommandError, OSError, *SDK_ERRORS)


class Runner:
    """`apply` False plans only: nothing is pulled, written or started."""

    def __init__(self, options: Mapping[str, Any], *, apply: bool) -> None:
        self.options = options
        self.apply = apply
        self.outcome = Outcome()
        # One instant per run: the release that is planned and the one that is made have the same id.
        self.now = utc_now()
        self.name = parse_app_name(str(options["app"]))
        self.keep = parse_number("keep_releases", options.get("keep_releases", 2), 2, 20)
        self.keep_warm = parse_number("keep_warm", options.get("keep_warm", 0), 0, 86400)
        self.bake = parse_bake(options.get("bake"))
        self.least = Room(
            disk=MIB * parse_number("min_free_disk", options.get("min_free_disk", 1024), 0, 10**9),
            memory=MIB * parse_number("min_free_memory", options.get("min_free_memory", 64), 0, 10**9),
        )
        self.canary: Canary | None = None
        self.point = False
        self.engine: Engine | None = None

    def redact(self, text: str) -> str:
        """What a container printed may hold a secret, one of this call or one of a release before."""
        values = {str(value) for value in (self.options.get("secrets") or {}).values()}
        values |= app_files.stored_secrets(self.name)
        # A key of many lines may be there in part.
        hidden = {part for value in values for part in (value, *value.splitlines()) if len(part) > 3}
        for value in sorted(hidden, key=len, reverse=True):
            text = text.replace(value, "********")
        return text

    def run(self) -> Outcome:
        state = self.options["state"]
        app = parse_app(self.options) if state in ("present", "prepared") else None
        self.canary = parse_canary(self.options.get("canary"), app) if app is not None else None
        wanted = parse_release_id(self.options["release"]) if self.options.get("release") else None
        if app is not None and self.options.get("compose_file") and not os.path.isfile(self.options["compose_file"]):
            raise InputError(f"compose_file: there is no file {self.options['compose_file']} on the host.")
        try:
            return self._run(state, app, wanted)
        except PermissionError as error:
            raise RolloutError(f"app {self.name}: {error}. A rollout needs root: set `become: true`.") from error
        except ENGINE_FAILURES as error:
            text = self._with_cause(
                f"app {self.name}: {explain(error)}. The next run finishes or undoes what was begun."
            )
            raise RolloutError(text) from error
        except InputError:
            raise
        except RolloutError as error:
            text = self._with_cause(str(error))
            if text == str(error):
                raise
            raise RolloutError(text) from error

    def _with_cause(self, text: str) -> str:
        """An engine that was restarted explains much that goes wrong."""
        if self.engine is None or not (self.engine.came_back() or self.engine.restarts):
            return text
        return (
            f"{text}\nThe Docker engine was restarted meanwhile. Without `live-restore`, which role "
            "daffathan.platform.docker sets, that stops all containers. Run the same command again."
        )

    def _run(self, state: str, app: App | None, wanted: str | None) -> Outcome:
        self.engine = Engine()
        driver = ComposeDriver(self.engine, self.name)
        if not self.apply:
            self._act(driver, state, app, wanted)
            return self.outcome
        directory = app_files.app_directory(self.name)
        existed = os.path.isdir(directory)
        if state == "absent" and not existed:
            return self.outcome
        os.makedirs(directory, mode=0o700, exist_ok=True)
        try:
            path = f"{directory}/lock"
            with FileLock(path, timeout=self.options["lock_timeout"], holder=self._holder(state)) as lock:
                driver.held = (lock.descriptor,)
                self._act(driver, state, app, wanted)
        except LockTimeout as error:
            raise RolloutError(
                f"another rollout of {self.name} runs ({error}). Wait for it, or raise `lock_timeout`."
            ) from error
        return self.outcome

    def _holder(self, state: str) -> str:
        by = os.environ.get("SUDO_USER") or "root"
        return f"process {os.getpid()} (`state: {state}`, begun by {by} at {self.now.isoformat(timespec='seconds')})"

    def _act(self, driver: ComposeDriver, state: str, app: App | None, wanted: str | None) -> None:
        progress = Progress(progress_path(self.name) if self.apply else None, redact=self.redact)
        driver.tell = progress.waits
        path = f"{driver.directory}/journal.ndjson" if self.apply else None
        journal = Journal(path, redact=self.redact, progress=progress)
        if self.apply:
            driver.settle()
        rollout = Rollout(driver, journal, keep=self.keep if app is not None else None, keep_warm=self.keep_warm)
        self.outcome.timings = journal.timings
        try:
            if app is not None:
                self._present(driver, rollout, app, hold=state == "prepared")
            elif state == "rolled_back":
                self._rolled_back(driver, rollout, wanted)
            elif state in ("promoted", "aborted"):
                self._judged(driver, rollout, state, wanted)
            elif state in ("switched", "finalized"):
                self._held(driver, rollout, state, wanted)
            else:
                self._absent(driver, rollout)
        finally:
            progress.close()
            # What happened is known without its times.
            with contextlib.suppress(OSError, RolloutError):
                if self.apply:
                    rollout.note_times()
            self.outcome.drained = rollout.context.drained
            self.outcome.warnings += rollout.context.warnings
            if journal.lost is not None:
                self.outcome.warnings.append(f"journal: lines are missing: {journal.lost}")
        self.outcome.changed = bool(self.outcome.operations)

    # present, prepared

    def _present(self, driver: ComposeDriver, rollout: Rollout, app: App, *, hold: bool) -> None:
        model, warnings = normalise(self.options["compose_file"], app.name, app.env)
        self.outcome.warnings += warnings
        app = parse_app(filled(self.options, model))
        parts = split(model, app)
        # A dry run does without the files that are not sent yet.
        missing = None if self.apply else b""
        parts = replace(parts, configs=read_configs(parts.model, app, lambda path: compose_file.read(path, missing)))
        compose_file.check_names(driver.engine, app.name, parts)
        states = self._states()
        routing.check_other_apps(app, states)
        check_ports(app, states)
        current = self._look(driver, rollout, app)
        state = current.state
        digests = self._digests(driver.engine, parts, state)
        images = model_of.pin_all(parts.images, digests, sorted(parts.swapped))
        base_images = model_of.pin_all(parts.images, digests, sorted(parts.base))
        key = app_files.create_key(app.name) if self.apply else app_files.read_key(app.name)
        work = Work(app, parts, base_images)
        driver.work = work
        base = driver.base_document(work)
        desired = plan.Desired(
            app=app,
            release_hash=model_of.release_hash(app, parts, images, key),
            base_hash=canonical_hash(base) if base is not None else None,
            images=images,
            base_images=base_images,
            canary=self.canary,
            keep=self.keep,
        )
        current = replace(current, base_running=base is None or driver.base_running(base["services"]))
        operations = plan.plan_present(current, desired, hold=hold)
        kinds = {operation.kind for operation in operations}
        if kinds & {"release", "base"}:
            check_room(driver.room(), self.least, model_of.reserved_memory(app, parts) if "release" in kinds else 0)
        if "release" in kinds:
            self.point = self._wants_point(desired, state)
            subnet = state.network.subnet if state.network else None
            planned: Release | None = self._candidate(driver, desired, parts, digests, subnet)
        elif state.candidate is not None and not kinds & {"abort", "recover"}:
            planned = state.candidate
        else:
            planned = state.live
        self._note(state, operations, planned, routing.route_of(app), base_images)
        if not self.apply or not operations:
            return
        driver.check_gateway()
        if "abort" in kinds:
            state = rollout.abort()
        if "release" in kinds:
            rollout.fetch([*images.values(), *base_images.values()])
        elif "base" in kinds:
            rollout.fetch(list(base_images.values()))
        network = driver.prepare()
        if "base" in kinds:
            references = {parts.images[name]: digests[parts.images[name]] for name in parts.base}
            state = rollout.apply_base(desired.base_hash, base_images, references)
        if "release" in kinds:
            candidate = self._candidate(driver, desired, parts, digests, network.subnet)
            canary = plan.canary_for(current, desired)
            state = rollout.deploy(candidate, routing.route_of(app), self.bake, canary, hold=hold)
        elif "canary" in kinds:
            state = rollout.go_on()
        elif "route" in kinds:
            state = rollout.reroute(routing.route_of(app))
        if "switch" in kinds:
            rollout.switch()
        if "finalize" in kinds:
            state = rollout.finalize()
        if "contract" in kinds:
            state = rollout.jobs.contract(driver.load())
        if "prune" in kinds:
            state = rollout.prune()
        self.outcome.state = state

    def _note(
        self,
        state: State,
        operations: list[plan.Operation],
        release: Release | None,
        route: Route | None,
        base: Mapping[str, str],
    ) -> None:
        """What is to be done, for the result and its diff; `release` and `route` are those that come of it."""
        self.outcome.operations += operations
        self.outcome.diff = describe.describe(state, self.outcome.operations, release=release, route=route, base=base)
        self.outcome.state = state

    def _note_step(self, state: State, operations: list[plan.Operation], *, ahead: bool) -> None:
        """The same for a candidate that is there; `ahead` tells whether it goes on."""
        release, route = (state.candidate, state.next_route) if ahead else (state.live, state.route)
        self._note(state, operations, release, route, state.base_images or {})

    def _states(self) -> dict[str, State]:
        return {name: app_files.read_state(name) for name in app_files.known_apps()}

    def _wants_point(self, desired: plan.Desired, state: State) -> bool:
        """Whether a recovery point comes before the migration: where it is asked for, or can be had."""
        wanted = next((job.recovery_point for job in desired.app.jobs if job.name == MIGRATE), False)
        progress = state.progress.get(desired.release_hash)
        if wanted is False or (progress is not None and MIGRATE in progress.done):
            return False
        why = lacking_here(self.name)
        if why is not None and wanted:
            problem = f"migrate.recovery_point: true, but {why}"
            if self.apply:
                raise InputError(problem)
            # A real run of a whole playbook may set them up before this task.
            self.outcome.warnings.append(problem)
        return why is None or wanted is True

    def _look(self, driver: ComposeDriver, rollout: Rollout, app: App | None) -> plan.Current:
        """What is there, once the traces of an interrupted run are dealt with; a dry run leaves them."""
        found = driver.load()
        if not self.apply:
            return self._current(driver, rollout, found, app)
        if lifecycle.interrupted(found):
            self.outcome.operations.append(
                plan.Operation("recover", f"the run before was interrupted in phase {found.phase}: finished or undone")
            )
        state = rollout.recover()
        # A removal that was finished just now took the directory with it.
        os.makedirs(driver.directory, mode=0o700, exist_ok=True)
        return self._current(driver, rollout, state, app)

    def _current(self, driver: ComposeDriver, rollout: Rollout, state: State, app: App | None) -> plan.Current:
        lost = False
        if app is not None and state.network is not None:
            lost = not driver.network.attached(state.network, app.served)
        return plan.Current(
            state,
            driver.inventory(),
            driver.written_generation(),
            driver.loaded_generation(),
            gateway_lost=lost,
            orphans=tuple(rollout.orphans(state)),
        )

    def _digests(self, engine: Engine, parts: Parts, state: State) -> dict[str, str]:
        """The content each reference of an image stands for now."""
        kept = dict(state.base_references or {})
        swapped = {parts.images[name] for name in parts.swapped}
        digests: dict[str, str] = {}
        for reference in sorted(set(parts.images.values())):
            if "@" in reference:
                digests[reference] = reference.split("@", 1)[1]
            elif reference in kept and reference not in swapped:
                # A database is not restarted because its tag moved: that takes a change of the compose file.
                digests[reference] = kept[reference]
            else:
                digests[reference] = self._digest(engine, reference, state)
        return digests

    def _digest(self, engine: Engine, reference: str, state: State) -> str:
        try:
            return engine.registry_digest(reference)
        except EngineError as error:
            image = engine.local_image(reference)
            if image is None:
                used = self._used(engine, reference, state)
                if used is not None:
                    self.outcome.warnings.append(
                        f"image {reference}: its registry did not answer ({error}); what a release of this host was "
                        "made of under that name is used."
                    )
                    return used
                raise RolloutError(
                    f"image {reference}: the registry does not have it, or does not answer ({error}). Check its name "
                    "and tag, that it was pushed, that the registry is reachable from this host, and `docker login` "
                    "for a private one."
                ) from error
            repository = model_of.repository(reference)
            known = [text.split("@", 1) for text in image.attrs.get("RepoDigests") or []]
            digest = next(
                (d for name, d in known if repository in (name, f"docker.io/{name}", f"docker.io/library/{name}")), None
            )
            self.outcome.warnings.append(
                f"image {reference}: its registry did not answer ({error}); the copy on this host is used."
            )
            return digest or f"{model_of.LOCAL_IMAGE}{image.id}"

    def _used(self, engine: Engine, reference: str, state: State) -> str | None:
        """What the reference stood for in the latest release that has it, where that is still here."""
        for release in state.kept:
            for image, digest in release.images.values():
                if image == reference and engine.local_image(model_of.pinned_reference(image, digest)) is not None:
                    return digest
        return None

    def _candidate(
        self,
        driver: ComposeDriver,
        desired: plan.Desired,
        parts: Parts,
        digests: Mapping[str, str],
        subnet: str | None,
    ) -> Release:
        state = driver.load()
        taken: set[str] = {gateway_address(subnet)} if subnet else set()
        for release in state.kept:
            taken |= release.addresses
        taken |= driver.addresses()
        services = {}
        for service in desired.app.services:
            # Before the first run there is no network: a plan then names no addresses.
            addresses = (
                choose_addresses(subnet, service.replicas, frozenset(taken)) if subnet else ["?"] * service.replicas
            )
            taken |= set(addresses)
            reference = parts.images[service.name]
            services[service.name] = ReleasedService(
                image=reference,
                digest=digests[reference],
                port=service.port,
                addresses=tuple(addresses),
                **{name: getattr(service, name) for name in LIMITS},
            )
        return Release(
            id=release_id(self.now, desired.release_hash, state.ids),
            hash=desired.release_hash,
            colour=other_colour(state.live.colour if state.live else None),
            created=self.now.isoformat(timespec="seconds"),
            services=services,
            jobs={
                job.name: Job(
                    job.service,
                    parts.images[job.service],
                    digests[parts.images[job.service]],
                    job.timeout,
                    job.command,
                    recovery_point=job.name == MIGRATE and self.point,
                )
                for job in desired.app.jobs
            },
        )

    # rolled_back, absent

    def _rolled_back(self, driver: ComposeDriver, rollout: Rollout, wanted: str | None) -> None:
        current = self._look(driver, rollout, None)
        operations, target = plan.plan_rollback(current, wanted)
        state = current.state
        self._note(state, operations, target or state.live, state.route, state.base_images or {})
        if target is None or state.route is None:
            return
        check_ports(routing.app_of(self.name, state.route, target), self._states())
        if self.apply:
            driver.check_gateway()
            if state.network is not None:
                driver.network.attach(driver.gateway.container(), state.network, routing.served(state.route))
            self.outcome.state = rollout.roll_back(target, state.route)

    def _judged(self, driver: ComposeDriver, rollout: Rollout, verb: str, wanted: str | None) -> None:
        """A person has looked at the canary."""
        current = self._look(driver, rollout, None)
        operations = plan.plan_canary(current, "promote" if verb == "promoted" else "abort", wanted)
        state = current.state
        kinds = {operation.kind for operation in operations}
        self._note_step(state, operations, ahead=bool(kinds & {"promote", "canary", "finalize"}))
        if not self.apply or not kinds & {"promote", "canary", "finalize", "abort", "contract"}:
            return
        if "contract" in kinds:
            self.outcome.state = rollout.jobs.contract(state)
            return
        driver.check_gateway()
        if "finalize" in kinds:
            self.outcome.state = rollout.finalize()
            return
        self.outcome.state = rollout.abort() if "abort" in kinds else rollout.go_on(promote="promote" in kinds)

    def _held(self, driver: ComposeDriver, rollout: Rollout, verb: str, wanted: str | None) -> None:
        """What was prepared goes on, as far as it is asked to."""
        before = driver.load() if self.apply else None
        current = self._look(driver, rollout, None)
        operations = plan.plan_held(current, verb, wanted, before)
        state = current.state
        kinds = {operation.kind for operation in operations}
        self._note_step(state, operations, ahead=bool(kinds & {"switch", "canary", "finalize"}))
        if not self.apply or not kinds & {"switch", "canary", "finalize", "contract"}:
            return
        driver.check_gateway()
        if "contract" in kinds:
            self.outcome.state = rollout.jobs.contract(state)
        else:
            self.outcome.state = rollout.finalize() if "finalize" in kinds else rollout.switch()

    def _absent(self, driver: ComposeDriver, rollout: Rollout) -> None:
        # What an interrupted run left goes with the rest.
        current = self._current(driver, rollout, driver.load(), None)
        self._note(current.state, plan.plan_absent(current, remains=driver.remains()), None, None, {})
        if self.apply and self.outcome.operations:
            rollout.remove()
            self.outcome.state = State(self.name)
        elif self.apply:
            # What it waited for may have been another removal.
            driver.erase()
