# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the gateway's access log tells of the users that were shared out between two releases."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import access_log
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Counts, Pool

# nginx says this of a request that was sent to a release by the weight of the canary: nobody chose it.
DRAWN = "weight"
# No answer of the service came back, or none in time.
UNREACHED = ("502", "504")


class Traffic(access_log.Reader):
    """Counts the requests of one app."""

    def __init__(self, app: str, since: str) -> None:
        super().__init__(since)
        self._app = app
        self._counts: dict[str, Counts] = {}

    def count(self, line: str) -> None:
        if f'"chosen":"{DRAWN}"' not in line:
            return
        try:
            entry = json.loads(line)
            release, status = str(entry["release"]), int(entry["status"])
            reached, header = str(entry["upstream_status"]), str(entry["upstream_header"])
            if entry["app"] != self._app or entry["chosen"] != DRAWN:
                return
        except (ValueError, KeyError, TypeError):
            return
        # What the gateway answered by itself says nothing of a release; nor does a client that went away (499).
        if not reached or status == 499:
            return
        error = status >= 500 or any(attempt in UNREACHED for attempt in access_log.attempts(reached))
        self._counts.setdefault(release, Counts()).add(error=error, seconds=_seconds(header, status))

    def pools(self) -> Mapping[str, Pool]:
        """What each release answered, by its id."""
        return {release: counts.pool() for release, counts in self._counts.items()}


def _seconds(header: str, status: int) -> float | None:
    """Time until the answer began, over all attempts; a WebSocket has none."""
    if status == 101:
        return None
    try:
        return sum(float(part) for part in access_log.attempts(header) if part != "-")
    except ValueError:
        return None
