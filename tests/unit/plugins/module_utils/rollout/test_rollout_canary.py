# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The judgement on a canary: what it must never do, and how often it is right, in simulations with fixed seeds."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import (
    ABORT,
    BOUNDS,
    CONTINUE,
    FALSE_ALARM,
    INCONCLUSIVE,
    LATENCY_FLOOR,
    PROMOTE,
    Analysis,
    Counts,
    Pool,
    decide,
)
from hypothesis import given
from hypothesis import strategies as st

ANALYSIS = Analysis(min_requests=50)
ORDER = {PROMOTE: 0, CONTINUE: 1, INCONCLUSIVE: 1, ABORT: 2}


def pool(requests: int, errors: int = 0, seconds: float = 0.02) -> Pool:
    counts = Counts()
    for number in range(requests):
        counts.add(error=number < errors, seconds=seconds)
    return counts.pool()


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    requests = draw(st.integers(0, 3000))
    return Pool(requests, draw(st.integers(0, requests)))


@st.composite
def analyses(draw: st.DrawFn) -> Analysis:
    return Analysis(
        min_requests=draw(st.integers(1, 500)),
        error_margin=draw(st.sampled_from((0.0, 0.005, 0.1))),
        max_error_rate=draw(st.sampled_from((None, 0.01, 0.2))),
    )


@given(pools(), pools(), analyses(), st.booleans(), st.data())
def test_more_errors_of_the_canary_never_speak_for_it(
    stable: Pool, canary: Pool, analysis: Analysis, over: bool, data: st.DataObject
) -> None:
    worse = replace(canary, errors=data.draw(st.integers(canary.errors, canary.requests)))
    before = decide(stable, canary, analysis, over=over).kind
    assert ORDER[decide(stable, worse, analysis, over=over).kind] >= ORDER[before]


@given(pools(), pools(), analyses(), st.integers(1, 500))
def test_requests_that_all_failed_never_turn_an_abort_into_a_promotion(
    stable: Pool, canary: Pool, analysis: Analysis, count: int
) -> None:
    if decide(stable, canary, analysis).kind == ABORT:
        worse = replace(canary, requests=canary.requests + count, errors=canary.errors + count)
        assert decide(stable, worse, analysis).kind != PROMOTE


@given(pools(), pools(), analyses(), st.data())
def test_more_errors_of_the_stable_release_never_speak_against_the_canary(
    stable: Pool, canary: Pool, analysis: Analysis, data: st.DataObject
) -> None:
    worse = replace(stable, errors=data.draw(st.integers(stable.errors, stable.requests)))
    assert ORDER[decide(worse, canary, analysis).kind] <= ORDER[decide(stable, canary, analysis).kind]


@given(pools(), pools(), analyses(), st.booleans())
def test_too_few_requests_never_pass(stable: Pool, canary: Pool, analysis: Analysis, over: bool) -> None:
    if min(stable.requests, canary.requests) < analysis.min_requests:
        assert decide(stable, canary, analysis, over=over).kind != PROMOTE


@given(pools(), pools(), analyses())
def test_the_end_of_the_time_turns_waiting_into_inconclusive_and_nothing_else(
    stable: Pool, canary: Pool, analysis: Analysis
) -> None:
    now, over = (decide(stable, canary, analysis, over=end) for end in (False, True))
    assert over == (replace(now, kind=INCONCLUSIVE) if now.kind == CONTINUE else now)


@pytest.mark.parametrize(
    ("stable", "canary", "kind"),
    [
        (pool(450), pool(50), PROMOTE),
        (pool(450), pool(49), CONTINUE),
        (pool(49), pool(450), CONTINUE),
        (pool(0), pool(0), CONTINUE),
        # A canary that answers nothing is seen before there are enough requests.
        (pool(36), pool(4, 4), ABORT),
        (pool(36), pool(2, 2), CONTINUE),
        # Both are ill: the canary is not to blame.
        (pool(900, 300), pool(100, 33), PROMOTE),
        (pool(900, 2), pool(100, 3), CONTINUE),
        (pool(900, 2), pool(100, 10), ABORT),
    ],
)
def test_errors(stable: Pool, canary: Pool, kind: str) -> None:
    verdict = decide(stable, canary, ANALYSIS)
    assert verdict.kind == kind, verdict


@pytest.mark.parametrize(
    ("canary", "limits", "kind"),
    [
        (pool(200, seconds=0.2), {"max_p95_ratio": 1.5}, ABORT),
        (pool(200, seconds=0.1), {"max_p95_ratio": 1.5}, PROMOTE),
        (pool(200, seconds=0.2), {"max_p99_ratio": 1.5}, ABORT),
        (pool(200, seconds=0.2), {"max_p95": 0.15}, ABORT),
        (pool(200, seconds=0.2), {"max_p99": 0.3}, PROMOTE),
        (pool(200, 40), {"error_margin": 1.0, "max_error_rate": 0.05}, ABORT),
        (pool(200, 9), {"error_margin": 1.0, "max_error_rate": 0.05}, PROMOTE),
        (pool(200, 1), {"error_margin": 1.0, "max_error_rate": 0.0}, ABORT),
    ],
)
def test_limits(canary: Pool, limits: dict[str, float], kind: str) -> None:
    verdict = decide(pool(1000, seconds=0.1), canary, replace(ANALYSIS, **limits))
    assert verdict.kind == kind, verdict


def test_a_difference_below_the_floor_is_noise() -> None:
    stable, canary = pool(1000, seconds=0.001), pool(1000, seconds=0.001 + LATENCY_FLOOR * 0.9)
    assert decide(stable, canary, replace(ANALYSIS, max_p95_ratio=1.1)).kind == PROMOTE


@given(st.lists(st.floats(0.0005, 100), min_size=1, max_size=200), st.sampled_from((0.5, 0.95, 0.99)))
def test_quantiles_are_right_to_a_bucket(times: list[float], part: float) -> None:
    counts = Counts()
    for seconds in times:
        counts.add(error=False, seconds=seconds)
    exact = sorted(times)[max(0, math.ceil(part * len(times)) - 1)]
    assert exact <= counts.pool().quantile(part) <= max(BOUNDS[0], exact * 1.0501)
    assert counts.pool().slower(exact) <= sum(seconds > exact for seconds in times)


def test_what_is_not_known_of_latency_is_no_reproach() -> None:
    counts = Counts()
    counts.add(error=False, seconds=None)
    assert counts.pool().requests == 1 and math.isinf(counts.pool().quantile(0.95))
    blind = replace(pool(100), histogram=Pool().histogram)
    assert decide(blind, pool(100), replace(ANALYSIS, max_p95_ratio=1.5)).kind == PROMOTE


# Simulations: a canary with a share of the requests, looked at again and again for ten minutes.


def _poisson(rng: random.Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


def failed(rng: random.Random, requests: int, rate: float) -> int:
    return sum(rng.random() < rate for _ in range(requests))


def first_abort(
    rng: random.Random, *, rps: float, stable: float, canary: float, share: float = 0.1, look: int = 5
) -> int | None:
    """Seconds until the first abort; None where ten minutes brought none."""
    seen = {"stable": [0, 0], "canary": [0, 0]}
    for second in range(look, 601, look):
        for name, part, rate in (("stable", 1 - share, stable), ("canary", share, canary)):
            requests = _poisson(rng, rps * look * part)
            seen[name][0] += requests
            seen[name][1] += failed(rng, requests, rate)
        if decide(Pool(*seen["stable"]), Pool(*seen["canary"]), ANALYSIS).kind == ABORT:
            return second
    return None


# Requests per second, errors of the stable release and of the canary, and the bounds on how often and how soon it is
# aborted (mean, seconds). The comment has what Flagger's rule (success rate of the canary at least 99 %, 5 failed
# checks) and Argo's (95 %, 3) did with the same traffic.
TRAFFIC = [
    (0.2, 0.005, 0.005, (0.0, 0.01), None),  # Flagger aborts 17 %
    (0.2, 0.005, 0.2, (0.35, 1.0), 420),  # Flagger 66 %, Argo 15 %
    (0.2, 0.005, 1.0, (0.99, 1.0), 180),  # 100 % in 300 s, 99.5 % in 339 s
    (1, 0.005, 0.05, (0.36, 1.0), 400),  # 10 %, 23 %
    (5, 0.005, 0.005, (0.0, 0.01), None),  # 1 %, none
    (5, 0.005, 0.05, (0.985, 1.0), 200),  # 99 % in 381 s, 70 % in 447 s
    (50, 0.005, 0.02, (1.0, 1.0), 110),  # 100 % in 331 s, none
    (50, 0.005, 0.2, (1.0, 1.0), 15),  # 100 % in 300 s, 100 % in 240 s
    (50, 0.03, 0.03, (0.0, 0.01), None),  # Flagger aborts all
]


@pytest.mark.parametrize(("rps", "stable", "canary", "share", "mean"), TRAFFIC)
def test_it_is_right_as_often_and_as_soon_as_the_rules_of_others(
    rps: float, stable: float, canary: float, share: tuple[float, float], mean: float | None
) -> None:
    rng = random.Random(7)
    trials = 2000 if rps <= 1 else 400 if rps < 50 else 100
    aborted = [first_abort(rng, rps=rps, stable=stable, canary=canary) for _ in range(trials)]
    times = [seconds for seconds in aborted if seconds is not None]
    assert share[0] <= len(times) / trials <= share[1]
    assert mean is None or sum(times) / len(times) <= mean


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1, 0.3])
def test_an_equal_canary_is_not_aborted_more_often_than_stated_however_often_one_looks(
    share: float, rate: float
) -> None:
    rng = random.Random(f"{share} {rate}")
    trials = 250
    looks = (first_abort(rng, rps=4, stable=rate, canary=rate, share=share) for _ in range(trials))
    assert sum(seconds is not None for seconds in looks) <= FALSE_ALARM * trials


def test_five_percent_of_errors_abort_within_a_window_of_two_hundred_requests() -> None:
    """Power 0.9 against a stable release with 0.5 % errors at a tenth of the traffic: 200 requests of the canary."""
    rng = random.Random("power")
    aborted = 0
    for _ in range(1000):
        stable, canary = Pool(1800, failed(rng, 1800, 0.005)), Pool(200, failed(rng, 200, 0.05))
        aborted += decide(stable, canary, ANALYSIS).kind == ABORT
    assert aborted >= 900


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_latency_of_equal_pools_is_no_reason_to_abort(share: float) -> None:
    """A long tail, of which few requests of the stable release tell little."""
    limits = replace(ANALYSIS, max_p95_ratio=1.5, max_p99_ratio=1.2)
    rng = random.Random("latency")
    alarms = 0
    for _ in range(150):
        stable, canary = Counts(), Counts()
        verdicts = set()
        for _ in range(5):
            for counts, requests in ((stable, round(100 * (1 - share))), (canary, round(100 * share))):
                for _ in range(requests):
                    counts.add(error=False, seconds=rng.lognormvariate(-3.5, 1.0))
            verdicts.add(decide(stable.pool(), canary.pool(), limits).kind)
        alarms += ABORT in verdicts
    assert alarms <= FALSE_ALARM * 150


def test_three_times_the_latency_aborts_within_a_window_of_two_hundred_requests() -> None:
    rng = random.Random("slow")
    aborted = 0
    for _ in range(100):
        stable, canary = Counts(), Counts()
        for counts, requests, factor in ((stable, 1800, 1), (canary, 200, 3)):
            for _ in range(requests):
                counts.add(error=False, seconds=factor * rng.lognormvariate(-3.5, 0.5))
        aborted += decide(stable.pool(), canary.pool(), replace(ANALYSIS, max_p95_ratio=1.5)).kind == ABORT
    assert aborted >= 90
