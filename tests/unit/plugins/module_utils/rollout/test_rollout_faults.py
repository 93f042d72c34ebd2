# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host whose disk is full, or whose gateway ends, at any moment of a rollout."""

from __future__ import annotations

import copy
import errno
import json
import os
from pathlib import Path

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import generation, release_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.journal import Journal
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.room import explain
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State

from tests.unit.plugins.module_utils.rollout.apps import jobs, release
from tests.unit.plugins.module_utils.rollout.kills import steps, steps_named
from tests.unit.plugins.module_utils.rollout.runs import absent, assert_settled, live, present, world_after
from tests.unit.plugins.module_utils.rollout.simulation import Driver, World

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/var/lib/daffathan/apps/labs/.state.json.new")


class FullDisk(Driver):
    """From its n-th state on nothing can be written."""

    def __init__(self, world: World, saves: int) -> None:
        super().__init__(world)
        self.saves = saves

    def save(self, state: State) -> None:
        self.saves -= 1
        if self.saves < 0:
            raise FULL
        super().save(state)


class NoGateway(Driver):
    """The gateway ends, and does not come back, at one of the steps."""

    def __init__(self, world: World, end_at: int) -> None:
        super().__init__(world)
        self.end_at = end_at

    def effect(self, name: str) -> None:
        super().effect(name)
        if self.steps == self.end_at:
            self.world.gateway_up = False
            self.world.loaded, self.world.in_flight = None, set()

    def fence(self, generation: str | None) -> None:
        super().fence(generation)
        self.check_gateway()


@pytest.mark.parametrize("saves", range(6))
def test_full_disk_ends_with_the_old_release_or_the_new_one(saves: int) -> None:
    world = world_after(present(release(1)))
    try:
        present(release(2))(FullDisk(world, saves))
    except (RolloutError, OSError) as error:
        assert "No space left" in str(error)
    assert world.broken == []
    # Where nothing of the candidate runs, nothing of it waits for the next run either.
    running = {name for (name, _), container in world.containers.items() if container.running}
    assert running == {live(world)}
    present(release(2))(Driver(world))
    assert assert_settled(world).live == release(2)


def test_full_disk_takes_the_candidate_away_and_says_what_to_do() -> None:
    world = world_after(present(release(1)))
    with pytest.raises(RolloutError, match=r"(?s)No space left.*Free some space.*same command again") as error:
        # The first state of a deploy is written, the one before the switch is not.
        present(release(2))(FullDisk(world, 1))
    assert "/var/lib/daffathan/apps/labs" in str(error.value)
    assert {name for name, _ in world.containers} == {release(1).id}
    assert live(world) == release(1).id


def test_gateway_that_ends_at_any_step_leaves_nothing_half_done() -> None:
    start = world_after(present(release(1)))
    run = present(release(2))
    for step in range(1, len(steps(start, run)) + 1):
        world = copy.deepcopy(start)
        try:
            run(NoGateway(world, step))
            wanted = release(2)
        except RolloutError as error:
            assert "gateway" in str(error)
            wanted = release(1)
        # It starts again, with what is on its disk.
        assert release_of(generation(world.written)) == wanted.id, step
        world.gateway_up, world.loaded = True, world.written
        assert assert_settled(world).live == wanted, step
        run(Driver(world))
        assert assert_settled(world).live == release(2), step


def test_candidate_that_ends_between_its_check_and_the_switch_never_takes_traffic() -> None:
    class Ending(Driver):
        """An engine that is restarted takes along what it is not to keep."""

        def keep(self, part: Release, always: bool) -> None:
            for container in self.of(part) if always and part.id == release(2).id else []:
                container.running = False
            super().keep(part, always)

    world = world_after(present(release(1)))
    with pytest.raises(RolloutError, match=f"(?s)has ended.*{release(1).id} keeps serving"):
        present(release(2))(Ending(world))
    assert assert_settled(world).live == release(1)


def test_removal_lets_go_of_all_releases_before_their_images_are_asked_for() -> None:
    world = world_after(present(release(1)), present(release(2)))
    seen = []

    class Looking(Driver):
        def remove(self, release_id: str) -> None:
            seen.append(self.load().kept)
            super().remove(release_id)

    absent(Looking(world))
    assert seen == [(), ()]


def test_kill_of_a_removal_is_made_good_by_the_next_one() -> None:
    start = world_after(present(jobs(1)), present(jobs(2)))
    world = copy.deepcopy(start)
    with pytest.raises(BaseException, match="remove"):
        absent(Driver(world, kill_at=steps_named(world, absent, "remove")[0]))
    absent(Driver(world))
    assert (world.containers, world.state, world.broken) == ({}, None, [])


def test_journal_on_a_full_disk_loses_lines_and_keeps_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.ndjson"
    journal = Journal(str(path))
    journal.write("begin", "a")
    whole = os.write
    # The disk takes ten bytes more.
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[:10]))
    with journal.step("b"):
        pass
    monkeypatch.undo()
    journal.write("begin", "c")
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == ["a", "c"]
    assert journal.lost is not None and "No space left" in journal.lost
    assert [line["step"] for line in journal.lines] == ["a", "b", "b", "c"]


def test_only_a_full_disk_is_explained_as_one() -> None:
    assert "Free some space" in explain(FULL)
    assert explain(RolloutError("why")) == "why"
    assert explain(PermissionError(errno.EACCES, "denied")) == "[Errno 13] denied"
