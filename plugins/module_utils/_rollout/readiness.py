# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Whether a container that answers goes on answering: one good answer may be luck."""

from __future__ import annotations

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import RolloutError

# Good answers in a row until a container counts as ready.
GOOD = 3
# How often it may answer and then fail again.
RELAPSES = 3


class Flapping(RolloutError):
    """A container is ready, then not, then ready."""


class Readiness:
    """What was seen of one container since its start. `min_uptime` are the seconds without a failure that it needs."""

    def __init__(self, min_uptime: int) -> None:
        self._min_uptime = min_uptime
        self._good = 0
        self._relapses = 0
        # When it failed last, after it had been good.
        self._since = 0.0

    @property
    def confirming(self) -> bool:
        """Whether it is good and only has to say so again: the next look can be soon."""
        return 0 < self._good < GOOD

    def look(self, reason: str | None, elapsed: float) -> str | None:
        """Why it is not ready; None when it is.

        :param reason: why it did not answer this time; None where it did
        :param elapsed: seconds since its start
        """
        if reason is not None:
            if self._good:
                self._relapses += 1
                self._good, self._since = 0, elapsed
            if self._relapses >= RELAPSES:
                raise Flapping(
                    f"it was healthy and then failed again, {self._relapses} times in {elapsed:.0f} s, last: {reason}"
                )
            return reason
        self._good += 1
        if self._good < GOOD:
            return f"it answered {self._good} of {GOOD} times in a row"
        if elapsed - self._since < self._min_uptime:
            return f"it has to stay up for {self._min_uptime} s (`min_uptime`)"
        return None
