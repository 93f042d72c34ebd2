# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What a release must hold to after the switch: the limits of a canary, against the release that it replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Analysis
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import (
    LIMITS,
    parse_limits,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import InputError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parsing import mapping, parse_number

EXAMPLE = "{seconds: 60, max_p95_ms: 500}"
# What the release before answered is another time's: its rate of errors is compared only where that is asked for.
DEFAULT = Analysis(min_requests=20, error_margin=None, max_error_rate=0.05)


@dataclass(frozen=True)
class Bake:
    """How long a release is watched, and what it must hold to. `since` is the time of the switch."""

    seconds: int
    limits: Analysis = DEFAULT
    since: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Bake:
        return cls(**dict(data, limits=Analysis(**data["limits"])))


def parse_bake(options: object) -> Bake | None:
    if not options:
        return None
    given = mapping("bake", options, ("seconds", *LIMITS), EXAMPLE)
    if "seconds" not in given:
        raise InputError("bake.seconds: missing. Give the number of seconds for which a release is watched.")
    return Bake(parse_number("bake.seconds", given["seconds"], 1, 86400), parse_limits("bake", given, DEFAULT))
