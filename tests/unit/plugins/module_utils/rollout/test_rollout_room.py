# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import compose
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import parts as parts_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.room import MIB, Room, check_room

from tests.unit.plugins.module_utils.rollout.models import APP, model

LEAST = Room(disk=1024 * MIB, memory=64 * MIB)


@pytest.mark.parametrize(
    ("free", "reserved"),
    [
        (Room(1024 * MIB, 64 * MIB), 0),
        (Room(1024 * MIB, 320 * MIB), 256 * MIB),
        (Room(1024 * MIB, None), 256 * MIB),
    ],
)
def test_room_that_suffices_is_taken(free: Room, reserved: int) -> None:
    check_room(free, LEAST, reserved)


@pytest.mark.parametrize(
    ("free", "reserved", "named"),
    [
        (Room(1023 * MIB, 64 * MIB), 0, ["disk: 1023 MiB", "1024 MiB of `min_free_disk`", "docker system df"]),
        (Room(1024 * MIB, 63 * MIB), 0, ["memory: 63 MiB", "64 MiB of `min_free_memory`", "Free some memory"]),
        (Room(1024 * MIB, 319 * MIB), 256 * MIB, ["memory: 319 MiB", "the 256 MiB that the release reserves"]),
    ],
)
def test_want_of_room_is_told_with_figures_and_a_remedy(free: Room, reserved: int, named: list[str]) -> None:
    with pytest.raises(RolloutError) as error:
        check_room(free, LEAST, reserved)
    for word in (*named, "Nothing was started", "lower `min_free"):
        assert word in str(error.value)


def test_every_replica_that_runs_beside_an_old_one_reserves_its_memory() -> None:
    text = model()
    for service in ("api", "web"):
        text["services"][service]["deploy"] = {"resources": {"reservations": {"memory": str(100 * MIB)}}}
    assert compose.reserved_memory(APP, parts_of.split(text, APP)) == 300 * MIB
    in_place = replace(APP, services=(replace(APP.service("api"), strategy="stop_first"), APP.service("web")))
    assert compose.reserved_memory(in_place, parts_of.split(text, in_place)) == 100 * MIB
