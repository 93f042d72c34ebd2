# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""A timer of systemd that stops containers later, whatever becomes of the run that asked for it."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.daffathan.platform.plugins.module_utils._common import command
from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import RolloutError


def _unit(project: str) -> str:
    return f"daffathan-stop-{project}"


def begin(project: str, containers: Sequence[str], seconds: int, patience: int) -> None:
    """Stop the containers in so many seconds; `patience` is the time between SIGTERM and SIGKILL."""
    unit = ("systemd-run", "--quiet", "--collect", f"--unit={_unit(project)}", f"--on-active={seconds}s")
    try:
        command.run([*unit, "--timer-property=AccuracySec=1s", "docker", "stop", "--time", str(patience), *containers])
    except CommandError as error:
        raise RolloutError(f"systemd takes no timer: {error}") from error


def cancel(project: str) -> bool:
    """End the timer, if there is one; whether it went off and is still at its work."""
    unit = _unit(project)
    try:
        command.run(["systemctl", "stop", f"{unit}.timer"], check=False)
        said = command.run(["systemctl", "is-active", f"{unit}.service"], check=False).stdout.strip()
    except CommandError:
        # Without systemd there is no timer either.
        return False
    return said not in ("inactive", "failed", "unknown", "")
