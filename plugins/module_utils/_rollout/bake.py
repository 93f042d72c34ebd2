# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What a release must hold to after the switch, and what the gateway's access log tells of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import access_log
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    InputError,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import (
    parse_number,
)


@dataclass(frozen=True)
class Bake:
    """How long a release is watched, and what it must hold to. `since` is the time of the switch."""

    seconds: int
    max_error_rate: float = 0.05
    min_requests: int = 20
    since: str | None = None


def parse_bake(options: object) -> Bake | None:
    if not options:
        return None
    if not isinstance(options, Mapping):
        raise InputError(f"bake: {options!r} is not a mapping. Write for example {{seconds: 60}}.")
    given = {str(key): value for key, value in options.items() if value is not None}
    known = ("seconds", "max_error_rate", "min_requests")
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(f"bake.{unknown[0]}: there is no such option. Known are {', '.join(known)}.")
    if "seconds" not in given:
        raise InputError("bake.seconds: missing. Give the number of seconds for which a release is watched.")
    return Bake(
        seconds=parse_number("bake.seconds", given["seconds"], 1, 86400),
        max_error_rate=_rate(given.get("max_error_rate", Bake.max_error_rate)),
        min_requests=parse_number("bake.min_requests", given.get("min_requests", Bake.min_requests), 1, 10**6),
    )


def _rate(value: object) -> float:
    try:
        rate = float(str(value))
    except ValueError:
        rate = -1.0
    if isinstance(value, bool) or not 0 <= rate <= 1:
        raise InputError(f"bake.max_error_rate: {value!r} is not a part of 1, like 0.05 for 5 %.")
    return rate


class Answers(access_log.Reader):
    """Counts what the gateway answered for a release."""

    def __init__(self, addresses: Collection[str], since: str) -> None:
        super().__init__(since)
        self.addresses = addresses
        self.requests = 0
        self.errors = 0

    def count(self, line: str) -> None:
        try:
            entry = json.loads(line)
            last, status = access_log.attempts(str(entry["upstream"]))[-1], int(entry["status"])
        except (ValueError, KeyError, TypeError):
            return
        if last.rpartition(":")[0] in self.addresses:
            self.requests += 1
            self.errors += status >= 500
