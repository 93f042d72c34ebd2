# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bare Debian before and after role `hardening`, as others' scanners see it.

For each release: the hardening index of Lynis (0 to 100, more is better) and the number of its findings, from the
release's own package with `lynis audit system --quick --skip-plugins`; and what ssh-audit of Debian 13 fails or warns
of, from a neighbour host. Findings that docs/hardening.md does not explain are counted apart.
"""

from __future__ import annotations

from tests.support import scanners
from tests.support.lab import Host, up

RELEASES = {"debian_12": "bookworm", "debian_13": "trixie"}
PLAYBOOK = "molecule/hardening/converge.yml"


def run() -> dict[str, float | int | str]:
    figures: dict[str, float | int | str] = {}
    for release, suite in RELEASES.items():
        host = up("bench-hardening", suite=suite)
        try:
            before = seen(host)
            host.converge(PLAYBOOK)
            after = seen(host)
        finally:
            host.down()
        for what in before:
            figures[f"{release}_{what}_before"] = before[what]
            figures[f"{release}_{what}_after"] = after[what]
        del figures[f"{release}_lynis_unexplained_before"]
    return figures


def seen(host: Host) -> dict[str, int]:
    audit = scanners.lynis(host)
    return {
        "lynis_index": audit.index,
        "lynis_tests": audit.tests,
        "lynis_findings": len(audit.findings),
        "lynis_unexplained": len(audit.findings - scanners.explained()),
        "ssh_audit": len(scanners.ssh_audit(host.address)),
    }
