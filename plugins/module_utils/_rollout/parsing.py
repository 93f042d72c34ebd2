# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Values of options, or InputError that names the place, the value and the remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import InputError


def parse_number(where: str, value: object, low: int, high: int) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise InputError(f"{where}: {value!r} is not a number from {low} to {high}.")
    return number


def parse_bool(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{where}: {value!r} is not true or false.")
    return value


def mapping(where: str, options: object, known: Sequence[str], example: str) -> dict[str, Any]:
    """What is given, or InputError where that is no mapping or has a key that is not known."""
    if not isinstance(options, Mapping):
        raise InputError(f"{where}: {options!r} is not a mapping. Write for example {example}.")
    unknown = sorted(set(map(str, options)) - set(known))
    if unknown:
        raise InputError(f"{where}.{unknown[0]}: there is no such option. Known are {', '.join(known)}.")
    return {key: value for key, value in options.items() if value is not None}
