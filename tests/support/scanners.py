# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What security scanners find on a lab VPS: Lynis on the host itself, ssh-audit from a neighbour."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tests.support.lab import PROJECT, Host, attacker

PAGE = PROJECT / "docs" / "hardening.md"
REPORT = "/var/log/lynis-report.dat"


@dataclass(frozen=True)
class Lynis:
    index: int
    """The hardening index, 0 to 100."""
    tests: int
    findings: frozenset[str]
    """Ids of warnings and suggestions; for sshd's options followed by that of the option: `SSH-7408 Port`."""


def lynis(host: Host) -> Lynis:
    """A whole audit with the package of the host's own Debian release, which is gone again afterwards."""
    host.run("apt-get", "-qq", "update")
    host.run("apt-get", "-qqy", "install", "--no-install-recommends", "lynis")
    host.run("lynis", "audit", "system", "--quick", "--skip-plugins", "--quiet", "--no-colors", check=False)
    report = host.run("cat", REPORT)
    host.run("apt-get", "-qqy", "purge", "lynis")
    host.run("rm", "-f", REPORT, "/var/log/lynis.log")
    return read(report)


def read(report: str) -> Lynis:
    """The report of Lynis: lines of `key=value`, findings as `warning[]=id|what|details|solution|`."""
    entries = [line.partition("=")[::2] for line in report.splitlines() if not line.startswith("#")]
    single = dict(entries)
    findings = [value.split("|") for key, value in entries if key in {"warning[]", "suggestion[]"}]
    return Lynis(
        index=int(single["hardening_index"]),
        tests=int(single["lynis_tests_done"]),
        findings=frozenset(_name(finding[0], finding[2]) for finding in findings),
    )


def _name(identifier: str, details: str) -> str:
    return f"{identifier} {details.split()[0]}" if identifier == "SSH-7408" else identifier


def ssh_audit(address: str) -> frozenset[str]:
    """What ssh-audit holds against the sshd of an address: `warn ssh-rsa: using weak hashing algorithm`."""
    answer = json.loads(attacker("ssh-audit", "--json", address, check=False))
    return frozenset(
        f"{level} {algorithm['algorithm']}: {why}"
        for kind in ("kex", "key", "enc", "mac")
        for algorithm in answer[kind]
        for level in ("fail", "warn")
        for why in algorithm.get("notes", {}).get(level, [])
    )


def explained() -> frozenset[str]:
    """The findings of which docs/hardening.md says why they stay: a row may name several, and options of sshd."""
    rows = PAGE.read_text().partition("| finding | why it stays |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [row.split("|")[1].partition("(")[0] for row in rows]
    of_ssh = [f"SSH-7408 {option}" for cell in cells for option in re.findall(r"[A-Z][a-z]+\w+", cell)]
    return frozenset([*re.findall(r"[A-Z]{4}-\d{4}|LYNIS", " ".join(cells)), *of_ssh]) - {"SSH-7408"}
