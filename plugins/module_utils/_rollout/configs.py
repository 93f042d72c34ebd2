# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The `configs` of a compose file: a release keeps what they held when it was made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, InputError

Model = dict[str, Any]


def read_configs(model: Model, app: App, read: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """The content of each config that a service uses.

    :param read: the content of a file of the host, None where there is no such file
    """
    found: dict[str, bytes] = {}
    for name in used_configs(model["services"].values()):
        config = (model.get("configs") or {}).get(name) or {}
        variable, path = config.get("environment"), config.get("file")
        if "content" in config:
            # Compose writes a dollar twice, so that what it prints can be read again.
            found[name] = str(config["content"]).replace("$$", "$").encode()
        elif variable and variable in app.env:
            found[name] = app.env[variable].encode()
        elif variable:
            raise InputError(f"env.{variable}: missing. The compose file takes the config {name} from it.")
        elif path:
            content = read(path)
            if content is None:
                raise InputError(
                    f"compose file: the config {name} is {path}, and the host has no such file. Role "
                    "daffathan.platform.app sends what is in `files` of the app beside the compose file."
                )
            found[name] = content
        else:
            raise InputError(
                f"compose file: the config {name} is external, which only Docker Swarm has. Give it a `file`."
            )
    return found


def used_configs(services: Collection[Model]) -> list[str]:
    return sorted({config["source"] for service in services for config in service.get("configs") or []})


def file_name(name: str, content: bytes) -> str:
    """A config that changes is another file: a container keeps the one it was started with."""
    return f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"


def with_files(services: Collection[Model], contents: Mapping[str, bytes], directory: str) -> Model:
    """The top-level `configs` of a project whose services use these, as files of a directory."""
    return {
        name: {"name": name, "file": f"{directory}/configs/{file_name(name, contents[name])}"}
        for name in used_configs(services)
    }


def fingerprints(services: Collection[Model], contents: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(contents[name]).hexdigest() for name in used_configs(services)}
