# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""A compose file as values that know where they were written: YAML as Compose reads it, or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment]

_DEPTH_LIMIT = 100
# Aliases of aliases can stand for more nodes than any memory holds. Compose has the same limit.
_NODE_LIMIT = 100_000
_MERGE = "tag:yaml.org,2002:merge"
_NULLS = ("", "~", "null", "Null", "NULL")
# Numbers as go-yaml reads them: YAML 1.2, the octal numbers of YAML 1.1 and underscores, but never base sixty.
_NUMBER = re.compile(r"0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|0[0-7_]+|[1-9][0-9_]*")

KeyPath = tuple[str, ...]


class ComposeError(Exception):
    """A compose file that cannot be examined; the message says why and where."""

    def __init__(self, file: str, reason: str, line: int = 0) -> None:
        self.file = file
        self.line = line
        super().__init__(reason)


class YamlMissing(ComposeError):
    """PyYAML is not installed for this Python."""


class Place(NamedTuple):
    """Where a value was written, and the directory its relative paths begin at."""

    file: str = ""
    line: int = 0
    base: str = ""


class Text(str):
    """A scalar."""

    place: Place
    # The variables in it that have no value.
    unset: tuple[str, ...]

    def __new__(cls, value: str, place: Place, unset: tuple[str, ...] = ()) -> Text:
        text = super().__new__(cls, value)
        text.place, text.unset = place, unset
        return text


class Items(list[Any]):
    """A sequence."""

    def __init__(self, place: Place, values: Any = ()) -> None:
        super().__init__(values)
        self.place = place


class Fields(dict[str, Any]):
    """A mapping, with the places of its keys: a value of nothing has no place of its own."""

    def __init__(self, place: Place, values: Any = (), keys: dict[str, Place] | None = None) -> None:
        super().__init__(values)
        self.place = place
        self.keys_at: dict[str, Place] = dict(keys or {})

    def at(self, key: str) -> Place:
        return self.keys_at.get(key, self.place)


def place_of(value: object) -> Place:
    return getattr(value, "place", Place())


@dataclass
class Document:
    """One document of a file. What is at `cleared` (`!reset`, `!override`) goes from the documents before it."""

    root: Fields
    cleared: list[KeyPath] = field(default_factory=list)


class _Dropped:
    """In the place of a node with the tag !reset."""


class _Builder:
    """Nodes to values."""

    def __init__(self, file: str, base: str) -> None:
        self.file = file
        self.base = base
        self.nodes = 0
        self.cleared: list[KeyPath] = []

    def place(self, node: Any) -> Place:
        return Place(self.file, node.start_mark.line + 1, self.base)

    def build(self, node: Any, path: KeyPath = (), depth: int = 0) -> Any:
        self.nodes += 1
        if depth > _DEPTH_LIMIT or self.nodes > _NODE_LIMIT:
            raise ComposeError(self.file, "nested too deep or too large", node.start_mark.line + 1)
        if node.tag in ("!reset", "!override"):
            self.cleared.append(path)
        if node.tag == "!reset":
            return _Dropped
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            built = [self.build(item, (*path, str(index)), depth + 1) for index, item in enumerate(node.value)]
            return Items(self.place(node), [value for value in built if value is not _Dropped])
        if node.style is None and node.tag != "tag:yaml.org,2002:str" and node.value in _NULLS:
            return None
        value = number(node.value) if node.style is None else node.value
        return Text(value, self.place(node))

    def _mapping(self, node: Any, path: KeyPath, depth: int) -> Fields:
        own = Fields(self.place(node))
        merged: list[Fields] = []
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ComposeError(self.file, "a key that is not a text", key.start_mark.line + 1)
            name = str(key.value)
            if name in seen:
                raise ComposeError(self.file, f"the key {name} is there twice", key.start_mark.line + 1)
            seen.add(name)
            if key.tag == _MERGE:
                merged += self._merged(value, path, depth)
                continue
            built = self.build(value, (*path, name), depth + 1)
            if built is not _Dropped:
                own[name] = built
                own.keys_at[name] = self.place(key)
        result = Fields(own.place)
        # The first of several merged mappings wins, and what is written in the mapping itself over all of them.
        for fields in (*reversed(merged), own):
            result.update(fields)
            result.keys_at.update(fields.keys_at)
        return result

    def _merged(self, node: Any, path: KeyPath, depth: int) -> list[Fields]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found = []
        for item in nodes:
            built = self.build(item, path, depth + 1)
            if not isinstance(built, Fields):
                raise ComposeError(self.file, "<< takes mappings", item.start_mark.line + 1)
            found.append(built)
        return found


def number(text: str) -> str:
    """A scalar without quotes, as a decimal number if it is a whole number."""
    if not _NUMBER.fullmatch(text):
        return text
    digits = text.replace("_", "")
    old_octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
    try:
        return str(int(digits, 8) if old_octal else int(digits, 0))
    except ValueError:
        return text


def documents(text: str, file: str, base: str) -> list[Document]:
    """All documents of a file. :raises ComposeError: it is none that Compose would read."""
    if yaml is None:
        if not text.lstrip().startswith("{"):
            raise YamlMissing(file, "PyYAML is missing for this Python, so YAML cannot be read")
        return [_from_json(text, file, base)]
    try:
        return list(_from_yaml(text, file, base))
    except ComposeError:
        # JSON is YAML, but for the tabs between its tokens.
        if text.lstrip().startswith("{") and "\t" in text:
            return [_from_json(text, file, base)]
        raise


def _from_yaml(text: str, file: str, base: str) -> Iterator[Document]:
    class Limited(yaml.SafeLoader):
        """A loader that stops early, instead of building what is refused afterwards."""

        nodes = depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.nodes += 1
            self.depth += 1
            if self.depth > _DEPTH_LIMIT or self.nodes > _NODE_LIMIT:
                raise ComposeError(file, "nested too deep or too large", self.peek_event().start_mark.line + 1)
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    try:
        for node in yaml.compose_all(text, Loader=Limited):
            builder = _Builder(file, base)
            root = builder.build(node)
            if not isinstance(root, Fields):
                raise ComposeError(file, "not a mapping with `services`", node.start_mark.line + 1)
            yield Document(root, builder.cleared)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
        raise ComposeError(file, f"not YAML: {reason}", mark.line + 1 if mark else 0) from None
    except RecursionError:
        raise ComposeError(file, "nested too deep") from None


def _from_json(text: str, file: str, base: str) -> Document:
    place = Place(file, 0, base)

    def fields(pairs: list[tuple[str, Any]]) -> Fields:
        built = Fields(place, ((key, value(item)) for key, item in pairs))
        if len(built) != len(pairs):
            raise ComposeError(file, "a key is there twice")
        return built

    def value(item: Any) -> Any:
        if isinstance(item, list):
            return Items(place, map(value, item))
        if item is None or isinstance(item, Fields):
            return item
        return Text(str(item).lower() if isinstance(item, bool) else str(item), place)

    try:
        root = json.loads(text, object_pairs_hook=fields)
    except (ValueError, RecursionError) as error:
        raise ComposeError(file, f"not JSON: {error}") from None
    if not isinstance(root, Fields):
        raise ComposeError(file, "not a mapping with `services`")
    return Document(root)
