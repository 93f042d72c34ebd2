# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""One call of the module compose_rollout, under the lock of its app. Nothing in here knows Ansible."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import FileLock, LockTimeout
from ansible_collections.daffathan.platform.plugins.module_utils._docker import app_files, verbs
from ansible_collections.daffathan.platform.plugins.module_utils._docker.call import Call
from ansible_collections.daffathan.platform.plugins.module_utils._docker.compose_driver import ComposeDriver
from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import SDK_ERRORS, Engine
from ansible_collections.daffathan.platform.plugins.module_utils._docker.outcome import Outcome
from ansible_collections.daffathan.platform.plugins.module_utils._docker.present import Present
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import parse_bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import Canary, parse_canary
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.journal import Journal
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, InputError, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import (
    parse_app,
    parse_app_name,
    parse_release_id,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parsing import parse_number
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.phases import Rollout, utc_now
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.progress import Progress, progress_path
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.room import MIB, Room, explain

ENGINE_FAILURES: tuple[type[Exception], ...] = (CommandError, OSError, *SDK_ERRORS)


class Runner:
    """`apply` False plans only: nothing is pulled, written or started."""

    def __init__(self, options: Mapping[str, Any], *, apply: bool) -> None:
        self.options = options
        self.apply = apply
        self.outcome = Outcome()
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
            call = Call(driver, rollout, self.outcome, self.apply)
            if app is not None:
                present = Present(call, self.options, self.now, self.keep, self.least, self.bake, self.canary)
                present.run(app, hold=state == "prepared")
            elif state == "rolled_back":
                verbs.roll_back(call, wanted)
            elif state in ("promoted", "aborted"):
                verbs.judge(call, state, wanted)
            elif state in ("switched", "finalized"):
                verbs.go_on(call, state, wanted)
            else:
                verbs.remove(call)
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
