# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The options of a service that say how the gateway serves its requests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._common.networks import check_network
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import InputError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parsing import (
    mapping,
    parse_bool,
    parse_number,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving import (
    ConnectionLimit,
    RateLimit,
    Serving,
)

# The longest that each may be, in seconds. The kernel gives up a connection by itself after some two minutes.
TIMEOUTS = {"connect_timeout": 75, "read_timeout": 604800, "body_timeout": 3600}
SERVING = ("max_body_size", *TIMEOUTS, "rate_limit", "connection_limit")
RATE = re.compile(r"(?P<requests>[1-9][0-9]{0,5})/(?P<unit>[sm])")
PERIODS = {"s": 1, "m": 60}
MOST = 100_000
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
    return Serving(
        max_body_size=None if size is None else str(size).lower(),
        rate_limit=_rate_limit(f"{where}.rate_limit", given.get("rate_limit")),
        connection_limit=_connection_limit(f"{where}.connection_limit", given.get("connection_limit")),
        **times,
    )


def check_routed(where: str, serving: Serving, routes: Sequence[str]) -> None:
    """Raise where something is asked for clients that cannot come."""
    for key in ("rate_limit", "connection_limit"):
        if getattr(serving, key) is not None and not routes:
            raise InputError(
                f"{where}.{key}: for a service without `routes`, which only containers of the app reach; they are not "
                f"counted. Remove `{key}`."
            )


def _rate_limit(where: str, options: object) -> RateLimit | None:
    if options is None:
        return None
    given = mapping(where, options, ("rate", "burst", "nodelay", "dry_run", "exempt"), "{rate: 10/s, burst: 20}")
    rate = RATE.fullmatch(str(given.get("rate")))
    if rate is None:
        raise InputError(
            f"{where}.rate: {given.get('rate')!r} is not a rate. Write the number of requests by second or minute, "
            "like 10/s or 30/m."
        )
    requests = int(rate["requests"])
    return RateLimit(
        requests,
        PERIODS[rate["unit"]],
        parse_number(f"{where}.burst", given.get("burst", min(requests, MOST)), 0, MOST),
        nodelay=parse_bool(f"{where}.nodelay", given.get("nodelay", True)),
        dry_run=parse_bool(f"{where}.dry_run", given.get("dry_run", False)),
        exempt=_networks(f"{where}.exempt", given.get("exempt", [])),
    )


def _connection_limit(where: str, options: object) -> ConnectionLimit | None:
    if options is None:
        return None
    given = mapping(where, options, ("connections", "dry_run", "exempt"), "{connections: 20}")
    return ConnectionLimit(
        parse_number(f"{where}.connections", given.get("connections"), 1, 65535),
        dry_run=parse_bool(f"{where}.dry_run", given.get("dry_run", False)),
        exempt=_networks(f"{where}.exempt", given.get("exempt", [])),
    )


def _networks(where: str, value: object) -> tuple[str, ...]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise InputError(f"{where}: {value!r} is not a list. Write for example [203.0.113.0/24].")
    for network in value:
        try:
            check_network(str(network))
        except ValueError as error:
            raise InputError(f"{where}: {error}") from None
    return tuple(dict.fromkeys(map(str, value)))
