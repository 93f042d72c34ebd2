# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What a compose file means on this host: the files that it names, and the names that somebody else may have."""

from __future__ import annotations

from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import Engine
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import LABEL, InputError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parts import Parts


def read(path: str, missing: bytes | None) -> bytes | None:
    """The content of a file; `missing` where there is none."""
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except (FileNotFoundError, IsADirectoryError):
        return missing


def check_names(engine: Engine, app: str, parts: Parts) -> None:
    """A container of the base keeps the name it is given: nobody else may have it."""
    for service, definition in sorted(parts.base.items()):
        name = definition.get("container_name")
        found = engine.container(name) if name else None
        owner = found.labels.get(f"{LABEL}.app") if found is not None else None
        if found is not None and owner != app:
            whose = f"app {owner}" if owner else "something else on this host"
            raise InputError(
                f"compose file: service {service} has container_name: {name}, which is the name of a container of "
                f"{whose}. Give it another one, or remove it."
            )
