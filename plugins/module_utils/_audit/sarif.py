# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Findings as SARIF 2.1.0, which code scanning services read.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html, and what GitHub makes of it:
https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Finding

DOCUMENTATION = "https://github.com/daffathan/platform/blob/main/docs/port_audit.md"
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"critical": "error", "high": "error", "unknown": "error", "medium": "warning", "low": "note"}
# The scale of CVSS, by which GitHub sorts: critical above 9.0, high from 7.0, medium from 4.0.
_SCORES = {"critical": 9.5, "high": 8.0, "unknown": 7.0, "medium": 5.0, "low": 2.0}


def _rule(findings: list[Finding]) -> dict[str, Any]:
    """The rule of all findings of one kind, as severe as the worst of them."""
    worst = max(findings, key=lambda item: _SCORES[item.severity])
    title = worst.id.replace("-", " ").capitalize()
    return {
        "id": worst.id,
        "shortDescription": {"text": title},
        "fullDescription": {"text": f"{title}. Severity {worst.severity}."},
        "help": {"text": worst.remediation, "markdown": f"{worst.remediation}\n\n[All findings]({DOCUMENTATION})"},
        "helpUri": DOCUMENTATION,
        "defaultConfiguration": {"level": _LEVELS[worst.severity]},
        "properties": {"security-severity": str(_SCORES[worst.severity]), "tags": ["security", "network"]},
    }


def _uri(file: str, base: str) -> dict[str, str]:
    path = os.path.normpath(os.path.join(base, file))
    inside = os.path.relpath(path, base)
    if inside == os.pardir or inside.startswith(os.pardir + os.sep):
        return {"uri": PurePosixPath(path).as_uri()}
    return {"uri": quote(inside), "uriBaseId": "%SRCROOT%"}


def _location(item: Finding, base: str) -> dict[str, Any]:
    if item.file:
        place: dict[str, Any] = {"artifactLocation": _uri(item.file, base)}
        # A finding about a whole file has no line; code scanning shows only what has one.
        place["region"] = {"startLine": item.line or 1}
        return {"physicalLocation": place}
    port = f"{item.port}/{item.proto}" if item.port else ""
    name = " ".join(text for text in (port, item.container or item.service or item.owner) if text) or "host"
    parts = [part for part in ("host", item.proto, str(item.port or ""), item.container or item.owner) if part]
    return {"logicalLocations": [{"name": name, "fullyQualifiedName": "/".join(parts), "kind": "resource"}]}


def _result(item: Finding, index: int, base: str) -> dict[str, Any]:
    return {
        "ruleId": item.id,
        "ruleIndex": index,
        "level": _LEVELS[item.severity],
        "message": {"text": f"{item.evidence} {item.remediation}"},
        "locations": [_location(item, base)],
        "partialFingerprints": {"daffathanPortAudit/v1": item.fingerprint},
        "properties": {"severity": item.severity},
    }


def render(findings: Iterable[Finding], base: str) -> str:
    """
    :param base: the directory that file names are relative to, as a rule the root of the sources.
    """
    kinds: dict[str, list[Finding]] = {}
    items = list(findings)
    for item in items:
        kinds.setdefault(item.id, []).append(item)
    order = sorted(kinds)
    run = {
        "tool": {
            "driver": {
                "name": "daffathan-port-audit",
                "informationUri": DOCUMENTATION,
                "rules": [_rule(kinds[kind]) for kind in order],
            }
        },
        "results": [_result(item, order.index(item.id), base) for item in items],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"
