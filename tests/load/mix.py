# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which requests are sent, in which order: the same for the same seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

SLOW_SECONDS = 1.5
BIG_BYTES = 200_000
# Of twenty requests in a row.
WEIGHTS = {"get": 10, "echo": 5, "big": 3, "slow": 2}
ECHO_BYTES = (10, 8000)


@dataclass(frozen=True)
class Shot:
    """One request: fresh ones get a connection of their own, the others use what is kept open."""

    kind: str
    method: str
    path: str
    size: int = 0
    fresh: bool = False
    http2: bool = False


def shots(prefixes: Sequence[str], fresh: float, http2: float = 0.0, seed: int = 1) -> Iterator[Shot]:
    """Requests without end: each block of twenty has every kind at its weight, shuffled."""
    rng = random.Random(seed)
    count = 0
    while True:
        block = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
        rng.shuffle(block)
        for kind in block:
            prefix = prefixes[count % len(prefixes)]
            count += 1
            yield replace(_shot(kind, prefix, rng), fresh=rng.random() < fresh, http2=rng.random() < http2)


def _shot(kind: str, prefix: str, rng: random.Random) -> Shot:
    if kind == "echo":
        return Shot(kind, "POST", f"{prefix}/echo", rng.randint(*ECHO_BYTES))
    if kind == "big":
        return Shot(kind, "GET", f"{prefix}/big?bytes={BIG_BYTES}", BIG_BYTES)
    if kind == "slow":
        return Shot(kind, "GET", f"{prefix}/slow?seconds={SLOW_SECONDS}")
    return Shot(kind, "GET", rng.choice((f"{prefix}/", f"{prefix}/version")))
