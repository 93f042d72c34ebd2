# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work that is done once for a release: jobs and migrations."""

from __future__ import annotations

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import InputError, RolloutError

from tests.unit.plugins.module_utils.rollout.apps import jobs, release
from tests.unit.plugins.module_utils.rollout.kills import killed_everywhere
from tests.unit.plugins.module_utils.rollout.runs import assert_settled, live, present, rolled_back, world_after
from tests.unit.plugins.module_utils.rollout.simulation import Driver, World

ONCE = ("migrate.command", "services.seed", "migrate.after")


def done(world: World, number: int) -> list[str]:
    """What was done for a release, in order, without the questions for the version."""
    return [job for name, job in world.done if name == f"hash{number}" and job != "migrate.version"]


def test_schema_grows_before_the_jobs_and_shrinks_after_the_switch() -> None:
    world = world_after(present(jobs(1)))
    assert tuple(done(world, 1)) == ONCE
    assert assert_settled(world).schema == "1"


def test_same_content_again_repeats_nothing() -> None:
    world = world_after(present(jobs(1)))
    world.containers[jobs(1).id, "api"].running = False
    again = Driver(world)
    present(jobs(1))(again)
    assert tuple(done(world, 1)) == ONCE


@pytest.mark.parametrize("reboot", [False, True], ids=["kill", "power loss"])
def test_kill_anywhere_has_everything_done_exactly_once(reboot: bool) -> None:
    start = world_after(present(jobs(1)))
    run = present(jobs(2))
    for step, world in killed_everywhere(start, run, reboot=reboot):
        run(Driver(world))
        assert tuple(done(world, 2)) == ONCE, f"killed at step {step}"
        assert assert_settled(world).schema == "2"


@pytest.mark.parametrize("ill", ["migrate.command", "services.seed"])
def test_job_that_fails_takes_the_release_away(ill: str) -> None:
    world = world_after(present(jobs(1)))
    with pytest.raises(RolloutError, match=f"(?s){ill} of {jobs(2).id} fails.*{jobs(1).id} keeps serving"):
        present(jobs(2, ill=ill))(Driver(world))
    assert assert_settled(world).live == jobs(1)
    assert world.schema == 1
    assert world.of(jobs(2).id) == {}


def test_release_that_fails_after_its_migration_is_migrated_back() -> None:
    world = world_after(present(jobs(1)))
    with pytest.raises(RolloutError, match="api of .* does not get ready"):
        present(jobs(2, ill="api"))(Driver(world))
    assert done(world, 2) == ["migrate.command", "services.seed", "migrate.rollback"]
    assert assert_settled(world).schema == "1"


def half_migrated() -> World:
    """A world whose next migration fails after it has changed the schema."""
    world = world_after(present(jobs(1)))
    world.schema_of_failure = 2
    return world


def test_migration_that_fails_half_way_is_undone() -> None:
    world = half_migrated()
    with pytest.raises(RolloutError, match="migrate.command of .* fails"):
        present(jobs(2, ill="migrate.command"))(Driver(world))
    assert done(world, 2) == ["migrate.rollback"]
    assert world.schema == 1
    assert assert_settled(world).schema == "1"


def test_kill_anywhere_in_a_migration_that_fails_half_way_leaves_the_schema_as_it_was() -> None:
    run = present(jobs(2, ill="migrate.command"))
    for step, world in killed_everywhere(half_migrated(), run):
        with pytest.raises(RolloutError):
            run(Driver(world))
        assert assert_settled(world).live == jobs(1)
        assert world.schema == 1, f"killed at step {step}"


def test_migration_that_fails_without_a_change_is_not_undone() -> None:
    world = world_after(present(jobs(1)))
    with pytest.raises(RolloutError) as error:
        present(jobs(2, ill="migrate.command"))(Driver(world))
    assert (done(world, 2), world.schema) == ([], 1)
    assert "could not be undone" not in str(error.value)


def test_kill_anywhere_in_a_release_that_fails_leaves_the_schema_as_it_was() -> None:
    start = world_after(present(jobs(1)))
    run = present(jobs(2, ill="api"))
    for step, world in killed_everywhere(start, run):
        with pytest.raises(RolloutError):
            run(Driver(world))
        assert assert_settled(world).live == jobs(1)
        assert world.schema == 1, f"killed at step {step}"
        assert done(world, 2).count("migrate.command") == done(world, 2).count("migrate.rollback")


def test_release_that_changed_no_schema_is_not_migrated_back() -> None:
    """Its rollback would take the step before."""
    world = world_after(present(jobs(1)))
    world.steps_of_schema = 0
    with pytest.raises(RolloutError):
        present(jobs(2, ill="api"))(Driver(world))
    assert "migrate.rollback" not in done(world, 2)
    assert world.schema == 1


def test_migration_that_cannot_be_undone_is_told_and_does_not_keep_the_next_release() -> None:
    world = world_after(present(jobs(1)))
    driver = Driver(world, fail="run migrate.rollback")
    with pytest.raises(RolloutError, match=r"(?s)api of .* does not get ready.*could not be undone: run migrate.roll"):
        present(jobs(2, ill="api"))(driver)
    assert assert_settled(world).live == jobs(1)
    present(jobs(3))(Driver(world))
    assert assert_settled(world).live == jobs(3)


def test_contract_that_fails_is_tried_again_and_does_not_keep_the_next_release() -> None:
    world = world_after(present(jobs(1)))
    for _ in range(2):
        with pytest.raises(RolloutError, match=f"(?s)migrate.after of .* fails.*{jobs(2).id} serves. The next run"):
            present(jobs(2, ill="migrate.after"))(Driver(world))
        assert assert_settled(world).live is not None
        assert live(world) == jobs(2).id
    present(jobs(3))(Driver(world))
    assert assert_settled(world).live == jobs(3)


def test_release_that_needs_the_old_schema_cannot_be_rolled_back_to() -> None:
    world = world_after(present(release(1)), present(jobs(2)))
    with pytest.raises(InputError, match=f"{release(1).id}: migrate.after of {jobs(2).id} took away"):
        rolled_back(Driver(world))
    world = world_after(present(jobs(2)), present(release(3)))
    rolled_back(Driver(world))
    assert live(world) == jobs(2).id
