# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module, and confirms a changed firewall over a new connection.

An open connection proves nothing: it outlives the rule that let it in.
"""

from __future__ import annotations

import contextlib
import gc
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import restore

# Between two attempts to connect, in seconds.
PAUSE = 2
# The host needs some seconds after its deadline to put the former firewall back.
GRACE = 30
# Of the command that confirms: its file is gone, or the policy does not wait any more.
NOTHING_PENDING = (2, restore.NOTHING_PENDING)

NOT_CONFIRMED = (
    "No new connection confirmed the new policy within rollback_timeout={timeout} s, so the host put the firewall back "
    "as it was. Compare `rules` with the address from which this controller reaches the host, and with what lies "
    "between (NAT, a bastion); raise `rollback_timeout` if connecting takes that long."
)


class ActionModule(ActionBase):
    """The controller's half of ufw_policy."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        # Of packing the module, a quarter went into looking for garbage among all that this process knows of the play.
        gc.disable()
        try:
            result.update(self._execute_module(task_vars=task_vars))
        finally:
            gc.enable()
        pending = result.get("rollback") or {}
        command = pending.pop("confirm", None)
        if command and not result.get("failed"):
            result.update(self._confirm(command, pending["timeout"], task_vars))
            pending["confirmed"] = not result.get("failed")
        return result

    def _confirm(self, command: list[str], timeout: int, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Over a new connection: keep the policy, or learn that the host has gone back."""
        deadline = time.monotonic() + timeout + GRACE
        while True:
            with contextlib.suppress(AttributeError):
                # Connections that are not kept open, as `local`, have nothing to reset.
                self._connection.reset()
            try:
                answer = self._command(command, task_vars)
            except AnsibleConnectionFailure:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE)
                continue
            if answer.get("rc") == 0 or self._confirmed_by_another(answer, command[-1], task_vars):
                return {}
            text = NOT_CONFIRMED.format(timeout=timeout)
            if answer.get("rc") not in NOTHING_PENDING:
                text += f" It said: {answer.get('stderr') or answer.get('stdout') or answer.get('msg')}"
            return {"failed": True, "changed": False, "msg": text}

    def _confirmed_by_another(self, answer: dict[str, Any], token: str, task_vars: dict[str, Any] | None) -> bool:
        """A later policy for the same host, from another controller, was confirmed, and this one with it."""
        if answer.get("rc") not in NOTHING_PENDING:
            return False
        return self._command(["grep", "-qx", token, restore.KEPT], task_vars).get("rc") == 0

    def _command(self, argv: list[str], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name="ansible.legacy.command", module_args={"argv": argv}, task_vars=task_vars
        )
        return answer
