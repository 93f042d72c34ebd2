# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the host keeps of an app beside its containers: its state, its secrets and their key."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets as random
import shutil

from ansible_collections.daffathan.platform.plugins.module_utils._common.files import read_text, write_atomic
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import state as states
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State

APPS = "/var/lib/daffathan/apps"


def app_directory(app: str) -> str:
    return f"{APPS}/{app}"


def read_state(app: str) -> State:
    return states.loads(app, read_text(f"{app_directory(app)}/state.json"))


def erase(app: str) -> None:
    """Remove everything, and last what the rest is found by, and the lock that protects it."""
    directory = app_directory(app)
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(set(os.listdir(directory)) - {"state.json", "lock"}):
            path = f"{directory}/{name}"
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        for name in ("state.json", "lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{directory}/{name}")
        os.rmdir(directory)


def known_apps() -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(name for name in os.listdir(APPS) if os.path.isfile(f"{APPS}/{name}/state.json"))
    return []


def stored_secrets(app: str) -> set[str]:
    """The secrets that containers of the app were given, to keep them out of messages."""
    paths = glob.glob(f"{app_directory(app)}/secrets/*/*") + glob.glob(f"{app_directory(app)}/releases/*/secrets/*/*")
    return {read_text(path) or "" for path in paths}


def read_key(app: str) -> bytes:
    """The key of the app's secret fingerprints; empty where there is none yet."""
    return bytes.fromhex((read_text(f"{app_directory(app)}/key") or "").strip())


def create_key(app: str) -> bytes:
    key = read_key(app)
    if not key:
        key = random.token_bytes(32)
        write_atomic(f"{app_directory(app)}/key", key.hex() + "\n", mode=0o600)
    return key
