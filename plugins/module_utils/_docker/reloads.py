# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Rollouts of several apps that come to the gateway at the same time share one test and one reload.

Each writes what it wants into a directory before it waits for the gateway's lock. Who gets the lock claims what the
others want, loads all of it, and leaves each an answer, so that they have nothing left to do. A claim is a rename: who
gives up waiting knows by it whether its wish may still come true. /run is empty after a boot, as the queue has to be.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._common.files import read_text, write_atomic
from ansible_collections.daffathan.platform.plugins.module_utils._docker.process import Process, process

QUEUE = "/run/daffathan/gateway.queue"
WANTED, CLAIMED, LOADED = "wanted", "claimed", "loaded"


@dataclass(frozen=True)
class Wish:
    """What an app wants its file at the gateway to be, None for no file, and the run that waits for it."""

    text: str | None
    ticket: str
    owner: Process | None


class Queue:
    """The wishes of the rollouts that wait for the gateway."""

    def __init__(self, directory: str = QUEUE) -> None:
        self.directory = directory

    def ask(self, app: str, text: str | None) -> str:
        """Say what this run wants; the ticket that the answer will have."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        ticket, owner = uuid.uuid4().hex, process(os.getpid())
        wish = {"text": text, "ticket": ticket, "owner": vars(owner) if owner else None}
        write_atomic(self._path(app, WANTED), json.dumps(wish), mode=0o600)
        return ticket

    def answer(self, app: str, ticket: str) -> list[Process] | None:
        """The workers that had the old configuration when the wish was granted; None where it was not."""
        found = json.loads(read_text(self._path(app, LOADED)) or "{}")
        return [Process(**each) for each in found["workers"]] if found.get("ticket") == ticket else None

    def withdraw(self, app: str) -> bool:
        """Whether the wish is off the queue; False where somebody is about to grant it, and holds the lock for that."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(app, WANTED))
            return True
        return not os.path.exists(self._path(app, CLAIMED))

    def clear(self, app: str) -> None:
        """Forget the wish and the answer. The caller holds the lock."""
        for kind in (WANTED, CLAIMED, LOADED):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(app, kind))

    # For the run that holds the lock

    def claim(self, own: str) -> dict[str, Wish]:
        """What the others want, by app. A run that was killed wants nothing any more."""
        found = {}
        for name in sorted(os.listdir(self.directory)):
            app, dot, kind = name.rpartition(".")
            if not dot or kind != WANTED or app in ("", own):
                continue
            # Who withdrew meanwhile is not taken along.
            with contextlib.suppress(FileNotFoundError):
                os.replace(self._path(app, WANTED), self._path(app, CLAIMED))
                wish = self._read(app)
                if wish.owner is None or not wish.owner.alive():
                    os.unlink(self._path(app, CLAIMED))
                else:
                    found[app] = wish
        return found

    def give_back(self, apps: Collection[str]) -> None:
        for app in apps:
            os.replace(self._path(app, CLAIMED), self._path(app, WANTED))

    def grant(self, wishes: Mapping[str, Wish], workers: Collection[Process]) -> None:
        for app, wish in wishes.items():
            answer = {"ticket": wish.ticket, "workers": [vars(worker) for worker in workers]}
            write_atomic(self._path(app, LOADED), json.dumps(answer), mode=0o600)
            os.unlink(self._path(app, CLAIMED))

    def _read(self, app: str) -> Wish:
        wish = json.loads(read_text(self._path(app, CLAIMED)) or "{}")
        owner = Process(**wish["owner"]) if wish["owner"] else None
        return Wish(wish["text"], wish["ticket"], owner)

    def _path(self, app: str, kind: str) -> str:
        return f"{self.directory}/{app}.{kind}"
