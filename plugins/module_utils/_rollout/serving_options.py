# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The options of a service that say how the gateway serves its requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import InputError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parsing import parse_number
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving import Serving

# The longest that each may be, in seconds. The kernel gives up a connection by itself after some two minutes.
TIMEOUTS = {"connect_timeout": 75, "read_timeout": 604800, "body_timeout": 3600}
SERVING = ("max_body_size", *TIMEOUTS)
SIZE = re.compile(r"0|[1-9][0-9]{0,8}[kmgKMG]?")


def parse_serving(where: str, given: Mapping[str, Any]) -> Serving:
    """:param given: the options of a service that takes requests"""
    size = given.get("max_body_size")
    if size is not None and (isinstance(size, bool) or not SIZE.fullmatch(str(size))):
        raise InputError(
            f"{where}.max_body_size: {size!r} is not a size. Write a number with the unit k, m or g, like 20m, or 0 "
            "for no limit."
        )
    times = {key: parse_number(f"{where}.{key}", given[key], 1, most) for key, most in TIMEOUTS.items() if key in given}
    return Serving(max_body_size=None if size is None else str(size).lower(), **times)
