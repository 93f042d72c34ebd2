# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""An engine that goes away in the middle of a rollout is waited for: it is restarted, and its containers run on."""

from __future__ import annotations

import re
import time
from typing import Any

# Seconds that one run waits for the engine, all in all.
PATIENCE = 60.0
PAUSE = 0.2
# Asked a second time, these do what the first time would have done.
_AGAIN = re.compile(r"/containers/[^/]+/(start|stop|update)(\?|$)")


def repeatable(method: str, url: str) -> bool:
    """Whether a request may be sent again when nobody knows what became of it."""
    return method in ("GET", "HEAD", "DELETE") or (method == "POST" and _AGAIN.search(url) is not None)


class Patient:
    """An adapter of the library `requests` that sends over another one, and once more after the engine came back.

    :param ping: a prepared request that an engine answers at once
    :param gone: what the inner adapter raises where the engine went away
    :param failed: what it raises for that, and for anything else that is no answer
    """

    def __init__(
        self, inner: Any, ping: Any, gone: type[Exception], failed: type[Exception], patience: float = PATIENCE
    ) -> None:
        self._inner = inner
        self._ping = ping
        self._gone = gone
        self._failed = failed
        self._left = patience

    def send(self, request: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return self._inner.send(request, *arguments, **options)
        except self._gone:
            # Also where the request is not repeated: what is done about that needs the engine.
            if not self.wait() or not repeatable(request.method, request.url):
                raise
            return self._inner.send(request, *arguments, **options)

    def wait(self) -> bool:
        """Whether the engine answers, now or before the patience is over."""
        while True:
            asked = time.monotonic()
            try:
                self._inner.send(self._ping, timeout=max(1.0, self._left)).close()
                return True
            except self._failed:
                if self._left <= 0:
                    return False
                time.sleep(PAUSE)
            finally:
                self._left -= time.monotonic() - asked

    def close(self) -> None:
        self._inner.close()
