# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Units of systemd as it would read them at the next start: files, drop-ins, masks. systemd.unit(5)."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# The first one wins.
_DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_LIMIT = 1 << 20


@dataclass(frozen=True)
class Unit:
    """Settings by key, whatever their section; those that are lists in order."""

    name: str
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    masked: bool = False

    def get(self, key: str) -> tuple[str, ...]:
        return self.settings.get(key, ())


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read(_LIMIT)
    except OSError:
        return ""


def parse(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The settings of a unit file and its drop-ins; an empty value forgets those before it."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        for line in re.sub(r"\\\n", " ", text).splitlines():
            line = line.strip()
            key, equals, value = line.partition("=")
            if not equals or line.startswith(("#", ";", "[")):
                continue
            key, value = key.strip(), value.strip()
            found[key] = (*found.get(key, ()), value) if value else ()
    return found


def enabled(name: str, root: str = "") -> bool:
    """Whether something pulls the unit in at boot."""
    places = (f"{root}{directory}/*.{kind}/{name}" for directory in _DIRECTORIES for kind in ("wants", "requires"))
    return any(glob.glob(place) for place in places)


def load(name: str, root: str = "") -> Unit | None:
    """The unit with its drop-ins; None where there is none."""
    paths = [f"{root}{directory}/{name}" for directory in _DIRECTORIES]
    path = next((path for path in paths if os.path.lexists(path)), "")
    if not path:
        return None
    if os.path.realpath(path) == "/dev/null" or (os.path.exists(path) and not os.path.getsize(path)):
        return Unit(name, masked=True)
    kind = name.rpartition(".")[2]
    drop_ins: dict[str, str] = {}
    for directory in reversed(_DIRECTORIES):
        # Those of the unit win over those of its type that have the same name.
        for place in (f"{kind}.d", f"{name}.d"):
            for found in glob.glob(f"{root}{directory}/{place}/*.conf"):
                drop_ins[os.path.basename(found)] = found
    files = [path, *(drop_ins[base] for base in sorted(drop_ins))]
    return Unit(name, parse(_read(file) for file in files), tuple(files))


def environment(unit: Unit, root: str = "") -> dict[str, str]:
    """The variables a service is started with, as far as its files tell."""
    lines: list[str] = []
    for value in unit.get("Environment"):
        with contextlib.suppress(ValueError):
            lines += shlex.split(value)
    for path in unit.get("EnvironmentFile"):
        for line in _read(f"{root}{path.lstrip('-')}").splitlines():
            if line.strip() and not line.lstrip().startswith(("#", ";")):
                lines.append(line.strip())
    found = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if equals:
            found[key.strip()] = value.strip().strip("\"'")
    return found


def command(unit: Unit, variables: Mapping[str, str]) -> list[str]:
    """The words of ExecStart=. `$NAME` alone is a list of words, `${NAME}` a part of one; systemd.service(5)."""
    lines = unit.get("ExecStart")
    if not lines:
        return []
    try:
        words = shlex.split(lines[-1].lstrip("@-:+!"))
    except ValueError:
        words = lines[-1].split()
    found: list[str] = []
    for word in words:
        name = re.fullmatch(r"\$([A-Za-z_][A-Za-z0-9_]*)", word)
        if name:
            with contextlib.suppress(ValueError):
                found += shlex.split(variables.get(name[1], ""))
            continue
        found.append(re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", lambda match: variables.get(match[1], ""), word))
    return found
