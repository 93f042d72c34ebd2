# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Audit compose files and directories: which files Compose would read there, with which variables."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Iterator, Mapping

from ansible_collections.daffathan.platform.plugins.module_utils._audit.compose import judge_compose
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeenv import VariableError, parse_env
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composefile import (
    Loader,
    Problem,
    Project,
    Reader,
    beside,
    default_env_file,
    read_file,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composenetworks import truth
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeports import PortError
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeyaml import ComposeError, YamlMissing
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Expected, Finding, ordered, unknown

# In the order in which Compose takes the first that is there.
_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
_YAML_REMEDY = (
    "Install PyYAML (python3-yaml) for this Python, run the audit on the controller (delegate_to: localhost), "
    "or give it the output of `docker compose config --format json`."
)


class Auditor:
    """Judges compose files at rest with the same variables and declared ports."""

    def __init__(self, env: Mapping[str, str], expected: Iterable[Expected] = (), read: Reader = read_file) -> None:
        self.env = dict(env)
        self.expected = tuple(expected)
        self.read = read

    def audit(self, paths: Iterable[str], today: datetime.date) -> list[Finding]:
        """The findings of files, and of directories as Compose would read them."""
        return ordered(item for path in paths for item in self._path(path, today))

    def projects(self, path: str) -> Iterator[Project]:
        """What Compose would make of a directory; of a file alone, and with its override file if it has one.

        :raises ComposeError: a file cannot be read.
        """
        directory = path if os.path.isdir(path) else os.path.dirname(path)
        env = {**self._env_files(self._env_paths(directory), self.env), **self.env}
        for files in _directory(path, env) if os.path.isdir(path) else _file(path):
            yield Loader(self._env_files, self.read).load(files, env)

    def _path(self, path: str, today: datetime.date) -> Iterator[Finding]:
        try:
            for project in self.projects(path):
                yield from map(_not_known, project.problems)
                yield from judge_compose(project.model, self.expected, today=today)
        except YamlMissing as error:
            yield unknown("compose-not-examined", f"{error}.", _YAML_REMEDY, file=error.file)
        except ComposeError as error:
            evidence = f"the compose file could not be examined: {error}."
            yield unknown("compose-not-examined", evidence, "Correct the file.", file=error.file, line=error.line)
        except RecursionError:
            evidence = "the compose file could not be examined: nested too deep."
            yield unknown("compose-not-examined", evidence, "Correct the file.", file=path)
        except PortError as error:
            evidence = f"the compose file could not be examined: {error}."
            yield unknown("compose-not-examined", evidence, "Correct the file.", file=path)

    def _env_paths(self, directory: str) -> list[str]:
        if self.env.get("COMPOSE_ENV_FILES"):
            return [beside(directory, name) for name in self.env["COMPOSE_ENV_FILES"].split(",")]
        return [] if truth(self.env.get("COMPOSE_DISABLE_ENV_FILE")) else default_env_file(directory)

    def _env_files(self, paths: list[str], given: Mapping[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in paths:
            try:
                found.update(parse_env(self.read(path), {**found, **given}))
            except VariableError as error:
                raise ComposeError(path, str(error)) from None
        return found


def _not_known(problem: Problem) -> Finding:
    kind = "compose-service" if problem.service else "compose-not-examined"
    subject = f"service {problem.service}" if problem.service else "the compose file"
    evidence = f"{subject} cannot be examined: {problem.reason}."
    remedy = "Correct it, or set the variable in env." if "not set" in problem.reason else "Correct it."
    place = problem.place
    return unknown(kind, evidence, remedy, service=problem.service, file=place.file, line=place.line, path="latent")


def _first(directory: str, names: Iterable[str]) -> list[str]:
    paths = [beside(directory, name) for name in names]
    return [path for path in paths if os.path.isfile(path)][:1]


def _directory(directory: str, env: Mapping[str, str]) -> list[list[str]]:
    """The files that Compose merges when it is started in a directory."""
    if env.get("COMPOSE_FILE"):
        names = env["COMPOSE_FILE"].split(env.get("COMPOSE_PATH_SEPARATOR") or os.pathsep)
        return [[beside(directory, name) for name in names]]
    found = _first(directory, _NAMES)
    if not found:
        raise ComposeError(directory, f"the directory has none of {', '.join(_NAMES)}")
    return [found + _first(directory, _OVERRIDES)]


def _file(path: str) -> list[list[str]]:
    """A file alone, and with the override file that Compose reads unasked beside a file of such a name."""
    override = _first(os.path.dirname(path), _OVERRIDES) if os.path.basename(path) in _NAMES else []
    return [[path], [path, *override]] if override else [[path]]
