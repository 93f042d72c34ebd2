# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Whether a host has room for one more release."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import RolloutError

MIB = 1024 * 1024


@dataclass(frozen=True)
class Room:
    """Bytes; None where nobody tells."""

    disk: int
    memory: int | None


def check_room(free: Room, least: Room, reserved: int) -> None:
    """Refuse what would fill the host.

    :param least: what has to be free before anything starts
    :param reserved: bytes of memory that the new containers reserve beside the old ones
    """
    if free.disk < least.disk:
        raise RolloutError(
            f"disk: {_mib(free.disk)} are free where Docker keeps its data, less than the {_mib(least.disk)} of "
            "`min_free_disk`. Nothing was started. Free some space (`docker system df` tells what takes it, "
            "`keep_releases` how many releases stay), or lower `min_free_disk`."
        )
    wanted = (least.memory or 0) + reserved
    if free.memory is not None and free.memory < wanted:
        more = f" and the {_mib(reserved)} that the release reserves" if reserved else ""
        raise RolloutError(
            f"memory: {_mib(free.memory)} are available, less than the {_mib(least.memory or 0)} of `min_free_memory`"
            f"{more}. The new release runs beside the old one for a while. Nothing was started. Free some memory, or "
            "lower `min_free_memory`."
        )


def explain(error: Exception) -> str:
    """What a person is told of an error that is not of our making."""
    text = str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"disk: {text}. Nothing more can be written there. Free some space (`df -h` tells where, `docker system "
            "df` what Docker takes of it), then run the same command again."
        )
    return text


def _mib(size: int) -> str:
    return f"{size // MIB} MiB"
