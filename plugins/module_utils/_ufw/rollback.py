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
import json
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

    While another policy waits for its confirmation, the state before that one stays the one to go back to: it is the
    last that is known to let a connection through.

    :param files: path to content, of the files of UFW.
    :param families: those whose packet filter is put aside.
    :return: the token that confirms the change to come.
    """
    token = uuid.uuid4().hex
    waiting = restore.pending()
    if waiting is not None and waiting["boot_id"] == restore.boot_id():
        aside: dict[str, object] = {**waiting, "token": token}
    else:
        aside = {
            "token": token,
            "boot_id": restore.boot_id(),
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
    write_atomic(path, json.dumps(aside), mode=0o600)
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
    aside = restore.pending()
    problems = restore.put_back(aside) if aside else []
    if not problems:
        confirm_now()
    return problems


def confirm_now() -> None:
    """Nothing is to be put back any more."""
    restore.forget()
    run(["systemctl", "stop", f"{restore.UNIT}.timer"], check=False)


def waiting() -> str:
    """The token of a policy that waits for its confirmation since an earlier run, or nothing."""
    aside = restore.pending()
    return str(aside["token"]) if aside else ""
