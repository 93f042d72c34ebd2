# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""A deploy is in less of a hurry than what the host is there for."""

from __future__ import annotations

import contextlib
import os

NICE = 5


def yield_to_requests() -> None:
    """Leave the processor to what answers requests; `docker compose`, too, runs so.

    A nice value counts among the processes of one session or control group only. Whatever its group, one of the batch
    policy never takes the processor away from another when it wakes up, see
    https://man7.org/linux/man-pages/man7/sched.7.html.
    """
    os.nice(NICE)
    # Not allowed everywhere, and a deploy is right without it.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
