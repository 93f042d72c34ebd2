# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""One audit from its options to its outcome: what the module and the command share."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit import collect, composeaudit, judge
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    Expected,
    InputError,
    Outcome,
    clean,
    parse_expected,
    unknown,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Loop
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import Host, beyond_loopback, bindings


def _stored(path: str, option: str) -> list[Any]:
    """The entries of a file of declared ports: JSON with the key `expected`."""
    try:
        with open(path, encoding="utf-8") as handle:
            content = json.load(handle)
    except FileNotFoundError:
        raise InputError(
            f"{option}: there is no file {path}. The role hardening writes /etc/daffathan/port_audit.json; "
            'any other is JSON such as {"expected": [{"port": 22, "reason": "administration"}]}.'
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{option}: {path} cannot be read: {clean(error)}. Write valid JSON.") from None
    entries = content.get("expected") if isinstance(content, Mapping) else None
    if not isinstance(entries, list):
        raise InputError(f'{option}: {path} has no list "expected". Write {{"expected": [{{"port": 22}}]}}.')
    return entries


def declared(path: str, option: str, entries: Iterable[Mapping[str, Any]] = ()) -> tuple[Expected, ...]:
    """The declared ports of a file and of the caller, who has the last word on a port that both name.

    :param path: empty for none. :param option: what names the file to the caller.
    """
    own = parse_expected(entries)
    if not path:
        return own
    stored = _stored(path, option)
    try:
        parsed = parse_expected(stored)
    except InputError as error:
        raise InputError(f"{option}: {path}: {error}") from None
    named = {(entry.proto, entry.port) for entry in own}
    return (*(entry for entry in parsed if (entry.proto, entry.port) not in named), *own)


def _candidates(host: Host, reachable: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every port that is open, or that one rule less would open: what is worth a question from outside."""
    found = {(entry["proto"], entry["port"]) for entry in reachable}
    found |= {(item.proto, item.port) for item in host.listeners if not item.address.is_loopback}
    found |= {(binding.proto, binding.port) for dummy, binding, kind in beyond_loopback(bindings(host))}
    return [{"proto": proto, "port": port} for proto, port in sorted(found) if port]


def live(engine_socket: str, engine_timeout: float, expected: tuple[Expected, ...]) -> Outcome:
    """Read this host and judge it."""
    host = collect.host(engine_socket, engine_timeout)
    try:
        audited = judge.judge(host, expected)
    except Loop as error:
        remedy = "Look at the rules of the packet filter."
        text = f"the packet filter could not be evaluated: {error}."
        return Outcome("live", [unknown("rules-not-examined", text, remedy)], [])
    return Outcome("live", audited.findings, audited.reachable, _candidates(host, audited.reachable), audited.adjacent)


def static(paths: Iterable[str], env: Mapping[str, Any], expected: tuple[Expected, ...]) -> Outcome:
    """Judge compose files at rest."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    texts = {str(key): "" if value is None else str(value) for key, value in env.items()}
    return Outcome("static", composeaudit.Auditor(texts, expected).audit(paths, today))
