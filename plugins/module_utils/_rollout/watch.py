# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""After the switch: a release is watched before what it replaced is stopped, so that the way back is short."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.driver import Driver
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.progress import Tell, Waiting, plural, silent

LOOK = 1.0
# A service that does not answer once may have been busy; what does not answer so often in a row is ill.
FAILURES = 3


def watch(
    driver: Driver,
    release: Release,
    bake: Bake,
    now: Callable[[], datetime],
    sleep: Callable[[float], None],
    tell: Tell = silent,
) -> dict[str, Any]:
    """Return what was seen once the time is over; raise as soon as the release is known to be bad."""
    since = datetime.fromisoformat(bake.since) if bake.since else now()
    failures = requests = errors = 0
    while True:
        left = bake.seconds - (now() - since).total_seconds()
        why = driver.unwell(release)
        failures = failures + 1 if why else 0
        if failures >= FAILURES:
            raise RolloutError(f"bake: {why}, {failures} times in a row after the switch.")
        requests, errors = driver.answers(release, since)
        if requests >= bake.min_requests and errors > bake.max_error_rate * requests:
            raise RolloutError(
                f"bake: {errors} of {requests} requests ({errors / requests:.1%}) got an answer of 500 or above since "
                f"the switch, limit {bake.max_error_rate:.1%} (`bake.max_error_rate`)."
            )
        if left <= 0:
            return {"requests": requests, "errors": errors}
        tell(_waiting, left, why, requests, errors)
        sleep(min(LOOK, left))


def _waiting(left: float, why: str | None, requests: int, errors: int) -> Waiting:
    seen = f"{left:.0f} s left, {errors} of {plural(requests, 'request')} failed"
    return Waiting((why,) if why else (), f"{seen}; {why}" if why else seen)
