# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The static audit and other linters on the same compose files with known verdicts."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeaudit import Auditor

from tests.support.corpus import Case, cases, seen
from tests.support.lab import PROJECT

PEERS = PROJECT / ".build" / "bench"
DCLINT = PEERS / "npm" / "node_modules" / ".bin" / "dclint"
# The rules of each tool that a service can be reached from outside.
COMPOSE_LINT_RULES = {"CL-0005", "CL-0008"}
DCLINT_RULES = {"no-unbound-port-interfaces"}

# What a tool calls exposed in a case.
Tool = Callable[[Case], set[str]]


def ours(case: Case) -> set[str]:
    findings = Auditor(case.env).audit([case.path], datetime.date(2026, 1, 1))
    services = {item.service for item in findings if item.service}
    return {name for name in services if seen(item for item in findings if item.service == name).exposed}


def _run(argv: Iterable[str | Path], case: Case, **env: str) -> str:
    """What a linter prints; how it ends says no more than that it found something."""
    return subprocess.run(
        [*map(str, argv)],
        cwd=case.directory,
        env={**os.environ, **case.env, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    ).stdout


def compose_lint(case: Case) -> set[str]:
    named = [] if case.input == "." else [case.input]
    argv = (sys.executable, "-m", "compose_lint", "check", "--format", "json", "--allow-partial-coverage", *named)
    # It prints nothing about files that it does not take.
    answer = json.loads(_run(argv, case, PYTHONPATH=str(PEERS)) or '{"findings": []}')
    return {str(item["service"]) for item in answer["findings"] if item["rule_id"] in COMPOSE_LINT_RULES}


def dclint(case: Case) -> set[str]:
    with tempfile.TemporaryDirectory() as directory:
        # Of what it writes to a pipe the end may be missing.
        output = Path(directory, "answer")
        _run((DCLINT, "--formatter", "json", "--output-file", output, "--recursive", case.input), case)
        answer = json.loads(output.read_text()) if output.exists() else []
    messages = [message for file in answer for message in file["messages"] if message["rule"] in DCLINT_RULES]
    return {str(message["data"]["serviceName"]) for message in messages}


def _rates(tool: Tool, corpus: list[Case]) -> tuple[float, float]:
    """Recall and precision by services. What nobody can know counts neither for nor against a tool."""
    verdicts = {(case.name, name): verdict for case in corpus for name, verdict in case.services.items()}
    exposed = {key for key, verdict in verdicts.items() if verdict.exposed}
    unknown = {key for key, verdict in verdicts.items() if verdict.unknown}
    called = {(case.name, name) for case in corpus for name in tool(case)} - unknown
    right = len(exposed & called)
    return round(right / len(exposed), 3), round(right / len(called), 3) if called else 0.0


def figures() -> dict[str, float | int | str]:
    """:raises RuntimeError: a peer is not there, or does not work."""
    if not DCLINT.exists():
        raise RuntimeError("dclint is missing: install npm and run make bench again.")
    corpus = cases()
    probe = next(case for case in corpus if case.name == "micro-sayur")
    result: dict[str, float | int | str] = {
        "static_services": sum(len(case.services) for case in corpus),
        "static_exposed": sum(verdict.exposed for case in corpus for verdict in case.services.values()),
    }
    for name, tool in {"static": ours, "compose_lint": compose_lint, "dclint": dclint}.items():
        if tool(probe) != set(probe.services):
            raise RuntimeError(f"{name} finds {tool(probe) or 'nothing'} in the plainest of files.")
        result[f"{name}_recall"], result[f"{name}_precision"] = _rates(tool, corpus)
    return result
