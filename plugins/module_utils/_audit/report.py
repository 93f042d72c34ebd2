# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The result of an audit for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import SEVERITIES, Finding, Outcome

_SHOWN = 20


def counts(findings: Iterable[Finding]) -> str:
    severities = [item.severity for item in findings]
    return ", ".join(f"{severities.count(name)} {name}" for name in SEVERITIES if name in severities) or "no findings"


def ports(reachable: Iterable[Mapping[str, Any]]) -> str:
    families: dict[tuple[int, str], set[str]] = {}
    for entry in reachable:
        families.setdefault((entry["port"], entry["proto"]), set()).add(entry["family"])
    both = {"ipv4", "ipv6"}
    return " ".join(
        f"{port}/{proto}{'' if seen == both else f' ({next(iter(seen))} only)'}"
        for (port, proto), seen in sorted(families.items())
    )


def summary(findings: list[Finding], reachable: list[dict[str, Any]] | None) -> str:
    """One line: what is open, and how many findings there are."""
    if reachable is None:
        return counts(findings)
    return f"reachable: {ports(reachable) or 'nothing'}; {counts(findings)}"


def table(findings: list[Finding]) -> list[str]:
    """One line per finding, worst first."""
    lines = [f"{item.severity:<8}  {item.id:<24}  {item.where}".rstrip() for item in findings]
    return lines or ["nothing was found"]


def _place(item: Finding) -> str:
    return f"{item.file}:{item.line}: " if item.line else f"{item.file}: " if item.file else ""


def message(bad: list[Finding], threshold: str) -> str:
    """Why the module fails: every finding at or above the threshold, with its remedy."""
    lines = [f"{len(bad)} finding(s) at or above {threshold}:"]
    for item in bad[:_SHOWN]:
        lines += [f"- [{item.severity}] {_place(item)}{item.evidence}", f"  Remedy: {item.remediation}"]
    if len(bad) > _SHOWN:
        lines.append(f"... and {len(bad) - _SHOWN} more, see the result's findings.")
    return "\n".join(lines)


def text(outcome: Outcome) -> str:
    """The whole outcome to be read: what is open, then every finding with what was seen and what to do."""
    lines = [summary(outcome.findings, outcome.reachable)]
    for item in outcome.findings:
        heading = f"{item.severity:<8}  {item.id:<24}  {item.where}".rstrip()
        lines += ["", heading, f"  {item.evidence}", f"  Remedy: {item.remediation}"]
    return "\n".join(lines) + "\n"


def as_json(outcome: Outcome) -> str:
    """What the module returns, as a document of its own."""
    content: dict[str, Any] = {"mode": outcome.mode, "summary": summary(outcome.findings, outcome.reachable)}
    content["findings"] = [item.as_dict() for item in outcome.findings]
    if outcome.reachable is not None:
        content.update(reachable=outcome.reachable, adjacent=outcome.adjacent, candidates=outcome.candidates)
    return json.dumps(content, indent=2) + "\n"
