# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.
"""The packet filter in the kernel: what iptables-save shows, and what it would show if a policy were loaded.

The wanted state is not computed, it is measured: the candidate is really loaded into a network namespace that nobody
else sees. So a rule the kernel refuses is found before the host is touched, and both sides are compared in iptables'
own words.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError, run

CLONE_NEWNET = 0x40000000
SAVE = {4: "iptables-save", 6: "ip6tables-save"}
RESTORE = {4: "iptables-restore", 6: "ip6tables-restore"}
BUILTIN = ("INPUT", "FORWARD", "OUTPUT")


class KernelError(Exception):
    """The packet filter cannot be read, or refuses the candidate."""


@dataclass(frozen=True)
class Table:
    """The filter table of one family: policies of the builtin chains, and rules by chain."""

    policies: Mapping[str, str] = field(default_factory=dict)
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def own(self) -> Table:
        """What belongs to UFW: its chains, the builtin policies, and the builtin chains' jumps to its chains."""
        chains = {name: rules for name, rules in self.chains.items() if name.startswith("ufw")}
        for name in BUILTIN:
            chains[name] = tuple(rule for rule in self.chains.get(name, ()) if " -j ufw" in rule)
        return Table(dict(self.policies), chains)


def parse(text: str) -> Table:
    """The filter table in the output of iptables-save."""
    policies: dict[str, str] = {}
    chains: dict[str, list[str]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif table == "filter" and line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chains.setdefault(name, [])
            if policy != "-":
                policies[name] = policy
        elif table == "filter" and line.startswith("-A "):
            chains.setdefault(line.split()[1], []).append(line)
    return Table(policies, {name: tuple(rules) for name, rules in chains.items()})


def save(family: int) -> str:
    """The filter table of the host as text."""
    return run([SAVE[family], "-t", "filter"]).stdout


def restore(saved: Mapping[int, str]) -> None:
    """Put back what `save` returned, in one transaction per family."""
    for family, text in saved.items():
        run([RESTORE[family], "--wait", "10"], stdin=text)


def read() -> dict[int, Table]:
    """The filter tables of the host."""
    return {family: parse(save(family)) for family in SAVE}


def load(transactions: Mapping[int, str]) -> None:
    """Load a transaction per family; each is atomic, and leaves the chains that it does not name alone."""
    for family, text in transactions.items():
        run([RESTORE[family], "--noflush", "--wait", "10"], stdin=text)


def measure(transactions: Mapping[int, str]) -> dict[int, Table]:
    """What the kernel makes of the transactions, tried in a network namespace of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        answer = _measure(transactions)
        with os.fdopen(writer, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    answer = json.loads(text or '{"error": "the trial ended without an answer"}')
    if "error" in answer:
        raise KernelError(answer["error"])
    return {int(family): parse(saved) for family, saved in answer.items()}


def _measure(transactions: Mapping[int, str]) -> dict[str, str]:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            return {"error": f"no network namespace for the trial: {os.strerror(ctypes.get_errno())}. Run as root."}
        load(transactions)
        return {str(family): save(family) for family in transactions}
    except CommandError as error:
        return {"error": str(error)}
