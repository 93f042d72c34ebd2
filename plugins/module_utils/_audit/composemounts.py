# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What a service of a compose file mounts from the host, and whether that is the socket of an engine."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeyaml import Place, place_of

ENGINE_SOCKETS = (
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/docker/containerd/containerd.sock",
)
# The sockets of rootless engines, and the ways back to the host's root directory through its processes.
_USER_SOCKET = re.compile(r"/run/user/[0-9]+/(docker\.sock|podman/podman\.sock|podman)$")
_PROCESS_ROOT = re.compile(r"^/proc/(?:[0-9]+|self)/root(?=/|$)")
# Where `~` may be; the longest way up leads to the root directory from either.
_HOMES = ("/root", "/home/user")


class MountError(Exception):
    """A mount that cannot be understood."""


def reaches_engine_socket(source: str) -> bool:
    """Whether a bind mount of this path hands out the socket of a container engine."""
    if not source.startswith("/"):
        return False
    path = "/" + posixpath.normpath(source).lstrip("/")
    path = _PROCESS_ROOT.sub("", path) or "/"
    if path == "/var/run" or path.startswith("/var/run/"):
        path = path[len("/var") :]
    parent = path if path.endswith("/") else path + "/"
    if _USER_SOCKET.match(path):
        return True
    return any(socket == path or socket.startswith(parent) for socket in ENGINE_SOCKETS)


def _absolute(source: str, place: Place) -> tuple[str, ...]:
    if source.startswith("~"):
        return tuple(posixpath.join(home, source.partition("/")[2]) for home in _HOMES)
    return (os.path.abspath(os.path.join(place.base, source)) if place.file else source,)


def _is_path(source: str) -> bool:
    return source.startswith(("/", ".", "~"))


def _bound(definition: object) -> str:
    """The directory of the host that a volume of the driver `local` stands for."""
    options = definition.get("driver_opts") if isinstance(definition, Mapping) else None
    if not isinstance(options, Mapping):
        return ""
    flags = str(options.get("o") or "").split(",")
    return str(options.get("device") or "") if {"bind", "rbind"} & set(flags) else ""


def _source(entry: object, volumes: Mapping[str, Any]) -> tuple[str, object]:
    """What an entry of `volumes` mounts from the host ("" for nothing), and what says where that was written."""
    if isinstance(entry, Mapping):
        kind, source = entry.get("type"), str(entry.get("source") or "")
        if kind == "bind" or (kind is None and _is_path(source)):
            return source, entry
    elif isinstance(entry, str):
        # A container path alone is an anonymous volume.
        source = entry.partition(":")[0] if ":" in entry else ""
        if _is_path(source):
            return source, entry
    else:
        raise MountError(repr(entry))
    definition = volumes.get(source)
    return _bound(definition), definition


def _file(entry: object, definitions: object) -> tuple[str, object]:
    """The file of the host that an entry of `secrets` or `configs` stands for."""
    name = entry.get("source") if isinstance(entry, Mapping) else entry
    definition = definitions.get(str(name)) if isinstance(definitions, Mapping) else None
    return (str(definition.get("file") or ""), definition) if isinstance(definition, Mapping) else ("", None)


def engine_sockets(name: str, model: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Each mount of a service that hands out an engine's socket: what is mounted, and the entry that says so."""
    service = _service(name, model)
    yield from _own_sockets(service, model)
    for entry in listed(service, "volumes_from"):
        for other in _volumes_from(str(entry).partition(":")[0], model):
            for source, _entry in _own_sockets(_service(other, model), model):
                yield f"{source} of service {other}", entry


def _service(name: str, model: Mapping[str, Any]) -> Mapping[str, Any]:
    found = model["services"].get(name)
    return found if isinstance(found, Mapping) else {}


def _volumes_from(name: str, model: Mapping[str, Any]) -> list[str]:
    """A service and those whose volumes it has, each once."""
    found, waiting = {name}, [name]
    for known in waiting:
        others = {str(entry).partition(":")[0] for entry in listed(_service(known, model), "volumes_from")}
        waiting += sorted(others - found)
        found |= others
    return waiting


def _own_sockets(service: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    volumes = model.get("volumes")
    mounts = [
        (*_source(entry, volumes if isinstance(volumes, Mapping) else {}), entry)
        for entry in listed(service, "volumes")
    ]
    mounts += [
        (*_file(entry, model.get(key)), entry) for key in ("secrets", "configs") for entry in listed(service, key)
    ]
    for source, said, entry in mounts:
        if source and any(reaches_engine_socket(path) for path in _absolute(source, place_of(said))):
            yield source, entry


def listed(service: Mapping[str, Any], key: str) -> list[Any]:
    """The entries of a list; none where there is no list, which `judge_compose` reports."""
    value = service.get(key)
    return list(value) if isinstance(value, (list, tuple)) else []
