# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Which phase a run is in and what it waits for, in a small file for whoever watches.

No run ever reads it, so it may be missing, late or lost; what a run did is in its journal.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.daffathan.platform.plugins.module_utils._common.files import write_atomic

# In memory: nothing of it has to survive a boot, and a full disk does not matter.
DIRECTORY = "/run/daffathan"
# Seconds between two notes of what one phase waits for.
INTERVAL = 1.0

# What a phase does. The names in braces are details of its line in the journal.
PHASES: Mapping[str, str] = {
    "recover": "finishes or undoes what an interrupted run left",
    "fetch": "pulls images that are not on the host",
    "base": "waits for the base services to get healthy",
    "stage": "writes the files of {release}",
    "point": "makes a recovery point of the database",
    "job": "runs {job}",
    "start": "starts the containers of {release}",
    "ready": "waits for {release}",
    "workers": "starts the workers of {release}",
    "swap": "exchanges what must not run twice",
    "roll": "replaces containers one by one",
    "canary": "shares out the users",
    "shift": "loads the gateway",
    "fence": "waits for the gateway to answer with the new configuration alone",
    "bake": "watches {release}",
    "drain": "waits for requests to {release} to end",
    "stop": "stops {release}",
    "prune": "removes what is kept no more",
    "undo": "takes {release} away",
}


class Waiting(NamedTuple):
    """`about` changes only with what is waited for; `text` also with every figure."""

    about: tuple[str, ...]
    text: str


# Takes what makes a Waiting, and its arguments: it is made only where it is written.
Tell = Callable[..., None]


def silent(make: Callable[..., Waiting], *values: Any) -> None:
    """Nobody watches."""


def progress_path(app: str) -> str:
    return f"{DIRECTORY}/{app}.progress.json"


class _Details(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "the release"


class Progress:
    """Writes the file; `path` None writes nothing (a dry run, a test)."""

    def __init__(
        self,
        path: str | None = None,
        redact: Callable[[str], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._redact = redact
        self._clock = clock
        self._begun = clock()
        # Of what the innermost phase waits for.
        self._written = -math.inf
        # Phases within phases, the innermost last.
        self._phases: list[tuple[str, Waiting]] = []

    @property
    def elapsed(self) -> int:
        """Milliseconds since the run began."""
        return round((self._clock() - self._begun) * 1000)

    @contextlib.contextmanager
    def phase(self, name: str, detail: Mapping[str, Any]) -> Iterator[None]:
        text = PHASES.get(name, "").format_map(_Details(detail))
        self._phases.append((name, Waiting((), text)))
        self._write(*self._phases[-1])
        self._written = -math.inf
        try:
            yield
        finally:
            self._phases.pop()
            if self._phases:
                self._write(*self._phases[-1])

    def waits(self, make: Callable[..., Waiting], *values: Any) -> None:
        if self.path is not None and self._phases and self._clock() - self._written >= INTERVAL:
            self._write(self._phases[-1][0], make(*values))
            self._written = self._clock()

    def _write(self, phase: str, waiting: Waiting) -> None:
        if self.path is None:
            return
        about = [self._redact(each) for each in waiting.about]
        # Readers compare what stands before `text`: the order counts.
        note = {"pid": os.getpid(), "phase": phase, "about": about, "text": self._redact(waiting.text)}
        with contextlib.suppress(OSError):
            write_atomic(self.path, json.dumps({**note, "seconds": self.elapsed // 1000}) + "\n", mode=0o600)

    def close(self) -> None:
        if self.path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path)


def unready(total: Mapping[str, int], reasons: Mapping[str, Sequence[str]]) -> Waiting:
    """:param reasons: by service, why each of its containers that are not ready is not"""
    parts = []
    for name, why in sorted(reasons.items()):
        said = ", ".join(dict.fromkeys(why))
        parts.append(f"{name} {total[name] - len(why)} of {total[name]} ready ({said})")
    return Waiting(tuple(sorted(reasons)), ", ".join(parts))


def undrained(holders: Mapping[str, Sequence[str]], left: float) -> Waiting:
    """:param holders: by service, the other end of each connection to it"""
    parts, about = [], []
    for name, others in sorted(holders.items()):
        if others:
            by = [f"{count} from {other}" for other, count in sorted(Counter(others).items())]
            who = f"from {others[0]}" if len(by) == 1 else f"({', '.join(by)})"
            parts.append(f"{name} has {plural(len(others), 'connection')} {who}")
            about += [f"{name} {other}" for other in sorted(set(others))]
    return Waiting(tuple(about), f"{', '.join(parts)}; ends in {max(0, round(left))} s at the latest")


def unended(job: str, passed: float, timeout: int) -> Waiting:
    return Waiting((job,), f"{job} has run for {passed:.0f} of at most {timeout} s")


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
