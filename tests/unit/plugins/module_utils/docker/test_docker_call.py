# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a call begins with, on a host whose gateway has the base configuration of another version."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._docker import verbs
from ansible_collections.daffathan.platform.plugins.module_utils._docker.call import Call
from ansible_collections.daffathan.platform.plugins.module_utils._docker.outcome import Outcome
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.lifecycle import interrupted
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.plan import Current
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State

from tests.unit.plugins.module_utils.rollout.apps import release
from tests.unit.plugins.module_utils.rollout.kills import killed_everywhere
from tests.unit.plugins.module_utils.rollout.runs import absent, current_of, present, rollout_of, world_after
from tests.unit.plugins.module_utils.rollout.simulation import Driver, World


class Old(Driver):
    app = "labs"
    directory = "."

    def check_base(self) -> None:
        raise RolloutError("gateway: of a version before this one. Run role daffathan.platform.gateway again.")

    def remains(self) -> bool:
        return True


class Simulated(Call):
    def current(self, state: State) -> Current:
        return current_of(cast(Driver, self.driver), state)


def call(world: World) -> Simulated:
    driver: Any = Old(world)
    return Simulated(driver, rollout_of(driver), Outcome(), apply=True)


@pytest.fixture
def before() -> World:
    return world_after(present(release(1)))


def test_an_interrupted_run_is_left_as_it_is_until_the_gateway_is_of_this_version(before: World) -> None:
    told = 0
    for step, world in killed_everywhere(before, present(release(2))):
        found, kept = Old(world).load(), copy.deepcopy(world)
        if not interrupted(found):
            continue
        with pytest.raises(RolloutError, match="Run role daffathan.platform.gateway again"):
            call(world).look()
        assert (world.state, world.containers, world.written) == (kept.state, kept.containers, kept.written), step
        told += 1
    assert told > 5


def test_what_was_not_interrupted_is_looked_at_whatever_the_gateway_is(before: World) -> None:
    assert call(before).look().state.live == release(1)


def test_an_app_is_removed_whatever_the_gateway_is(before: World) -> None:
    for _, world in killed_everywhere(before, absent):
        # What it did not finish is finished by whatever comes next.
        if interrupted(Old(world).load()):
            call(world).look()
    one = call(before)
    verbs.remove(one)
    assert one.outcome.operations and not before.containers
