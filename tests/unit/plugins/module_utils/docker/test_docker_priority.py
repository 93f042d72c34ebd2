# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deploy leaves to requests."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

from ansible_collections.daffathan.platform.plugins.module_utils._docker import priority


def seen() -> tuple[int, int]:
    """Policy and nice value of a program that this process starts."""
    asks = "import os; print(os.sched_getscheduler(0), os.nice(0))"
    policy, nice = subprocess.run([sys.executable, "-c", asks], capture_output=True, check=True).stdout.split()
    return int(policy), int(nice)


def yielded(refused: bool) -> tuple[int, int]:
    def refuse(*_arguments: object) -> None:
        raise PermissionError("not allowed here")

    if refused:
        os.sched_setscheduler = refuse
    priority.yield_to_requests()
    return seen()


def after_yielding(*, refused: bool) -> tuple[int, int]:
    """In a process of its own: there is no way back."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(yielded, (refused,))


def test_what_a_deploy_starts_takes_the_processor_from_nobody() -> None:
    _policy, before = seen()
    assert after_yielding(refused=False) == (os.SCHED_BATCH, min(19, before + priority.NICE))


def test_where_the_policy_may_not_be_chosen_it_stays() -> None:
    policy, before = seen()
    assert after_yielding(refused=True) == (policy, min(19, before + priority.NICE))
