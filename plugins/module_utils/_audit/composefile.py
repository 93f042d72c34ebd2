# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Compose files at rest, read as Compose reads them, without Docker: which files, extends, include, override."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeenv import VariableError, interpolate
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composemerge import MergeError, clear, merge
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeyaml import (
    ComposeError,
    Document,
    Fields,
    Items,
    KeyPath,
    Place,
    Text,
    documents,
    place_of,
)

_FILE_LIMIT = 4 << 20
_DEPTH_LIMIT = 100
# Files that include others twice, which do the same, can stand for more than any memory holds.
_INCLUDE_LIMIT = 1000
_SECTIONS = ("networks", "volumes", "secrets", "configs")
# What can open something, or say where that is.
_SERVICE_KEYS = (
    "cap_add",
    "configs",
    "container_name",
    "extends",
    "network_mode",
    "networks",
    "ports",
    "privileged",
    "secrets",
    "use_api_socket",
    "volumes",
    "volumes_from",
)

Reader = Callable[[str], str]


@dataclass(frozen=True)
class Problem:
    """Something that Compose would refuse or that cannot be read at rest, so that it is not known what it opens."""

    reason: str
    place: Place
    service: str = ""


@dataclass
class Project:
    """What a set of compose files comes to."""

    model: Fields
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """Services as one file has them, which extend each other; what it clears; where its paths begin."""

    file: str
    services: Fields
    cleared: tuple[KeyPath, ...]
    base: str
    env: Mapping[str, str]


def read_file(path: str) -> str:
    """The text of a file. :raises ComposeError: it cannot be read, is no text or is too long."""
    try:
        with open(path, encoding="utf-8") as handle:
            text = handle.read(_FILE_LIMIT + 1)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ComposeError(path, str(error)) from None
    if len(text) > _FILE_LIMIT:
        raise ComposeError(path, f"longer than {_FILE_LIMIT >> 20} MiB")
    return text


def beside(base: str, target: str) -> str:
    """A path as it is meant in a directory."""
    return target if os.path.isabs(target) else os.path.normpath(os.path.join(base, target))


class Loader:
    """Load the files of one project with everything they refer to."""

    def __init__(self, env_files: Callable[[list[str], Mapping[str, str]], dict[str, str]], read: Reader = read_file):
        """:param env_files: reads .env files; what is given wins."""
        self.env_files = env_files
        self.read = read
        self.problems: list[Problem] = []
        self._includes = 0
        self._known: dict[tuple[str, str], list[Document]] = {}

    def load(self, files: list[str], env: Mapping[str, str]) -> Project:
        """Merge files, the later over the earlier. The directory of the first one is the project's.

        :raises ComposeError: one of them is no compose file.
        """
        model = self._merged(files, os.path.dirname(files[0]), env, ())
        return Project(model, self.problems)

    def _problem(self, reason: str, place: Place, service: str = "") -> None:
        self.problems.append(Problem(reason, place, service))

    def _merged(self, files: list[str], base: str, env: Mapping[str, str], seen: tuple[str, ...]) -> Fields:
        model = Fields(Place(files[0], 0, base))
        for file in files:
            for document in self._documents(file, base):
                model = self._add(model, document, file, base, env, seen)
        return model

    def _documents(self, file: str, base: str) -> list[Document]:
        if (file, base) not in self._known:
            self._known[file, base] = documents(self.read(file), file, base)
        if not self._known[file, base]:
            raise ComposeError(file, "the file is empty")
        return self._known[file, base]

    def _add(
        self, model: Fields, document: Document, file: str, base: str, env: Mapping[str, str], seen: tuple[str, ...]
    ) -> Fields:
        own = self._own(document.root, env)
        for included in self._included(document.root, base, env, (*seen, file)):
            own = self._over(clear(included, document.cleared), own)
        model = clear(model, document.cleared)
        part = _Part(file, own["services"], tuple(document.cleared), base, env)
        services = ((name, self._extended(name, part, ())) for name in part.services)
        own["services"] = Fields(part.services.place, services, part.services.keys_at)
        return self._over(model, own)

    def _over(self, model: Fields, over: Fields) -> Fields:
        """Merge by services and by definitions, so that one that does not fit leaves the others."""
        result = Fields(model.place, model, model.keys_at)
        for section, entries in over.items():
            known = result.get(section) or Fields(entries.place)
            merged = Fields(entries.place, known, {**known.keys_at, **entries.keys_at})
            for name, value in entries.items():
                try:
                    merged[name] = merge(known.get(name), value, (section, name))
                except MergeError as error:
                    place = place_of(error.value)
                    self._problem(str(error), place, name if section == "services" else "")
            result[section] = merged
        return result

    def _own(self, root: Fields, env: Mapping[str, str]) -> Fields:
        """What one document says itself, with its variables replaced."""
        own = Fields(root.place)
        for section in ("services", *_SECTIONS):
            entries = root.get(section)
            if not isinstance(entries, Fields):
                if entries is not None:
                    self._problem(f"{section} is not a mapping", root.at(section))
                entries = Fields(root.at(section))
            kept = Fields(entries.place, (), entries.keys_at)
            for name, entry in entries.items():
                if section != "services":
                    kept[name] = self._resolved(entry, env, "")
                elif isinstance(entry, Fields):
                    chosen = ((key, entry[key]) for key in _SERVICE_KEYS if key in entry)
                    kept[name] = self._resolved(Fields(entry.place, chosen, entry.keys_at), env, name)
                elif entry is None:
                    kept[name] = Fields(entries.at(name))
                else:
                    self._problem(f"service {name} is not a mapping", entries.at(name), name)
            own[section] = kept
        return own

    def _resolved(self, value: Any, env: Mapping[str, str], service: str) -> Any:
        """A value with its variables replaced; what has a wrong one is left out, and is a problem."""
        if isinstance(value, Text):
            return self._text(value, env, service)
        if isinstance(value, Items):
            resolved = [(item, self._resolved(item, env, service)) for item in value]
            return Items(value.place, [new for old, new in resolved if new is not None or old is None])
        if isinstance(value, Fields):
            pairs = [(key, item, self._resolved(item, env, service)) for key, item in value.items()]
            kept = ((key, new) for key, old, new in pairs if new is not None or old is None)
            # An entry of which a part is missing would be another entry.
            if any(new is None and old is not None for dummy, old, new in pairs) and "target" in value:
                return None
            return Fields(value.place, kept, value.keys_at)
        return value

    def _text(self, value: Text, env: Mapping[str, str], service: str) -> Text | None:
        unset: list[str] = []
        try:
            return Text(interpolate(value, env, unset.append), value.place, tuple(unset))
        except VariableError as error:
            self._problem(str(error), value.place, service)
            return None

    def _included(self, root: Fields, base: str, env: Mapping[str, str], seen: tuple[str, ...]) -> Iterator[Fields]:
        entries = root.get("include")
        if entries is not None and not isinstance(entries, Items):
            self._problem("include is not a list", root.at("include"))
            return
        for entry in self._resolved(entries, env, "") or ():
            included = self._include(entry, base, env, seen)
            if included is not None:
                yield included

    def _include(self, entry: Any, base: str, env: Mapping[str, str], seen: tuple[str, ...]) -> Fields | None:
        place = place_of(entry)
        paths = _texts(entry.get("path")) if isinstance(entry, Fields) else _texts(entry)
        if not paths:
            self._problem("an entry of include names no file", place)
            return None
        remote = [path for path in paths if _is_remote(path)]
        if remote:
            self._problem(f"{remote[0]} lies elsewhere and cannot be read at rest", place)
            return None
        files = [beside(base, path) for path in paths]
        self._includes += 1
        if files[0] in seen or len(seen) > _DEPTH_LIMIT or self._includes > _INCLUDE_LIMIT:
            reason = "includes itself" if files[0] in seen else "is included after too many others"
            self._problem(f"{files[0]} {reason}", place)
            return None
        fields = entry if isinstance(entry, Fields) else {}
        directory = beside(base, str(fields.get("project_directory") or os.path.dirname(files[0])))
        wanted = [path for path in _texts(fields.get("env_file")) if path != "/dev/null"]
        try:
            if fields.get("env_file"):
                own_env = self.env_files([beside(base, path) for path in wanted], env)
            else:
                own_env = self.env_files(default_env_file(directory), env)
            return self._merged(files, directory, {**own_env, **env}, seen)
        except ComposeError as error:
            self._problem(f"{error.file}: {error}", place)
            return None

    def _extended(self, name: str, part: _Part, seen: tuple[tuple[str, str], ...]) -> Fields:
        """A service over what it extends."""
        service: Fields = part.services[name]
        extends = service.get("extends")
        if extends is None:
            return service
        own = _without_extends(service)
        place = place_of(extends)
        base_name, file = extends, ""
        if isinstance(extends, Fields):
            base_name, file = extends.get("service"), str(extends.get("file") or "")
        try:
            base = self._extends_base(str(base_name or ""), file, part, (*seen, (part.file, name)))
            merged = merge(_cleared_service(base, part.cleared, name), own, ("services", name))
        except (ComposeError, MergeError) as error:
            if seen:
                # Each service of a chain that is broken somewhere is one that is not known.
                raise
            self._problem(f"service {name} extends {base_name or 'nothing'}: {error}", place, name)
            return own
        return _without_extends(merged)

    def _extends_base(self, name: str, file: str, part: _Part, seen: tuple[tuple[str, str], ...]) -> Fields:
        if file:
            if _is_remote(file):
                raise ComposeError(file, f"{file} lies elsewhere and cannot be read at rest")
            part = self._other_part(beside(part.base, file), part.env)
        if (part.file, name) in seen or len(seen) > _DEPTH_LIMIT:
            raise ComposeError(part.file, "it extends itself")
        if name not in part.services:
            raise ComposeError(part.file, f"{part.file} has no such service")
        return self._extended(name, part, seen)

    def _other_part(self, file: str, env: Mapping[str, str]) -> _Part:
        base = os.path.dirname(file)
        services, cleared = Fields(Place(file, 0, base)), []
        for document in self._documents(file, base):
            own = Fields(document.root.place, {"services": self._own(document.root, env)["services"]})
            services = self._over(clear(Fields(own.place, {"services": services}), document.cleared), own)["services"]
            cleared += document.cleared
        return _Part(file, services, tuple(cleared), base, env)


def _cleared_service(service: Fields, cleared: tuple[KeyPath, ...], name: str) -> Fields:
    """A base of a service without what the file of the service clears."""
    model = Fields(service.place, {"services": Fields(service.place, {name: service})})
    cleared_services: Any = clear(model, cleared).get("services") or {}
    found = cleared_services.get(name)
    return found if isinstance(found, Fields) else Fields(service.place)


def _without_extends(service: Fields) -> Fields:
    kept = ((key, value) for key, value in service.items() if key != "extends")
    return Fields(service.place, kept, service.keys_at)


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, Items) else [value]
    return [str(item) for item in values if isinstance(item, str) and item]


def _is_remote(path: str) -> bool:
    # What Compose hands to its git and OCI loaders.
    return "://" in path or path.startswith(("git@", "github.com/")) or ".git#" in path


def default_env_file(directory: str) -> list[str]:
    """The .env file that Compose reads unasked, if it is there."""
    path = os.path.join(directory, ".env")
    return [path] if os.path.isfile(path) else []
