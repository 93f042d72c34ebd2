# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""After the switch: a release is watched before what it replaced is stopped, so that the way back is short."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import blame
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import canary as analysis
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Pool
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.driver import Driver, Ill
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.progress import Tell, Waiting, plural, silent

LOOK = 1.0
# A service that does not answer once may have been busy. One that does not so often in a row is ill, and so is one
# that answers now and then: so many bad looks among the last ones.
IN_A_ROW = 3
AMONG, LAST = 5, 10
# Seconds before the switch that a release is compared with.
LEAST_BEFORE, MOST_BEFORE = 60, 300


class Complaints:
    """What was said of a release, look by look."""

    def __init__(self) -> None:
        self._bad: deque[bool] = deque(maxlen=LAST)
        self._row = 0

    def add(self, ill: Ill | None) -> str | None:
        """Why the release is known to be ill by now; None while that is not known."""
        self._bad.append(ill is not None)
        self._row = self._row + 1 if ill is not None else 0
        if ill is not None and self._row >= IN_A_ROW:
            return f"{ill}, {self._row} times in a row"
        if ill is not None and sum(self._bad) >= AMONG:
            return f"{ill}, at {sum(self._bad)} of the last {len(self._bad)} looks: it is healthy now and then"
        return None


def watch(
    driver: Driver,
    old: Release | None,
    release: Release,
    bake: Bake,
    now: Callable[[], datetime],
    sleep: Callable[[float], None],
    elapsed: Callable[[], float],
    tell: Tell = silent,
) -> dict[str, Any]:
    """Return what was seen once the time is over; raise as soon as the release is known to be bad.

    :param elapsed: seconds by a clock that nobody sets; only what another run has watched is told by the calendar
    """
    since = datetime.fromisoformat(bake.since) if bake.since else now()
    end = elapsed() + bake.seconds - min(max((now() - since).total_seconds(), 0), bake.seconds)
    complaints, before = Complaints(), Pool()
    if old is not None and bake.limits.compares:
        window = timedelta(seconds=min(MOST_BEFORE, max(LEAST_BEFORE, bake.seconds)))
        before = driver.traffic(since - window, since, drawn=False).get(old.id, Pool())
    while True:
        left = end - elapsed()
        ill = driver.unwell(release)
        why = complaints.add(ill)
        if ill is not None and why is not None:
            raise RolloutError(f"bake: {why} after the switch.{driver.words(release.only([ill.service]))}")
        after = driver.traffic(since, drawn=False).get(release.id, Pool())
        broken = analysis.broken(before, after, bake.limits, over=left <= 0)
        if broken is not None:
            raise RolloutError(
                f"bake: {broken.text}, since the switch.{explain(driver, release, after, latency=broken.latency)}"
            )
        if left <= 0:
            return analysis.describe(after)
        tell(_waiting, left, ill, after)
        sleep(min(LOOK, left))


def _waiting(left: float, ill: Ill | None, after: Pool) -> Waiting:
    seen = f"{left:.0f} s left, {after.errors} of {plural(after.requests, 'request')} failed"
    return Waiting((str(ill),) if ill else (), f"{seen}; {ill}" if ill else seen)


def explain(driver: Driver, release: Release, pool: Pool, *, latency: bool) -> str:
    """Which requests and which service are to blame, and what that service says."""
    found = blame.worst(pool, latency=latency)
    service = blame.guilty(release, found)
    said = driver.words(release.only([service])) if service is not None else ""
    return blame.describe(release, found, latency=latency) + said
