# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""How the gateway serves the requests of a service. None of it is part of a release: a change is a reload."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class RateLimit:
    """How many requests a client may send in a time, on average. `burst` is how many may come too early."""

    requests: int
    # Seconds: 1 or 60.
    period: int
    burst: int
    # What comes too early is not kept waiting for its time.
    nodelay: bool = True
    # Only the log tells what would have been refused.
    dry_run: bool = False
    exempt: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConnectionLimit:
    """How many requests of a client may be under way at once."""

    connections: int
    dry_run: bool = False
    exempt: tuple[str, ...] = ()


@dataclass(frozen=True)
class Maintenance:
    """Clients from outside are told to come again later, but for those of the networks in `allow`."""

    # HTML in the place of the gateway's own.
    page: str | None = None
    # Seconds.
    retry_after: int = 300
    allow: tuple[str, ...] = ()


@dataclass(frozen=True)
class Serving:
    """None is the gateway's own limit, for all services alike."""

    # As nginx writes it; 0 is none.
    max_body_size: str | None = None
    # Seconds: to connect to a container, without a byte from it, without a byte of a request's body.
    connect_timeout: int | None = None
    read_timeout: int | None = None
    body_timeout: int | None = None
    rate_limit: RateLimit | None = None
    connection_limit: ConnectionLimit | None = None
    maintenance: Maintenance | None = None

    def to_json(self) -> dict[str, Any]:
        """What is asked for; nothing where that is nothing, as for a service of a version without these options."""
        asked = {key: value for key, value in asdict(self).items() if value is not None}
        found: dict[str, Any] = json.loads(json.dumps(asked))
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Serving:
        made = {key: kind(**_hashable(data[key])) for key, kind in _KINDS.items() if key in data}
        return cls(**{**data, **made})


_KINDS: Mapping[str, Callable[..., Any]] = {
    "rate_limit": RateLimit,
    "connection_limit": ConnectionLimit,
    "maintenance": Maintenance,
}


def _hashable(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
