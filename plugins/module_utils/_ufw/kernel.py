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
import re
from collections.abc import Iterable, Mapping

from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError, run
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.restore import RESTORE, SAVE, Table, parse

CLONE_NEWNET = 0x40000000
INIT = "/usr/lib/ufw/ufw-init"
OPEN = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"


class KernelError(Exception):
    """The packet filter cannot be read, or refuses the candidate."""


def save(family: int) -> str:
    """The filter table of the host as text."""
    return run([SAVE[family], "-t", "filter"]).stdout


def read(families: Iterable[int]) -> dict[int, Table]:
    """The filter tables of the host."""
    return {family: parse(save(family)) for family in families}


def load(transactions: Mapping[int, str]) -> None:
    """Load a transaction per family; each is atomic, and leaves the chains that it does not name alone."""
    for family, text in transactions.items():
        run([RESTORE[family], "--noflush", "--wait", "10"], stdin=text)


def stop(families: Iterable[int]) -> None:
    """Take UFW's rules out, with the hooks that an administrator may have put around it.

    The policies accept first: ufw-init empties its chains while they still drop, and every connection, also those that
    are allowed, would stand still for most of a second.
    """
    load({family: OPEN for family in families})
    run([INIT, "force-stop"])


def measure(transactions: Mapping[int, str]) -> dict[int, Table]:
    """What the kernel makes of the transactions."""
    return Trial(transactions).tables()


class Trial:
    """Transactions on trial, each family in a network namespace of its own, while the caller goes on."""

    def __init__(self, transactions: Mapping[int, str]) -> None:
        self._children = {family: _start(family, text) for family, text in transactions.items()}

    def tables(self) -> dict[int, Table]:
        """What the kernel made of them; KernelError if it refused one."""
        answers = {family: _answer(*child) for family, child in self._children.items()}
        for answer in answers.values():
            if "error" in answer:
                raise KernelError(answer["error"])
        return {family: parse(answer["saved"]) for family, answer in answers.items()}


def _start(family: int, transaction: str) -> tuple[int, int]:
    """The process that tries, and the end of the pipe that it answers through."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Nothing may leave this branch: the child would go on as a second copy of the module.
        try:
            os.close(reader)
            answer = _try(family, transaction)
            with os.fdopen(writer, "w") as pipe:
                json.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(writer)
    return pid, reader


def _answer(pid: int, reader: int) -> dict[str, str]:
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return dict(json.loads(text or '{"error": "the trial ended without an answer"}'))


def _try(family: int, transaction: str) -> dict[str, str]:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            return {
                "error": f"no network namespace for the trial: {os.strerror(ctypes.get_errno())}. In a container, "
                "allow it to make some (`user.max_net_namespaces`, seccomp). Nothing was changed."
            }
        load({family: transaction})
        return {"saved": save(family)}
    except CommandError as error:
        return {"error": explain(str(error), family, transaction)}


def explain(error: str, family: int, transaction: str) -> str:
    """What iptables-restore complained about, with the line it means and where that may come from."""
    number = re.search(r"\bline:? (\d+)", error)
    lines = transaction.splitlines()
    at = int(number[1]) - 1 if number else -1
    said = f" It stopped at `{lines[at]}`." if 0 <= at < len(lines) else ""
    six = "6" if family == 6 else ""
    return (
        f"the kernel refuses this policy, and nothing was changed.{said}{_what_is_missing(error)} Correct the rule, or "
        f"the lines by hand in /etc/ufw/before{six}.rules and /etc/ufw/after{six}.rules ({error})"
    )


def _what_is_missing(error: str) -> str:
    kernel = re.search(r"Extension (\S+) revision \d+ not supported", error)
    if kernel:
        return (
            f" The kernel has no `{kernel[1]}`: load its module (`modprobe xt_{kernel[1]}`), or start a kernel that "
            "has it; a container uses the modules of the machine it runs on."
        )
    program = re.search(r"Couldn't load (match|target) `([^']+)'", error)
    return f" iptables knows no {program[1]} `{program[2]}`." if program else ""
