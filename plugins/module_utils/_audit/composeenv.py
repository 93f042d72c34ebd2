# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Variables of compose files: the operators of ${NAME}, and .env files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_DEPTH_LIMIT = 20
# Variables of variables can stand for more text than any memory holds.
_LENGTH_LIMIT = 64 << 10
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The longer operators first.
_OPERATORS = (":?", "?", ":-", "-", ":+", "+")
_ENV_KEY = re.compile(r"(?:export[ \t]+)?([^=:\n]*)([=:\n]|\Z)")
_ENV_NAME = re.compile(r"[\w.\-\[\]]*")
_ESCAPE = re.compile(r'\\([abcfnrtv$"\\]|0[0-7]{0,3})')
_ESCAPED = {"a": "\a", "b": "\b", "c": "\\c", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "$": "$$"}

Unset = Callable[[str], None]


class VariableError(ValueError):
    """A variable that Compose would stop at."""


def interpolate(text: str, env: Mapping[str, str], unset: Unset, depth: int = 0) -> str:
    """A string with its variables replaced as Compose does; an unset one is empty, and is reported."""
    if depth > _DEPTH_LIMIT:
        raise VariableError("variables nested too deep")
    result: list[str] = []
    position = 0
    while True:
        dollar = text.find("$", position)
        if dollar < 0:
            if sum(map(len, result)) > _LENGTH_LIMIT:
                raise VariableError("its variables stand for too much text")
            return "".join([*result, text[position:]])
        result.append(text[position:dollar])
        follows = text[dollar + 1 : dollar + 2]
        name = _NAME.match(text, dollar + 1)
        if follows == "{":
            end = _closing(text, dollar + 1)
            result.append(_expression(text[dollar + 2 : end], env, unset, depth))
            position = end + 1
        elif name:
            result.append(_value(name[0], env, unset))
            position = name.end()
        else:
            # `$$` is a dollar sign. Compose leaves any other one alone as well.
            result.append("$")
            position = dollar + (2 if follows == "$" else 1)


def _closing(text: str, start: int) -> int:
    level = 0
    for position in range(start, len(text)):
        level += {"{": 1, "}": -1}.get(text[position], 0)
        if level == 0:
            return position
    raise VariableError(f"an open ${{ in {text!r}")


def _value(name: str, env: Mapping[str, str], unset: Unset) -> str:
    if name not in env:
        unset(name)
    return env.get(name, "")


def _expression(body: str, env: Mapping[str, str], unset: Unset, depth: int) -> str:
    match = _NAME.match(body)
    if match is None:
        raise VariableError(f"${{{body}}} names no variable")
    name, rest = match[0], body[match.end() :]
    if not rest:
        return _value(name, env, unset)
    operator = next((known for known in _OPERATORS if rest.startswith(known)), "")
    if not operator:
        raise VariableError(f"${{{body}}} is not understood")
    alternative = rest[len(operator) :]
    present = bool(env.get(name)) if operator.startswith(":") else name in env
    if operator.endswith("?"):
        # Compose refuses to start without it: nothing is published by an unset one.
        if not present:
            raise VariableError(f"{name} is required and not set")
        return env[name]
    if operator.endswith("-"):
        return env[name] if present else interpolate(alternative, env, unset, depth + 1)
    return interpolate(alternative, env, unset, depth + 1) if present else env.get(name, "")


def parse_env(text: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of a .env file. What is given wins inside of its values too.

    :raises VariableError: Compose would not read the file.
    """
    given = given or {}
    found: dict[str, str] = {}
    rest = text.lstrip("\ufeff")
    while True:
        rest = rest.lstrip()
        if not rest:
            return found
        if rest.startswith("#"):
            rest = rest.partition("\n")[2]
            continue
        match = _ENV_KEY.match(rest)
        key = match[1].rstrip() if match else ""
        if match is None or not _ENV_NAME.fullmatch(key):
            line = rest.partition("\n")[0]
            raise VariableError(f"{line!r} sets no variable")
        rest = rest[match.end() :]
        if match[2] not in ("=", ":"):
            # A name alone passes a variable on.
            if key in given:
                found[key] = given[key]
            continue
        value, rest = _env_value(rest.lstrip(" \t\v\f\r\x85\xa0"), {**found, **given})
        # Compose leaves out what begins with a digit.
        if not key[:1].isdigit():
            found[key] = value


def _env_value(text: str, env: Mapping[str, str]) -> tuple[str, str]:
    """The value that a text begins with, and what follows it."""
    quote = text[:1]
    if quote not in ("'", '"') or not quote:
        line, dummy, rest = text.partition("\n")
        return _expanded(line.partition(" #")[0].rstrip(), env), rest
    value: list[str] = []
    position = 1
    while position < len(text):
        char = text[position]
        if char == quote:
            joined = "".join(value)
            return (_expanded(_unescaped(joined), env) if quote == '"' else joined), text[position + 1 :]
        if char == "\\" and text[position + 1 : position + 2] == quote:
            position += 1
            char = quote
        elif char == "\\" and text[position + 1 : position + 2] == "\\":
            value.append("\\")
            position += 1
        value.append(char)
        position += 1
    line = text.partition("\n")[0]
    raise VariableError(f"the quote of {line!r} is not closed")


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        if code.startswith("0"):
            return chr(int(code, 8)) if len(code) > 1 else match[0]
        return _ESCAPED.get(code, code)

    return _ESCAPE.sub(one, text)


def _expanded(text: str, env: Mapping[str, str]) -> str:
    return interpolate(text, env, lambda name: None)
