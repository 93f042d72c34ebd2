# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recovery point before a migration: there is one, it is older than the migration, and the release knows it."""

from __future__ import annotations

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import describe
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import InputError, Release, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Migration

from tests.unit.plugins.module_utils.rollout.apps import POINTS, jobs, release
from tests.unit.plugins.module_utils.rollout.kills import killed_everywhere
from tests.unit.plugins.module_utils.rollout.runs import (
    assert_settled,
    live,
    present,
    rolled_back,
    rolled_back_to,
    world_after,
)
from tests.unit.plugins.module_utils.rollout.simulation import Driver, World


def pointed(number: int, **options: str) -> Release:
    return release(number, app=POINTS, **options)


def recorded(world: World, number: int) -> Migration:
    return assert_settled(world).migrations[pointed(number).id]


def schema_in_point(world: World, migration: Migration) -> int:
    assert migration.recovery_point is not None
    return world.points[migration.recovery_point.id]


def test_point_is_made_before_the_migration_and_told_with_the_release() -> None:
    world = world_after(present(pointed(1)), present(pointed(2)))
    migration = recorded(world, 2)
    assert (migration.schema_before, migration.schema_after, schema_in_point(world, migration)) == ("1", "2", 1)
    event = assert_settled(world).history[-1]
    assert event["migration"] == {"schema_before": "1", "schema_after": "2", "recovery_point": "p2"}


def test_no_point_is_made_where_none_is_asked_for() -> None:
    world = world_after(present(jobs(1)))
    assert world.points == {}
    assert recorded(world, 1).recovery_point is None


def test_same_content_again_makes_no_other_point() -> None:
    world = world_after(present(pointed(1)))
    world.containers[pointed(1).id, "api"].running = False
    present(pointed(1))(Driver(world))
    assert len(world.points) == 1


def test_content_that_is_migrated_needs_no_point_any_more() -> None:
    world = world_after(present(jobs(1)))
    world.containers[jobs(1).id, "api"].running = False
    world.repository_up = False
    present(pointed(1))(Driver(world))
    assert live(world) == pointed(1).id


@pytest.mark.parametrize("reboot", [False, True], ids=["kill", "power loss"])
def test_kill_anywhere_leaves_a_point_from_before_the_migration(reboot: bool) -> None:
    start = world_after(present(pointed(1)))
    run = present(pointed(2))
    for step, world in killed_everywhere(start, run):
        assert world.schema == 1 or 1 in list(world.points.values())[1:], f"migrated without a point at step {step}"
        known = Driver(world).load().progress_of(pointed(2)).point
        if reboot:
            world.reboot()
        run(Driver(world))
        migration = recorded(world, 2)
        assert known in (None, migration.recovery_point), f"a second point after the kill at step {step}"
        assert (migration.schema_before, migration.schema_after) == ("1", "2"), f"killed at step {step}"
        assert schema_in_point(world, migration) == 1, f"killed at step {step}"


def test_release_without_a_point_is_refused_with_the_schema_untouched() -> None:
    world = world_after(present(pointed(1)))
    before = list(world.done)
    world.repository_up = False
    with pytest.raises(RolloutError, match=f"(?s)gave no answer.*{pointed(1).id} keeps serving"):
        present(pointed(2))(Driver(world))
    assert assert_settled(world).live == pointed(1)
    assert (world.schema, world.done) == (1, before), "nothing was asked of the schema either"
    world.repository_up = True
    present(pointed(2))(Driver(world))
    assert schema_in_point(world, recorded(world, 2)) == 1


def test_release_that_fails_names_the_point_and_so_does_the_history() -> None:
    world = world_after(present(pointed(1)))
    with pytest.raises(RolloutError, match="(?s)does not get ready.*restore.yml -e app=labs -e snapshot=p2 "):
        present(pointed(2, ill="api"))(Driver(world))
    state = assert_settled(world)
    assert state.history[-1]["event"] == "failed"
    assert state.history[-1]["migration"]["recovery_point"] == "p2"
    assert pointed(2).id not in state.migrations


def test_refused_rollback_names_the_point_that_the_version_knows() -> None:
    """The releases 2 and 3 both migrate: what 3 began with has the schema of 2 already."""
    world = world_after(*(present(pointed(number), keep=3) for number in (1, 2, 3)))
    with pytest.raises(
        InputError, match=f"migration of {pointed(2).id}, are the recovery point p2; .* -e snapshot=p2 "
    ):
        rolled_back(Driver(world), pointed(1).id)
    with pytest.raises(InputError, match=f"migration of {pointed(3).id}, are the recovery point p3; "):
        rolled_back(Driver(world), pointed(2).id)


def test_refused_rollback_over_a_migration_without_a_point_promises_nothing() -> None:
    world = world_after(*(present(one, keep=3) for one in (release(1), jobs(2), pointed(3))))
    with pytest.raises(InputError, match="Deploy the version you want instead.$"):
        rolled_back(Driver(world), release(1).id)


def test_rollback_keeps_what_is_known_and_old_releases_are_forgotten() -> None:
    plain = tuple(present(release(number)) for number in (2, 3))
    world = world_after(present(pointed(1)), plain[0], rolled_back_to(pointed(1)))
    assert live(world) == pointed(1).id
    assert recorded(world, 1).recovery_point is not None
    for run in (*plain, present(release(4)), present(release(5))):
        run(Driver(world))
    assert assert_settled(world).migrations == {}


def test_plan_tells_of_the_point() -> None:
    assert "recovery point before migrate.command" in describe.describe_release(pointed(1))
    assert "recovery point" not in " ".join(describe.describe_release(jobs(1)))
