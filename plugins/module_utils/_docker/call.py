# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What everything that the module compose_rollout can be asked for begins with: a look at what is there."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._docker import app_files
from ansible_collections.daffathan.platform.plugins.module_utils._docker.compose_driver import ComposeDriver
from ansible_collections.daffathan.platform.plugins.module_utils._docker.outcome import Outcome
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import lifecycle
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.phases import Rollout
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.plan import Current, Operation
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State


@dataclass
class Call:
    """One call, while it has the lock of the app. `apply` False plans only."""

    driver: ComposeDriver
    rollout: Rollout
    outcome: Outcome
    apply: bool

    def look(self) -> Current:
        """What is there, once the traces of an interrupted run are dealt with; a dry run leaves them."""
        found = self.driver.load()
        if not self.apply:
            return self.current(found)
        if lifecycle.interrupted(found):
            if found.phase != "remove":
                # What is begun again here would end in the middle, and without the remedy.
                self.driver.check_base()
            self.outcome.operations.append(
                Operation("recover", f"the run before was interrupted in phase {found.phase}: finished or undone")
            )
        state = self.rollout.recover()
        # A removal that was finished just now took the directory with it.
        os.makedirs(self.driver.directory, mode=0o700, exist_ok=True)
        return self.current(state)

    def check_gateway(self) -> None:
        """Raise where the gateway could not serve the app."""
        self.driver.check_gateway()
        self.driver.check_base()

    def current(self, state: State) -> Current:
        return Current(
            state,
            self.driver.inventory(),
            self.driver.written_generation(),
            self.driver.loaded_generation(),
            gateway_lost=state.network is not None and not self.driver.network.attached(state.network),
            orphans=tuple(self.rollout.orphans(state)),
        )

    def states(self) -> dict[str, State]:
        return {name: app_files.read_state(name) for name in app_files.known_apps()}
