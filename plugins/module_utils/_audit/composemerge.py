# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""How Compose merges one model into another: override files, documents, extends and include."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeports import PortError, parse_port
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeyaml import (
    Fields,
    Items,
    KeyPath,
    place_of,
)


class MergeError(Exception):
    """Two values that do not go together; `value` is the one that comes over the other."""

    def __init__(self, key: str, value: object) -> None:
        self.value = value
        super().__init__(f"{key} cannot be merged with what was there before")


def merge(base: Any, over: Any, path: KeyPath) -> Any:
    """A value with another one over it, which is not changed and neither is the first.

    :raises MergeError: Compose would refuse it.
    """
    if over is None:
        return base
    if base is None:
        return over
    if path[-1:] == ("networks",) and len(path) == 3:
        base, over = _as_fields(base), _as_fields(over)
    if isinstance(base, Fields):
        if not isinstance(over, Fields):
            raise MergeError(path[-1], over)
        result = Fields(over.place, base, {**base.keys_at, **over.keys_at})
        for key, value in over.items():
            result[key] = merge(base[key], value, (*path, key)) if key in base else value
        return result
    if isinstance(base, Items):
        if not isinstance(over, Items):
            raise MergeError(path[-1], over)
        return Items(over.place, unique([*base, *over], path[-1]))
    return over


def _as_fields(value: Any) -> Any:
    """A list of names as a mapping of names."""
    if not isinstance(value, Items) or not all(isinstance(name, str) for name in value):
        return value
    places = {name: place_of(name) for name in value}
    return Fields(value.place, dict.fromkeys(value), places)


def _port_key(entry: Any) -> object:
    try:
        port = parse_port(entry)
    except PortError:
        return id(entry)
    return port.host_ip or "0.0.0.0", port.first, port.last, port.target, port.proto


def _mount_key(entry: Any) -> object:
    if isinstance(entry, Fields):
        return entry.get("target")
    parts = str(entry).split(":")
    return parts[1] if len(parts) > 1 else parts[0]


_KEYS: dict[str, Callable[[Any], object]] = {"ports": _port_key, "volumes": _mount_key}


def unique(entries: Iterable[Any], key: str) -> list[Any]:
    """A list in which a later entry takes the place of an earlier one that means the same."""
    identity = _KEYS.get(key)
    if identity is None:
        return list(entries)
    found: dict[object, Any] = {}
    for entry in entries:
        found[identity(entry)] = entry
    return list(found.values())


def clear(model: Fields, paths: Iterable[KeyPath]) -> Fields:
    """A model without what is at some paths."""
    for path in paths:
        model = _without(model, path)
    return model


def _without(fields: Fields, path: KeyPath) -> Fields:
    if not path or path[0] not in fields:
        return fields
    result = Fields(fields.place, fields, fields.keys_at)
    if len(path) == 1:
        del result[path[0]]
    elif isinstance(result[path[0]], Fields):
        result[path[0]] = _without(result[path[0]], path[1:])
    return result
