# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Read the packet filter: the tables of both backends of iptables, and what nft holds beside them."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from typing import NamedTuple

from ansible_collections.daffathan.platform.plugins.module_utils._audit import iptables, nftables
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Table
from ansible_collections.daffathan.platform.plugins.module_utils._audit.parallel import Task, results
from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError, run

_COMMAND_TIMEOUT = 20.0
_NOT_FOUND = 127
# As many tables are listed one by one; of more, the whole rule set is less work.
_SINGLE_TABLES = 4


class Saved(NamedTuple):
    """What a family's iptables commands printed; complete if nft has no more to say about the same tables."""

    text: str
    legacy: str
    complete: bool


class RawRules(NamedTuple):
    """All rules as the tools print them."""

    iptables: dict[int, Saved]
    nft: list[str]


def _output(*argv: str) -> str:
    return run(argv, timeout=_COMMAND_TIMEOUT).stdout


def _command(family: int) -> str:
    return "ip6tables" if family == 6 else "iptables"


def _legacy(family: int) -> bool:
    """Whether the kernel holds tables of the legacy backend, which iptables-save of the nft backend does not show."""
    try:
        with open(f"/proc/net/ip{'6' if family == 6 else ''}_tables_names", encoding="ascii") as handle:
            return bool(handle.read().strip())
    except OSError:
        return False


def _iptables(family: int) -> Saved:
    command, legacy = _command(family), _legacy(family)
    other = Task(functools.partial(_output, f"{command}-legacy-save")) if legacy else None
    try:
        text = _output(f"{command}-save")
    except CommandError as error:
        # Without iptables the listing of nft is complete, unless the legacy backend holds tables.
        if error.completed.rc == _NOT_FOUND and not legacy:
            return Saved("", "", complete=False)
        raise
    finally:
        if other is not None:
            other.wait()
    native = "(nf_tables)" in text
    # Where iptables is that of the legacy backend, it has shown those tables itself.
    shown = other.result() if other is not None and native else ""
    return Saved(text, shown, native and "is incompatible" not in text)


def _nft(skip: frozenset[int]) -> list[str]:
    """The listing of every table that iptables-save does not show, if it shows those of the families in `skip`."""
    listed = json.loads(_output("nft", "-j", "list", "tables"))["nftables"]
    tables = [item["table"] for item in listed if "table" in item]
    names = [(t["family"], t["name"]) for t in tables if not nftables.covered(t["family"], t["name"], skip)]
    if len(names) > _SINGLE_TABLES:
        return [_output("nft", "-j", "list", "ruleset")]
    return results([Task(functools.partial(_output, "nft", "-j", "list", "table", *name)) for name in names])


def families() -> frozenset[int]:
    """The address families that the kernel speaks; where IPv6 is turned off at boot, ip6tables-save fails."""
    return frozenset((4, 6) if os.path.exists("/proc/net/if_inet6") else (4,))


def read() -> RawRules:
    """Everything at once. What iptables-save turns out not to show is listed by nft afterwards."""
    spoken = families()
    saved = [Task(functools.partial(_iptables, family)) for family in spoken]
    try:
        listing, told = _nft(spoken), True
    except (CommandError, ValueError, KeyError, TypeError):
        # Such as a table that was removed after it was named: once more, in one piece.
        listing, told = [], False
    found = dict(zip(spoken, results(saved)))
    if not told or not all(item.complete for item in found.values()):
        listing = [_output("nft", "-j", "list", "ruleset")]
    return RawRules(found, listing)


def tables(raw: RawRules, inner: Callable[[Address], bool]) -> list[Table]:
    """The tables of the packet filter."""
    found: list[Table] = []
    for family, saved in sorted(raw.iptables.items()):
        command = _command(family)
        found += iptables.parse(saved.text, family, inner, command)
        found += iptables.parse(saved.legacy, family, inner, f"{command}-legacy")
    covered = frozenset(family for family, saved in raw.iptables.items() if saved.complete)
    for text in raw.nft:
        found += nftables.parse(text, inner, covered)
    return found
