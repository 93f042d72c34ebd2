# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A release is watched after the switch, and switched back from when it turns out to be bad."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import DEFAULT, Bake, parse_bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Analysis, Counts, Pool
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import InputError, Release, RolloutError

from tests.unit.plugins.module_utils.rollout.apps import jobs, release, workers
from tests.unit.plugins.module_utils.rollout.kills import killed_everywhere, steps_named
from tests.unit.plugins.module_utils.rollout.runs import assert_settled, live, present, world_after
from tests.unit.plugins.module_utils.rollout.simulation import Driver, Killed, World, pool

BAKE = Bake(30)


def slow(requests: int, of_them: int) -> Pool:
    """Some of the requests take 0.8 s, the others 20 ms."""
    counts = Counts()
    for number in range(requests):
        counts.add(error=False, seconds=0.8 if number < of_them else 0.02)
    return counts.pool()


def with_endpoints(seen: Pool, of: Release) -> Pool:
    """The same, answered by the first container of a release."""
    address = of.services["api"].addresses[0]
    return replace(seen, endpoints=tuple(replace(one, address=address) for one in seen.endpoints))


def looked_at() -> World:
    """A world killed at the first look at release 2, which serves."""
    world = world_after(present(release(1)))
    run = present(release(2), bake=BAKE)
    with pytest.raises(Killed, match="look"):
        run(Driver(world, kill_at=steps_named(world, run, "look")[0]))
    return world


def test_old_release_runs_until_the_bake_is_over() -> None:
    world = looked_at()
    assert live(world) == release(2).id
    assert world.containers[release(1).id, "api"].running
    present(release(2), bake=BAKE)(Driver(world))
    assert (assert_settled(world).live, world.time) == (release(2), 30)


def test_interrupted_bake_is_gone_on_with_for_the_time_that_is_left() -> None:
    world = looked_at()
    world.time = 20
    present(release(2))(Driver(world))
    assert (assert_settled(world).live, world.time) == (release(2), 30)


OLD, NEW = release(1).id, release(2).id
P95 = replace(DEFAULT, max_p95=0.5)
RATIO = replace(DEFAULT, max_p95_ratio=2.0)
MARGIN = replace(DEFAULT, error_margin=0.005)

# What is asked of a release, what is said of it look by look, what the old one answered and what it answers itself.
Watched = tuple[str, Analysis, list[str | None], Pool, Pool]
BAD_RELEASES: list[tuple[Watched, str, bool]] = [
    (("ill", DEFAULT, ["port 3001: refused"] * 3, pool(0), pool(0)), "port 3001: refused, 3 times in a row", True),
    (("flapping", DEFAULT, ["refused", None] * 5, pool(0), pool(0)), "5 of the last 9 looks: it is .* now and", True),
    (("nothing but errors", DEFAULT, [], pool(0), pool(6, 1.0)), r"100.00% \(6 of 6\) errors", True),
    (("many errors", DEFAULT, [], pool(0), pool(400, 0.1)), r"\(40 of 400\) errors of the new .*limit 5.00%", True),
    (("errors at the end", DEFAULT, [], pool(0), pool(20, 0.1)), r"10.00% \(2 of 20\) errors.*limit 5.00%", False),
    (("slow", P95, [], pool(0), pool(20, seconds=0.8)), "p95 of the new release .* ms, limit 500 ms", True),
    (("slow at the end", P95, [], pool(0), slow(20, 2)), "p95 of the new release .* ms, limit 500 ms", False),
    (("slower", RATIO, [], pool(200), pool(60, seconds=0.1)), "at most 2 times the .* ms of the release before", True),
    (
        ("fails more", MARGIN, [], pool(900, 0.0), pool(100, 0.04)),
        r"4.00%.*0.00% \(0 of 900\) of the release bef",
        True,
    ),
]


@pytest.mark.parametrize(("watched", "said", "early"), BAD_RELEASES, ids=[row[0][0] for row in BAD_RELEASES])
def test_release_that_turns_out_bad_is_switched_back_from(watched: Watched, said: str, early: bool) -> None:
    """As soon as that is proven: `early`; else at the end of the bake."""
    world = world_after(present(release(1)))
    _, limits, complaints, before, after = watched
    world.complaints, world.answered, world.answered_before = [*complaints], {NEW: after}, {OLD: before}
    with pytest.raises(RolloutError, match=f"(?s)bake: .*{said}.*{OLD} keeps serving"):
        present(release(2), bake=Bake(30, limits))(Driver(world))
    state = assert_settled(world)
    assert (state.live, state.history[-1]["event"]) == (release(1), "failed")
    assert (world.time < 30) is early


GOOD_RELEASES: list[Watched] = [
    ("busy now and then", DEFAULT, ["busy", "busy", None, "busy", "busy"], pool(0), pool(100)),
    ("nobody asks", P95, [], pool(0), pool(0)),
    ("too few requests to see", DEFAULT, [], pool(0), pool(19, 0.1)),
    ("as many errors as are allowed", DEFAULT, [], pool(0), pool(100, 0.05)),
    ("too few requests to be slow", P95, [], pool(0), slow(19, 2)),
    ("as slow as the one before", RATIO, [], pool(200, seconds=0.8), pool(200, seconds=0.8)),
    ("slower by the noise of the host", RATIO, [], pool(200, seconds=0.001), pool(200, seconds=0.009)),
    ("nothing to compare with", RATIO, [], pool(0), pool(200, seconds=5)),
    ("too little to compare with", RATIO, [], pool(3), pool(200, seconds=0.1)),
    ("errors of both", MARGIN, [], pool(900, 0.04), pool(100, 0.04)),
]


@pytest.mark.parametrize("watched", GOOD_RELEASES, ids=[row[0] for row in GOOD_RELEASES])
def test_release_that_is_not_known_to_be_bad_stays(watched: Watched) -> None:
    world = world_after(present(release(1)))
    _, limits, complaints, before, after = watched
    world.complaints, world.answered, world.answered_before = [*complaints], {NEW: after}, {OLD: before}
    present(release(2), bake=Bake(30, limits))(Driver(world))
    assert assert_settled(world).live == release(2)


def test_message_tells_the_requests_that_failed_the_service_and_what_it_says() -> None:
    world = world_after(present(release(1)))
    world.answered = {NEW: with_endpoints(pool(40, 0.5), release(2))}
    with pytest.raises(RolloutError) as error:
        present(release(2), bake=BAKE)(Driver(world))
    for words in (
        "Most often: GET /notes (service api: 20 of 40 failed, last with 503).",
        "Last lines of api",
        f"The candidate {NEW} was taken away; {OLD} keeps serving.",
    ):
        assert words in str(error.value)


def test_kill_anywhere_of_a_release_that_turns_out_bad_ends_with_the_old_one() -> None:
    start = world_after(present(workers(1)))
    start.answered = {workers(2).id: pool(100, 0.5)}
    run = present(workers(2), bake=BAKE)
    for step, world in killed_everywhere(start, run):
        with pytest.raises(RolloutError, match="bake"):
            run(Driver(world))
        assert assert_settled(world).live == workers(1), f"killed at step {step}"


def test_migration_of_a_release_that_turns_out_bad_is_undone() -> None:
    world = world_after(present(jobs(1)))
    world.answered = {jobs(2).id: pool(100, 0.5)}
    with pytest.raises(RolloutError, match="bake"):
        present(jobs(2), bake=BAKE)(Driver(world))
    assert (assert_settled(world).schema, world.schema) == ("1", 1)


def test_first_release_is_watched_too() -> None:
    world = world_after()
    world.answered = {release(1).id: pool(100, 0.5)}
    with pytest.raises(RolloutError, match="there was no live release before"):
        present(release(1), bake=BAKE)(Driver(world))
    assert (assert_settled(world).live, world.written) == (None, None)


BAD: list[tuple[Any, list[str]]] = [
    (60, ["bake:", "60", "{seconds: 60"]),
    ({"max_error_rate": 1}, ["bake.seconds", "missing", "Give"]),
    ({"seconds": 0}, ["bake.seconds", "0", "1 to 86400"]),
    ({"seconds": 60, "max_error_rate": 101}, ["bake.max_error_rate", "101", "0 to 100"]),
    ({"seconds": 60, "max_error_rate": True}, ["bake.max_error_rate", "True", "0 to 100"]),
    ({"seconds": 60, "min_requests": 0}, ["bake.min_requests", "0", "1 to 1e+06"]),
    ({"seconds": 60, "max_p95_ms": "fast"}, ["bake.max_p95_ms", "'fast'", "1 to 120000"]),
    ({"seconds": 60, "max_p99_ratio": 0.5}, ["bake.max_p99_ratio", "0.5", "1 to 100"]),
    ({"seconds": 60, "errors": 5}, ["bake.errors", "Known are", "max_error_rate", "max_p95_ms"]),
]


@pytest.mark.parametrize(("given", "named"), BAD)
def test_bad_input_is_refused_by_option_value_and_remedy(given: Any, named: list[str]) -> None:
    with pytest.raises(InputError) as error:
        parse_bake(given)
    for word in named:
        assert word in str(error.value)


def test_good_input_is_taken() -> None:
    assert parse_bake({}) is None
    assert parse_bake({"seconds": "60"}) == Bake(60, Analysis(20, None, 0.05))
    limits = {"min_requests": 5, "error_margin": 1, "max_error_rate": "2", "max_p95_ratio": 1.5, "max_p99_ms": 900}
    assert parse_bake({"seconds": 60, **limits}) == Bake(60, Analysis(5, 0.01, 0.02, 1.5, None, None, 0.9))


def test_it_comes_back_from_the_state_as_it_was() -> None:
    bake = Bake(60, RATIO, "2026-01-01T00:00:00+00:00")
    assert Bake.from_json(json.loads(json.dumps(bake.to_json()))) == bake
