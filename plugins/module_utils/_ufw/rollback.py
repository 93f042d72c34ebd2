# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.
"""An armed rollback: the former firewall comes back by itself unless a new connection confirms the changed one.

It is armed before the first change. A timer covers a controller that is gone, a unit at boot a host that restarts.
"""

from __future__ import annotations

import inspect
import os
import sys
import uuid
from collections.abc import Iterable, Mapping

from ansible_collections.daffathan.platform.plugins.module_utils._common.command import run
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import fsync_directory, write_atomic
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import kernel, plan, restore

PROGRAM = os.path.join(restore.DIRECTORY, "restore.py")
BOOT = """[Unit]
Description=Former firewall, if nobody confirmed the changed one before the restart
DefaultDependencies=no
After=local-fs.target
Before=ufw.service network-pre.target
Wants=network-pre.target
ConditionPathExists={plan}

[Service]
Type=oneshot
ExecStart={python} {program}

[Install]
WantedBy=multi-user.target
"""


def argv(*arguments: str) -> list[str]:
    """The command that carries out or confirms what is armed."""
    return [sys.executable, PROGRAM, *arguments]


def arm(files: Mapping[str, str], families: Iterable[int], *, unit_enabled: bool, timeout: int) -> str:
    """Arm the rollback to the firewall as it is, in `timeout` seconds from now.

    While other policies wait for their confirmation, the state before the first of them stays the one to go back to:
    it is the last that is known to let a connection through.

    :param files: path to content, of the files of UFW.
    :param families: those whose packet filter is put aside.
    :return: the token that confirms the change to come.
    """
    waiting = restore.pending()
    others = waiting.entries if waiting and not waiting.restarted else ()
    token = uuid.uuid4().hex
    former = {
        "token": token,
        "files": {path: [files[path], plan.mode_of(path)] for path in plan.WRITTEN},
        "kernel": {str(family): kernel.save(family) for family in families},
        "unit_enabled": unit_enabled,
    }
    os.makedirs(restore.DIRECTORY, mode=0o700, exist_ok=True)
    write_atomic(PROGRAM, inspect.getsource(restore), mode=0o600)
    path = os.path.join(restore.DIRECTORY, restore.PLAN)
    unit = BOOT.format(plan=path, python=sys.executable, program=PROGRAM)
    write_atomic(restore.BOOT_UNIT, unit, mode=0o644)
    if not os.path.islink(restore.BOOT_LINK):
        os.makedirs(os.path.dirname(restore.BOOT_LINK), exist_ok=True)
        os.symlink(restore.BOOT_UNIT, restore.BOOT_LINK)
        fsync_directory(os.path.dirname(restore.BOOT_LINK))
    restore.Waiting(restore.boot_id(), (*others, former)).save()
    start_timer(timeout)
    return token


def start_timer(timeout: int) -> None:
    """(Re)start the timer that puts the former firewall back."""
    run(["systemctl", "stop", f"{restore.UNIT}.timer"], check=False)
    run(["systemctl", "reset-failed", f"{restore.UNIT}.service"], check=False)
    run(
        [
            *("systemd-run", "--quiet", f"--unit={restore.UNIT}", "--collect", f"--on-active={timeout}s"),
            *("--timer-property=AccuracySec=1s", *argv()),
        ]
    )


def undo_now() -> list[str]:
    """Put the former firewall back at once, after an attempt that failed; the caller holds the lock of ufw.

    :return: what could not be put back. The timer is left to try again if there is any.
    """
    waiting = restore.pending()
    problems = restore.undo_last(waiting) if waiting else []
    if restore.pending() is None:
        restore.stop_timer()
    return problems


def confirm_now() -> None:
    """Nothing is to be put back any more."""
    waiting = restore.pending()
    if waiting:
        restore.keep(waiting, len(waiting.entries))
    restore.stop_timer()


def waiting() -> str:
    """The token of the newest policy that waits for its confirmation since an earlier run, or nothing."""
    found = restore.pending()
    return found.tokens[-1] if found else ""
