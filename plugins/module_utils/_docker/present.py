# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""One release of an app from its compose file, as far as it is asked for: ready, or met by all users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._backup.command import lacking_here
from ansible_collections.daffathan.platform.plugins.module_utils._docker import app_files, compose_file
from ansible_collections.daffathan.platform.plugins.module_utils._docker.call import Call
from ansible_collections.daffathan.platform.plugins.module_utils._docker.digests import digests as digests_of
from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import normalise
from ansible_collections.daffathan.platform.plugins.module_utils._docker.staging import Work
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import compose as model_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import plan, routing
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import Canary
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.candidate import new_release
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.configs import read_configs
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    MIGRATE,
    App,
    InputError,
    Release,
    canonical_hash,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.names import unknown_names
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import parse_app
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parts import Parts, filled, split
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.ports import check_ports
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.room import Room, check_room
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State


@dataclass
class Present:
    """What a release is made of beside its app, and how it is brought to the users."""

    call: Call
    options: Mapping[str, Any]
    # One instant per run: the release that is planned and the one that is made have the same id.
    now: datetime
    keep: int
    least: Room
    bake: Bake | None
    canary: Canary | None
    point: bool = False

    def run(self, app: App, *, hold: bool) -> None:
        driver, rollout, outcome, apply = self.call.driver, self.call.rollout, self.call.outcome, self.call.apply
        model, warnings = normalise(self.options["compose_file"], app.name, app.env)
        outcome.warnings += warnings
        app = parse_app(filled(self.options, model))
        parts = split(model, app)
        # A dry run does without the files that are not sent yet.
        missing = None if apply else b""
        parts = replace(parts, configs=read_configs(parts.model, app, lambda path: compose_file.read(path, missing)))
        compose_file.check_names(driver.engine, app.name, parts)
        states = self.call.states()
        routing.check_other_apps(app, states)
        check_ports(app, states)
        current = self.call.look()
        state = current.state
        digests = digests_of(driver.engine, parts, state, outcome.warnings)
        images = model_of.pin_all(parts.images, digests, sorted(parts.swapped))
        base_images = model_of.pin_all(parts.images, digests, sorted(parts.base))
        key = app_files.create_key(app.name) if apply else app_files.read_key(app.name)
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
        current = replace(current, base_running=base is None or driver.containers.base_running(base["services"]))
        operations = plan.plan_present(current, desired, hold=hold)
        outcome.warnings += plan.put_off(state, desired)
        kinds = {operation.kind for operation in operations}
        if kinds & {"release", "base"}:
            check_room(driver.room(), self.least, model_of.reserved_memory(app, parts) if "release" in kinds else 0)
            if base is not None:
                outcome.warnings += unknown_names(base["services"], app.served, driver.network.carried())
        if "release" in kinds:
            self.point = self._wants_point(desired, state)
            subnet = state.network.subnet if state.network else None
            planned: Release | None = self._candidate(desired, parts, digests, subnet)
        elif state.candidate is not None and not kinds & {"abort", "recover"}:
            planned = state.candidate
        else:
            planned = state.live
        outcome.note(state, operations, planned, routing.route_of(app), base_images)
        if not apply or not operations:
            return
        self.call.check_gateway()
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
            candidate = self._candidate(desired, parts, digests, network.subnet)
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
        outcome.state = state

    def _wants_point(self, desired: plan.Desired, state: State) -> bool:
        """Whether a recovery point comes before the migration: where it is asked for, or can be had."""
        wanted = next((job.recovery_point for job in desired.app.jobs if job.name == MIGRATE), False)
        progress = state.progress.get(desired.release_hash)
        if wanted is False or (progress is not None and MIGRATE in progress.done):
            return False
        why = lacking_here(desired.app.name)
        if why is not None and wanted:
            problem = f"migrate.recovery_point: true, but {why}"
            if self.call.apply:
                raise InputError(problem)
            # A real run of a whole playbook may set them up before this task.
            self.call.outcome.warnings.append(problem)
        return why is None or wanted is True

    def _candidate(
        self, desired: plan.Desired, parts: Parts, digests: Mapping[str, str], subnet: str | None
    ) -> Release:
        state, used = self.call.driver.load(), self.call.driver.containers.addresses()
        return new_release(desired, parts, digests, state, subnet, used, self.now, point=self.point)
