# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compose files with known verdicts: what each service opens, as corpus/verdicts.yml says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Finding

from tests.support.ansible import PROJECT

DIRECTORY = PROJECT / "tests" / "unit" / "plugins" / "module_utils" / "audit" / "corpus"

# Findings that everything the service listens on can be reached.
OPEN = {"compose-host-network", "compose-l2-network", "compose-open-gateway"}


@dataclass(frozen=True)
class Verdict:
    """What a service opens."""

    ports: frozenset[str] = frozenset()
    open: bool = False
    unknown: bool = False
    also: frozenset[str] = frozenset()
    absent: bool = False

    @property
    def exposed(self) -> bool:
        return bool(self.ports) or self.open


@dataclass(frozen=True)
class Case:
    """One project of the corpus."""

    name: str
    why: str
    services: dict[str, Verdict]
    input: str = "."
    env: dict[str, str] = field(default_factory=dict)
    unknown: bool = False
    refused: str = ""

    @property
    def directory(self) -> Path:
        return DIRECTORY / self.name

    @property
    def path(self) -> str:
        return os.path.normpath(self.directory / self.input)

    @property
    def files(self) -> list[Path]:
        """All compose files of the case, those it includes and extends too."""
        return sorted(path for path in self.directory.rglob("*") if path.suffix in (".yaml", ".yml", ".json"))


def _verdict(entry: dict[str, Any]) -> Verdict:
    known: dict[str, Any] = {
        key: frozenset(value) if isinstance(value, list) else value for key, value in entry.items()
    }
    return Verdict(**known)


def _case(name: str, entry: dict[str, Any]) -> Case:
    services = {service: _verdict(verdict) for service, verdict in entry.pop("services").items()}
    return Case(name, services=services, **entry)


def cases() -> list[Case]:
    known = yaml.safe_load((DIRECTORY / "verdicts.yml").read_text())
    return [_case(name, entry) for name, entry in known.items()]


def seen(findings: Iterable[Finding]) -> Verdict:
    """What the findings about one service say of it."""
    findings = list(findings)
    ports = {
        "/".join(match.groups())
        for item in findings
        if item.id == "compose-published-port"
        for match in re.finditer(r":(random|[0-9-]+)->[0-9-]+/([a-z]+)", item.evidence)
    }
    rest = {item.id for item in findings if item.severity != "unknown"} - OPEN - {"compose-published-port"}
    return Verdict(
        ports=frozenset(ports),
        open=any(item.id in OPEN for item in findings),
        unknown=any(item.severity == "unknown" for item in findings),
        also=frozenset(rest),
    )
