# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module as it is, and meanwhile shows which phase it is in and what it waits for.

The module runs over the connection of the task as without this plugin, so its result, its time limit and what becomes
of it when the controller is killed are the same. An asynchronous job would survive the controller, but it would put the
arguments of the module, secrets among them, into a file on the host, and cost a run that changes nothing several round
trips.
"""

from __future__ import annotations

import copy
import threading
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.follow import Follower
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import parse_app_name

# Seconds before the first look: a run that changes nothing has ended by then, and is never looked at.
DELAY = 2.0
# Between two questions, in seconds.
PAUSE = 0.2

display = Display()


class ActionModule(NormalAction):
    """The controller's half of compose_rollout."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        watch = Watch(self, str(self._task.args.get("app")), str((task_vars or {}).get("inventory_hostname")))
        # Nobody waits for a task in the background, and what a task hides is not shown by the way.
        if not (self._task.async_val or self._task.check_mode or self._task.no_log):
            watch.begin()
        try:
            result: dict[str, Any] = super().run(tmp, task_vars)
        finally:
            watch.end()
        return result


class Watch:
    """Follows a run in a thread of its own."""

    def __init__(self, action: ActionModule, app: str, host: str) -> None:
        self._action = action
        self._app = app
        self._host = host
        self._over = threading.Event()
        # Held while a line is shown, so that none follows the result of the task.
        self._showing = threading.Lock()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        with self._showing:
            self._over.set()
        # At this verbosity the connection itself writes to the display, which must not outlive the process.
        if display.verbosity > 2 and self._thread.is_alive():
            self._thread.join(5)

    def _follow(self) -> None:
        try:
            follower = Follower(parse_app_name(self._app))
            while not self._over.wait(DELAY):
                if self._kept_open():
                    break
            action = self._beside()
            while not self._over.is_set():
                answer = action._low_level_execute_command(follower.command())
                if answer["rc"] != 0:
                    raise AnsibleError(answer["stderr"] or answer["stdout"])
                note = follower.take(answer["stdout"])
                if note is not None:
                    self._show(note.line(self._host, self._app))
                self._over.wait(PAUSE)
        except RolloutError:
            # The module says it better.
            return
        except Exception as error:
            # The rollout goes on, whether anybody sees it or not.
            if display.verbosity > 2:
                self._show(f"[{self._host}] {self._app}: its progress cannot be followed: {error}")

    def _show(self, line: str) -> None:
        with self._showing:
            if not self._over.is_set():
                # What reads the results of a play from standard output finds them unchanged.
                display.display(line, stderr=True)

    def _kept_open(self) -> bool:
        """Over other connections of ssh (no ControlPersist) each question would log in anew, up to the host's limit."""
        connection = self._action._connection
        return connection.transport != "ssh" or getattr(connection, "_persistent", False)

    def _beside(self) -> ActionModule:
        """The action with a connection of its own, as far as connections keep what one command at a time needs."""
        action, connection = copy.copy(self._action), copy.copy(self._action._connection)
        connection.become = copy.copy(connection.become)
        action._connection = connection
        return action
