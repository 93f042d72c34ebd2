# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The container engines of a host: where their sockets are, and everything the audit wants to know of them."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit import units
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import (
    Container,
    Engine,
    apply_info,
    items,
    parse_container,
    parse_network,
    parse_services,
    parse_stopped,
    parse_volumes,
    shared_networks,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine_client import EngineError, Gone, ask
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import L2_DRIVERS

# A user may put what he likes into his directory; so many sockets are asked, and no more.
_MAXIMUM = 16
_QUESTIONS = ("/containers/json?all=1", "/networks", "/info", "/volumes")


@dataclass(frozen=True)
class Endpoint:
    """A socket that a container engine answers on."""

    path: str
    engine: str = "docker"
    user: str = ""

    @property
    def label(self) -> str:
        return f"{self.engine} of uid {self.user}" if self.user else self.engine


def _identity(path: str) -> tuple[int, int] | None:
    """What a path leads to, if that is a socket; symbolic links are followed."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return (found.st_dev, found.st_ino) if stat.S_ISSOCK(found.st_mode) else None
    return None


def endpoints(main: str, others: Iterable[str] = (), root: str = "") -> list[Endpoint]:
    """Every socket of an engine besides the main one.

    :param others: Unix sockets that the command line or the configuration of a running engine names.
    """
    wanted = [Endpoint(path) for path in others]
    wanted += [Endpoint(f"{root}/run/podman/podman.sock", "podman")]
    for name, engine in (("docker.sock", "docker"), ("podman/podman.sock", "podman")):
        for path in sorted(glob.glob(f"{root}/run/user/[0-9]*/{name}")):
            user = path[len(root) :].split("/")[3]
            wanted.append(Endpoint(path, engine, user))
    seen = {_identity(main)}
    found = []
    for endpoint in wanted:
        identity = _identity(endpoint.path)
        if identity and identity not in seen:
            seen.add(identity)
            found.append(endpoint)
    return found[:_MAXIMUM]


def stopped_by_hand(root: str, identifier: str) -> bool:
    """What the engine keeps in the container's directory and does not tell: somebody stopped it."""
    if not root.startswith("/") or not re.fullmatch(r"[0-9a-f]{64}", identifier):
        return False
    try:
        with open(f"{root}/containers/{identifier}/config.v2.json", encoding="utf-8") as handle:
            kept = json.loads(handle.read(1 << 22))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(kept, dict) and kept.get("HasBeenManuallyStopped") is True


def read(path: str, timeout: float, label: str = "docker", user: str = "") -> Engine:
    """Everything the audit wants to know of an engine.

    :raises EngineError: it did not tell its containers and networks, without which nothing can be said.
    """
    answers = ask(path, _QUESTIONS, timeout)
    for needed in _QUESTIONS[:2]:
        if isinstance(answers[needed], EngineError):
            raise answers[needed]
    engine = Engine()
    devices: dict[str, str] = {}

    def told(resource: str, use: Callable[[Any], None]) -> None:
        """What is said beside; an engine that does not say it is a problem, not an end."""
        try:
            answer = answers[resource]
            if isinstance(answer, EngineError):
                raise answer
            use(answer)
        except EngineError as error:
            engine.problems.append(f"{path}: {error}")

    told("/info", lambda answer: apply_info(engine, answer))
    told("/volumes", lambda answer: devices.update(parse_volumes(answer)))
    for item in items(answers["/networks"], "/networks"):
        network = replace(parse_network(item), engine=label)
        engine.networks[network.name] = network
    containers = []
    for item in items(answers["/containers/json?all=1"], "/containers/json"):
        try:
            containers.append(parse_container(item, devices))
        except EngineError as error:
            engine.problems.append(f"{path}: container {_name(item)}: {error}")
    engine.containers = shared_networks(_completed(path, timeout, engine, containers))
    if label == "podman" and not user and not _podman_restarts():
        engine.containers = [replace(item, starts_at_boot="") for item in engine.containers]
    rootless = bool(user) or engine.rootless
    if engine.swarm and engine.manager:
        answers.update(ask(path, ("/services",), timeout))
        told("/services", lambda answer: engine.services.extend(parse_services(answer)))
    prefix = f"uid {user}/" if user else ""
    engine.containers = [
        # A link on the host leads where it leads; the engine tells the name only.
        replace(item, mounts=tuple(dict.fromkeys(path for text in item.mounts for path in (text, _target(text)))))
        for item in engine.containers
    ]
    engine.containers = [
        # A user names his containers as he likes; a declaration for a container of the host does not cover them.
        replace(item, name=f"{prefix}{item.name}", engine=label, rootless=rootless)
        for item in engine.containers
    ]
    return engine


def _podman_restarts() -> bool:
    """Podman has no daemon that would start containers: a unit of its own does it at boot, where it is enabled."""
    return units.enabled("podman-restart.service")


def _target(path: str) -> str:
    return os.path.realpath(path) if path.startswith("/") else path


def _completed(path: str, timeout: float, engine: Engine, containers: list[Container]) -> list[Container]:
    """The containers, with what only a question for a single one tells."""
    beside = {name for name, network in engine.networks.items() if network.driver in L2_DRIVERS}
    looked_at = {
        f"/containers/{item.id}/json": item for item in containers if not item.running or beside & set(item.networks)
    }
    answers = ask(path, list(looked_at), timeout) if looked_at else {}
    found = [item for item in containers if f"/containers/{item.id}/json" not in looked_at]
    for resource, item in looked_at.items():
        answer = answers[resource]
        # Removed between the two questions.
        if isinstance(answer, Gone):
            continue
        if isinstance(answer, EngineError):
            engine.problems.append(f"{path}: container {item.name}: {answer}")
            found.append(item)
            continue
        if item.running:
            found.append(replace(item, pid=_pid(answer)))
        else:
            try:
                found.append(parse_stopped(item, answer, engine.networks, stopped_by_hand(engine.root, item.id)))
            except EngineError as error:
                engine.problems.append(f"{path}: container {item.name}: {error}")
                found.append(item)
    return found


def _name(item: Any) -> str:
    """What an element of /containers/json that cannot be read may be called."""
    return str(item.get("Names") or item.get("Id")) if isinstance(item, dict) else "?"


def _pid(inspected: Any) -> int:
    state = inspected.get("State") if isinstance(inspected, dict) else None
    pid = state.get("Pid") if isinstance(state, dict) else None
    return pid if isinstance(pid, int) and pid > 0 else 0
