# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Time spans as a person writes and reads them."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_SPAN = re.compile(r"([0-9]+) *(sec|min|[smhdw])?")


def parse_duration(text: str, name: str, *, unit: bool = True) -> int:
    """Seconds; ValueError names the variable, the value and the remedy.

    :param unit: whether there has to be a unit. To systemd a number alone means seconds.
    """
    match = _SPAN.fullmatch(text.strip())
    if not match or (unit and not match[2]):
        raise ValueError(f"{name} is {text}, which is no time span. Write for example 15m, 12h or 2d.")
    return int(match[1]) * _SECONDS[match[2] or "s"]


def show_duration(seconds: float) -> str:
    """To the second: 1d12h30m."""
    left, text = round(seconds), ""
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, _SECONDS[unit])
        text += f"{count}{unit}" if count else ""
    return text or "0s"
