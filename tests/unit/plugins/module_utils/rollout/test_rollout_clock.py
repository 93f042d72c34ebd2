# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A clock that is set, forward or back by hours, at any moment of a rollout and between two."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import release_id
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.rollout.apps import CANARIES, canaries, release
from tests.unit.plugins.module_utils.rollout.runs import TIMED, assert_settled, planned, present, world_after
from tests.unit.plugins.module_utils.rollout.simulation import Driver, World

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
HOURS = 3 * 3600.0


class Jumping(Driver):
    """The clock is set when so many seconds have passed."""

    def __init__(self, world: World, at: float, by: float) -> None:
        super().__init__(world)
        self.at = at
        self.by = by

    def sleep(self, seconds: float) -> None:
        before = self.world.time
        super().sleep(seconds)
        if before < self.at <= self.world.time:
            self.world.clock_set += self.by


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=20))
def test_ids_are_in_the_order_of_their_releases_whatever_the_clock_says(seconds: list[int]) -> None:
    known: list[str] = []
    for number, offset in enumerate(seconds):
        known.append(release_id(NOON + timedelta(seconds=offset), f"{number:08x}", known))
    assert all(a < b for a, b in itertools.pairwise(known)) and len(set(known)) == len(known)


def test_id_has_the_time_of_the_clock_unless_that_was_set_back() -> None:
    known = ["r20260101t115959-ffffffff", "r20250101t000000-00000000"]
    assert release_id(NOON, "0123456789", known) == "r20260101t120000-01234567"
    assert release_id(NOON - timedelta(hours=5), "0123456789", known) == "r20260101t120000-01234567"
    # The same content, twice in one second.
    assert release_id(NOON, "ffffffffff", ["r20260101t120000-ffffffff"]) == "r20260101t120001-ffffffff"


def test_a_state_knows_the_ids_of_its_past() -> None:
    state = State(
        "labs", live=release(3), previous=release(2), older=(release(1),), candidate=release(4), contracted="c"
    )
    state = state.with_event("failed", "gone", "2026-01-01")
    assert state.ids == {*(release(number).id for number in (1, 2, 3, 4)), "gone", "c"}


@pytest.mark.parametrize("by", [HOURS, -HOURS])
def test_bake_lasts_as_long_as_it_is_to(by: float) -> None:
    world = world_after(present(release(1)))
    present(release(2), bake=Bake(30))(Jumping(world, at=10, by=by))
    assert (assert_settled(world).live, world.time) == (release(2), 30)


def test_bake_that_was_interrupted_is_never_longer_than_a_whole_one() -> None:
    world = world_after(present(release(1)))
    later = (NOON + timedelta(hours=5)).isoformat()
    present(release(2), bake=Bake(30, since=later))(Driver(world))
    assert world.time == 30


@pytest.mark.parametrize("by", [HOURS, -HOURS])
def test_steps_of_a_canary_last_as_long_as_they_are_to(by: float) -> None:
    world = world_after(planned(canaries(1), CANARIES, canary=TIMED))
    jumping = Jumping(world, at=5, by=by)
    # What was answered is another matter: here it is always enough.
    jumping.rps = 0
    planned(canaries(2), CANARIES, canary=replace(TIMED, analysis=None))(jumping)
    assert (assert_settled(world).live, world.time) == (canaries(2), 30)
