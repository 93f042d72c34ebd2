# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The options of a service that say how the gateway serves its requests."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._common.networks import parse_network
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import TCP, InputError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parsing import (
    mapping,
    parse_bool,
    parse_number,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving import (
    ConnectionLimit,
    Maintenance,
    RateLimit,
    Serving,
)

# The longest that each may be, in seconds. Systems give up a connection by themselves after some 75.
TIMEOUTS = {"connect_timeout": 75, "read_timeout": 604800, "body_timeout": 3600}
# Of all options below, what is for clients from outside.
FOR_CLIENTS = ("rate_limit", "connection_limit", "maintenance")
SERVING = ("max_body_size", *TIMEOUTS, *FOR_CLIENTS)
NO_PORT = (
    "a service without `port`, which is a worker that takes no requests. Give the port on which it listens in its "
    "container, or remove `{key}`."
)
RATE = re.compile(r"(?P<requests>[1-9][0-9]{0,5})/(?P<unit>[sm])")
PERIODS = {"s": 1, "m": 60}
MOST = 100_000
# Bytes: it becomes a part of the configuration.
LARGEST_PAGE = 65536
SIZE = re.compile(r"0|[1-9][0-9]{0,8}[kmgKMG]?")


def parse_serving(where: str, given: Mapping[str, Any], domains: Collection[str]) -> Serving:
    """Of a service, or a job, which may have none of it. :param domains: those of its app"""
    _check_asked(where, given)
    size = given.get("max_body_size")
    if size is not None and (isinstance(size, bool) or not SIZE.fullmatch(str(size))):
        raise InputError(
            f"{where}.max_body_size: {size!r} is not a size. Write a number with the unit k, m or g, like 20m, or 0 "
            "for no limit."
        )
    times = {key: parse_number(f"{where}.{key}", given[key], 1, most) for key, most in TIMEOUTS.items() if key in given}
    serving = Serving(
        max_body_size=None if size is None else str(size).lower(),
        rate_limit=_rate_limit(f"{where}.rate_limit", given.get("rate_limit")),
        connection_limit=_connection_limit(f"{where}.connection_limit", given.get("connection_limit")),
        maintenance=parse_maintenance(f"{where}.maintenance", given.get("maintenance")),
        **times,
    )
    for key in FOR_CLIENTS:
        if getattr(serving, key) is not None and not (given.get("routes") and domains):
            what = "a service without `routes`" if domains else "a service of an app without `domains`"
            raise InputError(
                f"{where}.{key}: for {what}, which only containers of the app reach, and they are always served. "
                f"Remove `{key}`."
            )
    return serving


def _check_asked(where: str, given: Mapping[str, Any]) -> None:
    """Raise where nobody asks by HTTP."""
    if "job" in given:
        why = "a job, which does its work and ends. Remove it, or remove `job`."
    elif "port" not in given:
        why = NO_PORT
    elif given.get("protocol") == TCP:
        why = "a service with `protocol: tcp`, whose bytes the gateway passes on unread. Remove it."
    else:
        return
    for key in SERVING:
        if key in given:
            raise InputError(f"{where}.{key}: {given[key]!r} for {why.format(key=key)}")


def problems(apps: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the options above of some apps, before any host is asked."""
    found = []

    def note(check: Callable[[], object]) -> None:
        try:
            check()
        except InputError as error:
            found.append(str(error))

    for app in apps:
        where, domains = f"apps[{app.get('name')}]", app.get("domains") or []
        note(functools.partial(parse_closed, f"{where}.maintenance", app.get("maintenance"), domains))
        for name, options in (app.get("services") or {}).items():
            if isinstance(options, Mapping):
                given = {key: value for key, value in options.items() if value is not None}
                note(functools.partial(parse_serving, f"{where}.services.{name}", given, domains))
    return found


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


def parse_closed(where: str, options: object, domains: Collection[str]) -> Maintenance | None:
    """The maintenance of a whole app."""
    closed = parse_maintenance(where, options)
    if closed is not None and not domains:
        raise InputError(f"{where}: is for clients from outside, and the app has no `domains`. Remove it.")
    return closed


def parse_maintenance(where: str, options: object) -> Maintenance | None:
    if options is None or isinstance(options, bool):
        return Maintenance() if options else None
    example = "{allow: [203.0.113.0/24], retry_after: 600}, or true"
    given = mapping(where, options, ("page", "retry_after", "allow"), example)
    page = given.get("page")
    if page is not None:
        _check_page(f"{where}.page", page)
    return Maintenance(
        page,
        parse_number(f"{where}.retry_after", given.get("retry_after", Maintenance.retry_after), 1, 604800),
        _networks(f"{where}.allow", given.get("allow", [])),
    )


def _check_page(where: str, page: object) -> None:
    if not isinstance(page, str):
        raise InputError(f"{where}: {page!r} is not a text. Write HTML, or leave it out.")
    strange = sorted(sign for sign in set(page) if unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\t\r\n")
    if strange:
        raise InputError(f"{where}: has the sign {strange[0]!r}, which is no text. Remove it.")
    size = len(page.encode())
    if not 0 < size <= LARGEST_PAGE:
        raise InputError(
            f"{where}: has {size} bytes, which is not from 1 to {LARGEST_PAGE}. Have pictures come from elsewhere, or "
            "leave it out."
        )


def _networks(where: str, value: object) -> tuple[str, ...]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise InputError(f"{where}: {value!r} is not a list. Write for example [203.0.113.0/24].")
    try:
        return tuple(dict.fromkeys(parse_network(str(network)) for network in value))
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
