# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module ufw_policy on a VPS: calling it, everything it may change, and what a neighbour reaches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.support.ansible import Run, module
from tests.support.lab import BIN, Host
from tests.support.neighbour import reaches

OPEN, DENIED, OPEN4 = 9001, 9002, 9003
SSH = {"action": "allow", "port": "22", "proto": "tcp", "comment": "ssh"}
RULES = [
    SSH,
    {"action": "allow", "port": str(OPEN), "proto": "tcp"},
    {"action": "allow", "port": str(OPEN4), "proto": "tcp", "family": "v4"},
]


@dataclass(frozen=True)
class Answer:
    """What the module returned, and the diff and the warnings that were printed."""

    failed: bool
    result: dict[str, Any]
    diff: str
    warnings: str

    @property
    def changed(self) -> bool:
        return self.result["changed"]


def arguments(host: Host, *, interpreter: str = "", ssh_port: int = 22, **options: Any) -> list[str]:
    """Those of `ansible` for one run of the module on the host."""
    words = [*module(host, "ufw_policy", {"rules": RULES, **options}), "--become", "--diff"]
    words += ["--extra-vars", f"ansible_python_interpreter={interpreter}"] if interpreter else []
    return [*words, "--extra-vars", json.dumps({"ansible_port": ssh_port})]


def command(host: Host, **options: Any) -> list[str]:
    """A command that runs the module on the host, for a test that ends it."""
    return [str(BIN / "ansible"), *arguments(host, **options)]


def policy(host: Host, *, check: bool = False, patience: int = 0, **options: Any) -> Answer:
    """Run the module on the host.

    :param patience: seconds that Ansible waits for the host's answer, where many runs share the machine.
    """
    flags = [*(["--check"] if check else []), *(["--timeout", str(patience)] if patience else [])]
    run = Run("ansible", *arguments(host, **options), *flags).result(timeout=300 + patience)
    diff, found, rest = run.stdout.partition(f"{host.name} | ")
    state, arrow, answer = rest.partition("=> ")
    assert found and arrow, run.stdout + run.stderr
    # Warnings are wrapped to the width of a terminal.
    return Answer("FAILED" in state or "UNREACHABLE" in state, json.loads(answer), diff, " ".join(run.stderr.split()))


def applied(host: Host, **options: Any) -> Answer:
    answer = policy(host, **options)
    assert not answer.failed, answer.result["msg"]
    return answer


def shell(host: Host, script: str) -> str:
    return host.run("bash", "-euc", script)


def state(host: Host) -> str:
    """Everything the module may change: files of UFW, both filter tables, the unit."""
    return shell(
        host,
        "find /etc/ufw /etc/default/ufw -type f -printf '%p %m %T@\\n' -exec sha256sum {} + | sort; "
        "iptables-save -t filter | grep -v '^#' | sed 's/ \\[.*//'; "
        "ip6tables-save -t filter | grep -v '^#' | sed 's/ \\[.*//'; systemctl is-enabled ufw || true",
    )


def connects(host: Host, port: int) -> bool:
    return all(reaches(address, port) for address in (host.address, host.address6))


def without_times(text: str) -> list[str]:
    """The state without the times of files; ufw orders the jumps and chains of the table in its own way."""
    return sorted(
        " ".join(word for word in line.split() if "." not in word or "/" in word) for line in text.splitlines()
    )
