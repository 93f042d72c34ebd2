# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Compose files at rest: YAML with line numbers, variables, merge keys, extends and include, without Docker."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment]

_FILE_LIMIT = 4 << 20
_DEPTH_LIMIT = 20
_NODE_LIMIT = 200_000
# ${NAME}, ${NAME:-default} and their kin; $$ is a dollar sign.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Reader = Callable[[str], str]


class ComposeError(Exception):
    """A compose file that cannot be examined; the message says why and where."""

    def __init__(self, file: str, reason: str, line: int = 0) -> None:
        self.file = file
        self.line = line
        super().__init__(reason)


class YamlMissing(ComposeError):
    """PyYAML is not installed for this Python."""


@dataclass
class Loaded:
    """A model in the shape of `docker compose config`, and where its parts were written."""

    model: dict[str, Any]
    places: dict[tuple[str, str, int], tuple[str, int]] = field(default_factory=dict)
    unset: list[tuple[str, str]] = field(default_factory=list)
    file: str = ""

    def locate(self, service: str, key: str, index: int) -> tuple[str, int]:
        return self.places.get((service, key, index), (self.file, 0))


def read_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as handle:
            text = handle.read(_FILE_LIMIT + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ComposeError(path, str(error)) from None
    if len(text) > _FILE_LIMIT:
        raise ComposeError(path, f"longer than {_FILE_LIMIT >> 20} MiB")
    return text


def parse_env(text: str) -> dict[str, str]:
    """The variables of a .env file."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$", line)
        if match:
            value = match[2]
            if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            else:
                value = re.split(r"\s#", value)[0].strip()
            found[match[1]] = value
    return found


def interpolate(text: str, env: Mapping[str, str], unset: Callable[[str], None], depth: int = 0) -> str:
    """A string with its variables replaced as Compose does; an unset one is empty, and is reported."""
    if depth > _DEPTH_LIMIT:
        raise ValueError("variables nested too deep")
    result, position = "", 0
    while True:
        dollar = text.find("$", position)
        if dollar < 0:
            return result + text[position:]
        result += text[position:dollar]
        rest = text[dollar + 1 :]
        if rest.startswith("$"):
            result, position = f"{result}$", dollar + 2
        elif rest.startswith("{"):
            end = _closing(text, dollar + 1)
            result += _expression(text[dollar + 2 : end], env, unset, depth)
            position = end + 1
        else:
            match = _NAME.match(rest)
            if match is None:
                raise ValueError(f"a single $ in {text!r}; write $$ for a dollar sign")
            result += _value(match[0], env, unset)
            position = dollar + 1 + match.end()


def _closing(text: str, start: int) -> int:
    level = 0
    for position in range(start, len(text)):
        level += {"{": 1, "}": -1}.get(text[position], 0)
        if level == 0:
            return position
    raise ValueError(f"an open ${{ in {text!r}")


def _value(name: str, env: Mapping[str, str], unset: Callable[[str], None]) -> str:
    if name not in env:
        unset(name)
    return env.get(name, "")


def _expression(body: str, env: Mapping[str, str], unset: Callable[[str], None], depth: int) -> str:
    match = _NAME.match(body)
    if match is None:
        raise ValueError(f"${{{body}}} names no variable")
    name, rest = match[0], body[match.end() :]
    present = bool(env.get(name)) if rest.startswith(":") else name in env
    operator, alternative = rest.lstrip(":")[:1], rest.lstrip(":")[1:]
    if not rest:
        return _value(name, env, unset)
    if operator == "-":
        return env[name] if present else interpolate(alternative, env, unset, depth + 1)
    if operator == "+":
        return interpolate(alternative, env, unset, depth + 1) if present else ""
    if operator == "?":
        # Compose refuses to start without it: nothing is published by an unset one.
        if not present:
            raise ValueError(f"{name} is required and not set")
        return env[name]
    raise ValueError(f"${{{body}}} is not understood")


class _Tree:
    """YAML nodes to values, with the line of every node by its path. Scalars stay text, as YAML 1.2 has it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[tuple[Any, ...], int] = {}
        self.nodes = 0

    def build(self, node: Any, path: tuple[Any, ...] = (), depth: int = 0) -> Any:
        self.nodes += 1
        # Aliases of aliases can stand for more nodes than any memory holds.
        if depth > 100 or self.nodes > _NODE_LIMIT:
            raise ComposeError(self.file, "nested too deep or too large", node.start_mark.line + 1)
        self.lines[path] = node.start_mark.line + 1
        if node.tag == "!reset":
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        plain = node.style is None
        if plain and node.value in ("", "~", "null", "Null", "NULL"):
            return None
        return node.value

    def _mapping(self, node: Any, path: tuple[Any, ...], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        own = [(key, value) for key, value in node.value if key.value != "<<"]
        for key, value in node.value:
            if key.value == "<<":
                merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
                # The first of several merged mappings wins, so it is put in last.
                for item in reversed(merged):
                    result.update(self.build(item, path, depth + 1) or {})
        for key, value in own:
            result[str(key.value)] = self.build(value, (*path, str(key.value)), depth + 1)
        return result


class Loader:
    """Load one compose file with everything it refers to."""

    def __init__(self, env: Mapping[str, str], read: Reader = read_file) -> None:
        self.env = dict(env)
        self.read = read

    def load(self, path: str) -> Loaded:
        text = self.read(path)
        normalised = _normalised(text)
        if normalised is not None:
            return Loaded(normalised, file=path)
        if yaml is None:
            raise YamlMissing(path, "PyYAML is missing for this Python, so YAML cannot be read")
        result = Loaded({"services": {}, "networks": {}}, file=path)
        env = {**self._env_file(path), **self.env}
        self._file(path, text, env, result, ())
        return result

    def _env_file(self, path: str) -> dict[str, str]:
        try:
            return parse_env(self.read(os.path.join(os.path.dirname(path), ".env")))
        except ComposeError:
            return {}

    def _file(self, path: str, text: str, env: dict[str, str], result: Loaded, seen: tuple[str, ...]) -> None:
        if path in seen or len(seen) > _DEPTH_LIMIT:
            raise ComposeError(path, f"includes itself: {' -> '.join((*seen, path))}")
        document, lines = self._document(path, text)
        for target in self._includes(path, document, env):
            included_env = {**self._env_file(target), **env}
            self._file(target, self.read(target), included_env, result, (*seen, path))
        services = document.get("services")
        if services is None:
            services = {}
        if not isinstance(services, dict):
            raise ComposeError(path, "services is not a mapping", lines.get(("services",), 0))
        for name in services:
            service, places = self._service(path, document, lines, name, env, result, ())
            result.model["services"][name] = service
            result.places.update({(name, key, index): place for (key, index), place in places.items()})
        networks = document.get("networks") or {}
        for name, network in networks.items() if isinstance(networks, dict) else []:
            result.model["networks"][name] = self._resolved(
                network, path, env, result, lines.get(("networks", name), 0)
            )
            result.places[name, "networks", 0] = (path, lines.get(("networks", name), 0))

    def _document(self, path: str, text: str) -> tuple[dict[str, Any], dict[tuple[Any, ...], int]]:
        tree = _Tree(path)
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            document = tree.build(node) if node is not None else {}
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            reason = getattr(error, "problem", None) or type(error).__name__
            raise ComposeError(path, f"not YAML: {reason}", mark.line + 1 if mark else 0) from None
        except RecursionError:
            raise ComposeError(path, "nested too deep") from None
        if not isinstance(document, dict):
            raise ComposeError(path, "not a mapping with `services`", 1)
        return document, tree.lines

    def _includes(self, path: str, document: dict[str, Any], env: dict[str, str]) -> Iterator[str]:
        for entry in document.get("include") or []:
            targets = entry.get("path") if isinstance(entry, dict) else entry
            for target in targets if isinstance(targets, list) else [targets]:
                yield _beside(path, self._text(str(target or ""), path, env, lambda name: None, 0))

    def _text(self, text: str, path: str, env: dict[str, str], unset: Callable[[str], None], line: int) -> str:
        try:
            return interpolate(text, env, unset)
        except ValueError as error:
            raise ComposeError(path, str(error), line) from None

    def _resolved(self, value: Any, path: str, env: dict[str, str], result: Loaded, line: int) -> Any:
        if isinstance(value, str):
            return self._text(value, path, env, lambda name: result.unset.append((path, name)), line)
        if isinstance(value, list):
            return [self._resolved(item, path, env, result, line) for item in value]
        if isinstance(value, dict):
            return {key: self._resolved(item, path, env, result, line) for key, item in value.items()}
        return value

    def _service(
        self,
        path: str,
        document: dict[str, Any],
        lines: dict[tuple[Any, ...], int],
        name: str,
        env: dict[str, str],
        result: Loaded,
        seen: tuple[tuple[str, str], ...],
    ) -> tuple[dict[str, Any], dict[tuple[str, int], tuple[str, int]]]:
        """A service with what it extends; only the keys that can open something are kept."""
        if (path, name) in seen:
            raise ComposeError(path, f"service {name} extends itself")
        source = (document.get("services") or {}).get(name)
        if source is None:
            source = {}
        if not isinstance(source, dict):
            raise ComposeError(path, f"service {name} is not a mapping", lines.get(("services", name), 0))
        merged: dict[str, Any] = {}
        places: dict[tuple[str, int], tuple[str, int]] = {}
        if source.get("extends"):
            extends = source["extends"]
            extends = extends if isinstance(extends, dict) else {"service": extends}
            other = str(extends.get("service") or "")
            target = (
                _beside(path, self._text(str(extends["file"]), path, env, lambda n: None, 0))
                if extends.get("file")
                else path
            )
            base, base_lines = (document, lines) if target == path else self._document(target, self.read(target))
            if other not in (base.get("services") or {}):
                raise ComposeError(path, f"service {name} extends {other}, which {target} does not have")
            merged, places = self._service(target, base, base_lines, other, env, result, (*seen, (path, name)))
        for key in ("ports", "volumes", "network_mode", "networks", "use_api_socket", "expose"):
            if key not in source:
                continue
            base_line = lines.get(("services", name, key), lines.get(("services", name), 0))
            value = source[key]
            if key in ("ports", "volumes") and isinstance(value, list):
                kept = list(merged.get(key) or [])
                for index, item in enumerate(value):
                    line = lines.get(("services", name, key, index), base_line)
                    places[key, len(kept)] = (path, line)
                    kept.append(self._resolved(item, path, env, result, line))
                merged[key] = kept
            else:
                places[key, 0] = (path, base_line)
                merged[key] = self._resolved(value, path, env, result, base_line)
        return merged, places


def _beside(path: str, target: str) -> str:
    return target if os.path.isabs(target) else os.path.normpath(os.path.join(os.path.dirname(path), target))


def _normalised(text: str) -> dict[str, Any] | None:
    """The JSON of `docker compose config --format json`; None for anything else."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        model = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return model if isinstance(model, dict) else None
