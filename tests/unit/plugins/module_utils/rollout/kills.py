# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a run, and what a kill at each of them leaves."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import RolloutError

from tests.unit.plugins.module_utils.rollout.runs import Run
from tests.unit.plugins.module_utils.rollout.simulation import Driver, Killed, World


class Noting(Driver):
    """Notes the names of its steps."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.names: list[str] = []

    def effect(self, name: str) -> None:
        super().effect(name)
        self.names.append(name)


def steps(world: World, run: Run) -> list[str]:
    """The names of the steps of a run, in order, whether it fails or not. The world stays as it is."""
    driver = Noting(copy.deepcopy(world))
    with contextlib.suppress(RolloutError):
        run(driver)
    return driver.names


def steps_named(world: World, run: Run, name: str) -> list[int]:
    """Numbers of all steps of this name."""
    return [number for number, found in enumerate(steps(world, run), 1) if found == name]


def killed_everywhere(start: World, run: Run, *, reboot: bool = False) -> Iterator[tuple[int, World]]:
    """Each step of a run, with the world in which it was killed at that step, or lost its power (`reboot`)."""
    for step in range(1, len(steps(start, run)) + 1):
        world = copy.deepcopy(start)
        with pytest.raises(Killed):
            run(Driver(world, kill_at=step))
        if reboot:
            world.reboot()
        yield step, world
