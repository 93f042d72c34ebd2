# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What a call of the module compose_rollout comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import describe
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.plan import Operation
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Route, State


@dataclass
class Outcome:
    """What the module returns."""

    changed: bool = False
    operations: list[Operation] = field(default_factory=list)
    diff: dict[str, str] = field(default_factory=dict)
    state: State | None = None
    timings: dict[str, int] = field(default_factory=dict)
    drained: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def note(
        self,
        state: State,
        operations: list[Operation],
        release: Release | None,
        route: Route | None,
        base: Mapping[str, str],
    ) -> None:
        """What is to be done, for the result and its diff; `release` and `route` are those that come of it."""
        self.operations += operations
        self.diff = describe.describe(state, self.operations, release=release, route=route, base=base)
        self.state = state

    def note_step(self, state: State, operations: list[Operation], *, ahead: bool) -> None:
        """The same for a candidate that is there; `ahead` tells whether it goes on."""
        release, route = (state.candidate, state.next_route) if ahead else (state.live, state.route)
        self.note(state, operations, release, route, state.base_images or {})
