# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Whether a release is as good as the one beside it, or before it: a pure function of what both answered.

The errors of both pools are one sequence. If the pools are equally good, each error falls to the canary with the
probability of its share of the requests. Against that stand alternatives in which the canary fails 4 or 12 times as
often. The ratio of the likelihoods, averaged over them, exceeds 1 / FALSE_ALARM with at most the probability
FALSE_ALARM if the pools are equal, however often one looks (Ville's inequality). So a bad canary is aborted as soon as
it is known to be bad, and nobody has to fix the number of looks beforehand.
https://en.wikipedia.org/wiki/E-values
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

ABORT, PROMOTE, CONTINUE, INCONCLUSIVE = "abort", "promote", "continue", "inconclusive"

# Probability that a step aborts a canary that is as good as the stable release, over all looks of the step.
FALSE_ALARM = 0.02
# How many times as often the canary fails, in the alternatives to "as often".
RATIOS = (4.0, 12.0)

# Upper bounds of the latency buckets in seconds, each 5 % above the one before: 1 ms to 2 minutes.
BOUNDS = tuple(0.001 * 1.05**number for number in range(240))
# Below this many seconds a difference is the noise of the host.
LATENCY_FLOOR = 0.010
# Kinds of requests that are told apart.
ENDPOINTS = 200
# Standard errors by which the quantile of the stable release is taken larger than it was seen.
CAUTION = 3.0


@dataclass
class Endpoint:
    """What one container answered to one kind of request. `status` is that of the last error."""

    address: str
    request: str
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    status: int = 0


@dataclass(frozen=True)
class Pool:
    """The requests that one release answered. `histogram` counts them by BOUNDS; the last count is of slower ones."""

    requests: int = 0
    errors: int = 0
    histogram: tuple[int, ...] = field(default=(0,) * (len(BOUNDS) + 1), repr=False)
    # For a person who has to find out what is wrong.
    endpoints: tuple[Endpoint, ...] = field(default=(), repr=False, compare=False)

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    def quantile(self, part: float) -> float:
        """A time within which this part of the requests was answered; infinite where that is not known."""
        wanted = part * sum(self.histogram)
        seen = 0
        for bound, count in zip(BOUNDS, self.histogram):
            seen += count
            if seen and seen >= wanted:
                return bound
        return math.inf

    def slower(self, seconds: float) -> int:
        """Requests that certainly took longer."""
        return sum(self.histogram[bisect.bisect_left(BOUNDS, seconds) + 1 :])


class Counts:
    """Counts one request after another."""

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.histogram = [0] * (len(BOUNDS) + 1)
        self._endpoints: dict[tuple[str, str], Endpoint] = {}

    def add(self, *, error: bool, seconds: float | None) -> None:
        """:param seconds: None for a request whose time says nothing about the service."""
        self.requests += 1
        self.errors += error
        if seconds is not None:
            self.histogram[bisect.bisect_left(BOUNDS, seconds)] += 1

    def at(self, address: str, request: str, *, status: int | None, seconds: float | None) -> None:
        """Where that was. :param status: of an error; None where it was none"""
        key = (address, request) if len(self._endpoints) < ENDPOINTS else (address, "other requests")
        endpoint = self._endpoints.setdefault(key, Endpoint(*key))
        endpoint.requests += 1
        endpoint.seconds += seconds or 0.0
        if status is not None:
            endpoint.errors += 1
            endpoint.status = status

    def pool(self) -> Pool:
        return Pool(self.requests, self.errors, tuple(self.histogram), tuple(self._endpoints.values()))


@dataclass(frozen=True)
class Analysis:
    """What a release must hold to. Rates are parts of 1, times are seconds; None is no limit."""

    min_requests: int
    error_margin: float | None = 0.005
    max_error_rate: float | None = None
    max_p95_ratio: float | None = None
    max_p99_ratio: float | None = None
    max_p95: float | None = None
    max_p99: float | None = None

    @property
    def compares(self) -> bool:
        """Whether a limit depends on what another release answered."""
        return (self.error_margin, self.max_p95_ratio, self.max_p99_ratio) != (None, None, None)


@dataclass(frozen=True)
class Names:
    """What a person calls the two releases."""

    new: str = "canary"
    old: str = "stable release"


CANARY = Names()
SWITCHED = Names("new release", "release before")


@dataclass(frozen=True)
class Verdict:
    """`kind` is promote, continue, abort or inconclusive; `why` is for a person, and so is more `detail`."""

    kind: str
    why: str
    # Nothing but the time of the answers speaks against it.
    latency: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Check:
    """One thing a release must hold to: whether it does, as far as was seen, and the evidence that it does not."""

    holds: bool
    evidence: float
    text: str
    # What was seen rests on so many requests.
    requests: int
    # What is limited.
    latency: bool = False


@dataclass(frozen=True)
class Broken:
    """What a release that serves all users does not hold to."""

    text: str
    latency: bool


def decide(stable: Pool, canary: Pool, analysis: Analysis, *, over: bool = False) -> Verdict:
    """:param over: there is no more time to wait for requests: what cannot be told by now is inconclusive."""
    checks = _checks(stable, canary, analysis, CANARY)
    proven = _proven(checks)
    if proven:
        return Verdict(ABORT, _texts(proven), all(check.latency for check in proven))
    waiting = INCONCLUSIVE if over else CONTINUE
    for name, pool in ((CANARY.new, canary), (CANARY.old, stable)):
        if pool.requests < analysis.min_requests:
            text = f"the {name} answered {pool.requests} of at least {analysis.min_requests} requests"
            return Verdict(waiting, text)
    doubts = [check for check in checks if not check.holds]
    if doubts:
        return Verdict(waiting, f"not proven, but seen: {_texts(doubts)}")
    return Verdict(PROMOTE, _texts(checks))


def broken(before: Pool, after: Pool, analysis: Analysis, *, over: bool = False) -> Broken | None:
    """What a release that replaced another does not hold to: as soon as that is proven, and at the end what was seen.

    :param over: there is no more time; `min_requests` are enough to see something. With fewer it stays.
    """
    checks = _checks(before, after, analysis, SWITCHED)
    seen = [check for check in checks if over and not check.holds and check.requests >= analysis.min_requests]
    against = _proven(checks) or seen
    return Broken(_texts(against), all(check.latency for check in against)) if against else None


def _proven(checks: Sequence[Check]) -> list[Check]:
    return [check for check in checks if not check.holds and check.evidence >= math.log(len(checks) / FALSE_ALARM)]


def _texts(checks: Sequence[Check]) -> str:
    return "; ".join(check.text for check in checks)


def _checks(stable: Pool, canary: Pool, analysis: Analysis, names: Names) -> list[Check]:
    checks = []
    if analysis.error_margin is not None:
        checks.append(_errors(stable, canary, analysis.error_margin, names))
    if analysis.max_error_rate is not None:
        text = f"{_percent(canary)} errors of the {names.new}, limit {analysis.max_error_rate:.2%}"
        checks.append(_limit(canary.errors, canary.requests, analysis.max_error_rate, text))
    for part, ratio in ((0.95, analysis.max_p95_ratio), (0.99, analysis.max_p99_ratio)):
        if ratio is not None:
            checks.append(_against_stable(stable, canary, part, ratio, names))
    for part, seconds in ((0.95, analysis.max_p95), (0.99, analysis.max_p99)):
        if seconds is not None:
            checks.append(_slow(canary, part, seconds, names))
    return checks


def _errors(stable: Pool, canary: Pool, margin: float, names: Names) -> Check:
    text = f"{_percent(canary)} errors of the {names.new}, {_percent(stable)} of the {names.old}"
    holds = canary.error_rate <= stable.error_rate + margin
    evidence = more_often(canary.errors, canary.requests, stable.errors, stable.requests)
    return Check(holds, evidence, text, min(canary.requests, stable.requests))


def _against_stable(stable: Pool, canary: Pool, part: float, ratio: float, names: Names) -> Check:
    """Whether as many of the canary's requests as of the stable release's are answered in `ratio` times the time."""
    seen = stable.quantile(part)
    text = f"{_slowness(canary, part, names)}, at most {ratio:g} times the {_ms(seen)} of the {names.old}"
    known, slowest = sum(stable.histogram), 1 - part
    answered = sum(canary.histogram)
    if not known:
        return Check(True, 0.0, text, 0, latency=True)
    late = canary.slower(_times(seen, ratio))
    # Of few requests the quantile is known badly: the canary gets the benefit of the doubt.
    cautious = part + CAUTION * math.sqrt(part * slowest / known)
    surely_late = canary.slower(_times(stable.quantile(cautious), ratio))
    evidence = more_than(surely_late, answered, slowest)
    return Check(late <= slowest * answered, evidence, text, min(answered, known), latency=True)


def _times(seconds: float, ratio: float) -> float:
    return max(ratio * seconds, seconds + LATENCY_FLOOR)


def _slow(canary: Pool, part: float, seconds: float, names: Names) -> Check:
    text = f"{_slowness(canary, part, names)}, limit {_ms(seconds)}"
    return _limit(canary.slower(seconds), sum(canary.histogram), 1 - part, text, latency=True)


def _slowness(pool: Pool, part: float, names: Names) -> str:
    return f"p{part * 100:.0f} of the {names.new} {_ms(pool.quantile(part))}"


def _limit(count: int, of: int, limit: float, text: str, *, latency: bool = False) -> Check:
    return Check(count <= limit * of, more_than(count, of, limit), text, of, latency)


def more_often(errors: int, requests: int, other_errors: int, other_requests: int) -> float:
    """Logarithm of the evidence that the first pool fails more often than the other."""
    if not requests or not other_requests:
        return 0.0
    share = requests / (requests + other_requests)
    total = errors + other_errors
    return _mean([errors * math.log(ratio) - total * math.log1p((ratio - 1) * share) for ratio in RATIOS])


def more_than(count: int, of: int, limit: float) -> float:
    """Logarithm of the evidence that the rate behind `count` of `of` is above the limit."""
    if limit <= 0:
        return math.inf if count else 0.0
    rates = [min(ratio * limit, (limit + 1) / 2) for ratio in (1.5, 4.0)]
    return _mean(
        [
            count * math.log(rate / limit) + (of - count) * (math.log1p(-rate) - math.log1p(-limit))
            for rate in rates
            if rate > limit
        ]
    )


def _mean(logarithms: Sequence[float]) -> float:
    """Logarithm of the mean of what has these logarithms."""
    if not logarithms:
        return 0.0
    most = max(logarithms)
    return most + math.log(sum(math.exp(each - most) for each in logarithms) / len(logarithms))


def _percent(pool: Pool) -> str:
    return f"{pool.error_rate:.2%} ({pool.errors} of {pool.requests})"


def _ms(seconds: float) -> str:
    return "unknown" if math.isinf(seconds) else f"{seconds * 1000:.0f} ms"


def describe(pool: Pool) -> dict[str, Any]:
    """A pool in the journal and in results: counts, and milliseconds that are null where they are not known."""
    times = {f"p{part}": pool.quantile(part / 100) for part in (50, 95, 99)}
    ms = {name: None if math.isinf(value) else round(value * 1000) for name, value in times.items()}
    return {"requests": pool.requests, "errors": pool.errors, "ms": ms}
