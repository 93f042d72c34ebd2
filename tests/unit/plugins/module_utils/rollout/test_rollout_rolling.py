# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers replaced a few at a time."""

from __future__ import annotations

import contextlib
import copy
from dataclasses import replace

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.rolling import Step, check_ports, steps
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.rollout.apps import release, rolling
from tests.unit.plugins.module_utils.rollout.runs import assert_settled, live, present, world_after
from tests.unit.plugins.module_utils.rollout.simulation import Driver, Killed, reachable

OLD, NEW = ("o1", "o2", "o3"), ("n1", "n2", "n3")


def test_one_more_comes_before_each_leaves() -> None:
    assert list(steps(OLD, NEW, 1, 0)) == [
        Step((), ("n1",)),
        Step(("o1",), ("n2",)),
        Step(("o2",), ("n3",)),
        Step(("o3",), ()),
    ]


def test_one_leaves_before_each_comes_where_there_is_no_room_for_more() -> None:
    assert list(steps(OLD, NEW, 0, 1)) == [Step((old,), (new,)) for old, new in zip(OLD, NEW)]


@given(st.integers(0, 6), st.integers(1, 6), st.integers(0, 3), st.data())
def test_there_are_never_more_nor_fewer_than_allowed(old: int, new: int, surge: int, data: st.DataObject) -> None:
    unavailable = data.draw(st.integers(0 if surge else 1, max(new - 1, 0 if surge else 1)))
    if unavailable >= new:
        return
    there = olds = old
    news = 0
    for step in steps([f"o{n}" for n in range(old)], [f"n{n}" for n in range(new)], surge, unavailable):
        there -= len(step.leave)
        olds -= len(step.leave)
        assert there >= min(old, new, max(1, min(old, new) - unavailable))
        there += len(step.come)
        news += len(step.come)
        assert there <= max(old, new) + surge
    assert (olds, news) == (0, new)


def test_gateway_never_has_fewer_than_there_are_replicas() -> None:
    world = world_after(present(rolling(1)))
    counts = []

    class Watching(Driver):
        def fence(self, generation: str | None) -> None:
            counts.append(len(reachable(self.world.loaded) & (rolling(1).addresses | rolling(2).addresses)))
            running = [container for container in self.world.containers.values() if container.service == "api"]
            assert sum(container.running for container in running) <= 4
            super().fence(generation)

    present(rolling(2))(Watching(world))
    # Three of api and one of web, and one more of api for a while.
    assert set(counts) == {4, 5} and len(counts) > 4
    assert assert_settled(world).live == rolling(2)


def test_each_configuration_is_tested_while_containers_get_ready() -> None:
    driver = Driver(world_after(present(rolling(1))))
    present(rolling(2))(driver)
    assert assert_settled(driver.world).live == rolling(2)
    assert driver.untested == []


@pytest.mark.parametrize("step", ["start", "ready", "loaded", "fence", "drain", "stopped"])
def test_failure_in_the_middle_brings_all_old_ones_back(step: str) -> None:
    world = world_after(present(rolling(1)))
    with pytest.raises(RolloutError, match=f"(?s)on purpose.*{rolling(1).id} keeps serving"):
        present(rolling(2))(Driver(world, fail=step))
    assert assert_settled(world).live == rolling(1)
    assert reachable(world.loaded) == rolling(1).addresses


def test_power_loss_anywhere_of_a_roll_that_fails_leaves_nothing_reachable_down() -> None:
    start = world_after(present(rolling(1)))
    run = present(rolling(2))
    whole = Driver(copy.deepcopy(start), fail="stopped")
    with pytest.raises(RolloutError):
        run(whole)
    for step in range(1, whole.steps + 1):
        world = copy.deepcopy(start)
        with contextlib.suppress(Killed, RolloutError):
            run(Driver(world, kill_at=step, fail="stopped"))
        world.reboot()
        assert world.broken == [], f"killed at step {step}"
        run(Driver(world))
        assert assert_settled(world).live == rolling(2)


def test_ill_container_takes_nothing_from_the_old_ones() -> None:
    world = world_after(present(rolling(1)))
    with pytest.raises(RolloutError, match="api of .* does not get ready"):
        present(rolling(2, ill="api"))(Driver(world))
    assert assert_settled(world).live == rolling(1)
    assert live(world) == rolling(1).id


def test_change_of_the_port_is_refused_with_a_remedy() -> None:
    other = replace(release(2), services={"api": replace(release(2).services["api"], port=8080)})
    with pytest.raises(RolloutError, match="services.api.port: 8080, .* listen on 3001. Use `strategy: blue_green`"):
        check_ports(release(1), other)
