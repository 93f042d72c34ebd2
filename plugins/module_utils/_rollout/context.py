# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the parts of one run share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.driver import Driver
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import releases_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.journal import Journal
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State


@dataclass
class Context:
    """The world of a run, its clocks, what it is told of the releases before, and what it has to tell in the end."""

    driver: Driver
    journal: Journal
    # The calendar, which may be set back and forward at any time.
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    # Seconds since some moment, whatever the calendar is set to.
    elapsed: Callable[[], float]
    # How many releases outlive the run, the live one included; None for as many as there are.
    keep: int | None
    # For how many seconds the release before runs on after the switch.
    keep_warm: int
    drained: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def at(self) -> str:
        return self.now().isoformat(timespec="seconds")

    def save(self, state: State) -> State:
        self.driver.save(state)
        return state

    def serves(self, release: Release | None) -> bool:
        """Whether the gateway names the release, in its file or in what it has loaded."""
        return release is not None and release.id in self.named()

    def named(self) -> frozenset[str]:
        return releases_of(self.driver.written_generation()) | releases_of(self.driver.loaded_generation())

    def keeping(self, state: State) -> int | None:
        """How many releases outlive the run: as many as the run before was told, unless this one is told."""
        return state.keep if self.keep is None else self.keep
