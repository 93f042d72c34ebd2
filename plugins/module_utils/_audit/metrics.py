# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The outcome of an audit as metrics of Prometheus, for the textfile collector of the node exporter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import SEVERITIES, Finding
from ansible_collections.daffathan.platform.plugins.module_utils._common.prometheus import Sample, family

_PREFIX = "daffathan_port_audit"
# They differ in every run, whatever was found.
_VOLATILE = (f"{_PREFIX}_last_run_timestamp_seconds", f"{_PREFIX}_duration_seconds")


def _family(name: str, text: str, samples: Iterable[Sample]) -> list[str]:
    return family(f"{_PREFIX}_{name}", text, samples)


def render(
    findings: Iterable[Finding],
    reachable: Iterable[Mapping[str, Any]],
    *,
    success: bool,
    finished: float,
    duration: float,
) -> str:
    """
    :param success: whether no finding reaches the threshold at which the audit fails.
    :param finished: seconds since the epoch. :param duration: seconds.
    """
    items = list(findings)
    severities = Counter(item.severity for item in items)
    kinds = Counter((item.id, item.severity) for item in items)
    ports = sorted({(entry["port"], entry["proto"], entry["family"]) for entry in reachable})
    lines = [
        *_family(
            "findings",
            "Findings of the last audit by severity; unknown is what could not be examined.",
            [({"severity": name}, severities[name]) for name in SEVERITIES],
        ),
        *_family(
            "findings_by_id",
            "Findings of the last audit by kind.",
            [({"id": kind, "severity": severity}, count) for (kind, severity), count in sorted(kinds.items())],
        ),
        *_family(
            "reachable_port",
            "1 for each port that answers to the outside.",
            [({"port": str(port), "proto": proto, "family": family}, 1) for port, proto, family in ports],
        ),
        *_family("success", "1 if no finding reached the threshold.", [({}, 1 if success else 0)]),
        *_family("last_run_timestamp_seconds", "When the last audit ended.", [({}, round(finished))]),
        *_family("duration_seconds", "How long the last audit took.", [({}, round(duration, 3))]),
    ]
    return "\n".join(lines) + "\n"


def lasting(text: str) -> list[str]:
    """The lines that tell what was found, without those that differ in every run."""
    return [line for line in text.splitlines() if not line.startswith(_VOLATILE)]
