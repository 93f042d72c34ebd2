# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""How the gateway serves the requests of a service. None of it is part of a release: a change is a reload."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Serving:
    """None is the gateway's own limit, for all services alike."""

    # As nginx writes it; 0 is none.
    max_body_size: str | None = None
    # Seconds: to connect to a container, without a byte from it, without a byte of a request's body.
    connect_timeout: int | None = None
    read_timeout: int | None = None
    body_timeout: int | None = None

    def to_json(self) -> dict[str, Any]:
        """What is asked for; nothing where that is nothing, as for a service of a version without these options."""
        asked = {key: value for key, value in asdict(self).items() if value is not None}
        found: dict[str, Any] = json.loads(json.dumps(asked))
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Serving:
        return cls(**data)
