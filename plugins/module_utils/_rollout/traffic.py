# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the gateway's access log tells of the requests that each release answered."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import access_log
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Counts, Pool

# nginx says this of a request that was sent to a release by the weight of the canary: nobody chose it.
DRAWN = "weight"
# No answer of the service came back, or none in time.
UNREACHED = ("502", "504")
# A client that leaves sooner does not leave because it was kept waiting.
PATIENCE = 1.0
# A part of a path that may be an id or a token, which belongs in no message.
IDENTITY = re.compile(r"(?=[^/]*\d)[^/]{4,}|[^/]{25,}")
LONGEST_PATH = 80


class Traffic(access_log.Reader):
    """Counts the requests of one app."""

    def __init__(self, app: str, since: datetime, until: datetime | None = None, drawn: bool = True) -> None:
        """:param drawn: count only requests that were shared out between two releases"""
        super().__init__(since, until)
        self._app = app
        self._drawn = drawn
        self.asked = (since, until, drawn)
        self._counts: dict[str, Counts] = {}

    def count(self, line: str) -> None:
        if self._drawn and f'"chosen":"{DRAWN}"' not in line:
            return
        try:
            entry = json.loads(line)
            release, status = str(entry["release"]), int(entry["status"])
            reached, header = str(entry["upstream_status"]), str(entry["upstream_header"])
            if entry["app"] != self._app or (self._drawn and entry["chosen"] != DRAWN):
                return
            waited = _waited(entry) if status == 499 else None
            address = access_log.attempts(str(entry.get("upstream", "")))[-1].rpartition(":")[0]
            request = f"{entry.get('method', '?')} {_endpoint(str(entry.get('uri', '?')))}"
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        # What the gateway answered by itself says nothing of a release; nor does a client that went away (499) soon.
        if not reached or _refused(reached, status) or (status == 499 and waited is None):
            return
        error = status >= 500 or any(attempt in UNREACHED for attempt in access_log.attempts(reached))
        seconds = _seconds(header, status) if waited is None else waited
        counts = self._counts.setdefault(release, Counts())
        counts.add(error=error, seconds=seconds)
        counts.at(address, request, status=status if error else None, seconds=seconds)

    def pools(self) -> Mapping[str, Pool]:
        """What each release answered, by its id."""
        return {release: counts.pool() for release, counts in self._counts.items()}


def _refused(reached: str, status: int) -> bool:
    """Whether the gateway gave up a request of which a container may have a part: too large, too slow, or garbled."""
    return 400 <= status < 499 and set(access_log.attempts(reached)) == {"-"}


def _waited(entry: Mapping[str, object]) -> float | None:
    """For how long a client waited that gave up; the service took at least so long."""
    seconds = float(str(entry.get("duration", 0)))
    return seconds if seconds >= PATIENCE else None


def _endpoint(uri: str) -> str:
    """The path of a request without what only this request has."""
    path = "/".join(IDENTITY.sub("*", part) for part in uri.partition("?")[0].split("/"))
    return path if len(path) <= LONGEST_PATH else f"{path[:LONGEST_PATH]}..."


def _seconds(header: str, status: int) -> float | None:
    """Time until the answer began, over all attempts; a WebSocket has none."""
    if status == 101:
        return None
    try:
        return sum(float(part) for part in access_log.attempts(header) if part != "-")
    except ValueError:
        return None
