# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The JSON of `nft list` as tables of the packet filter."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.nft_rule import Compiler, Elements
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Chain, Table

_FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6), "netdev": (4, 6)}
_HOOKS = ("prerouting", "input", "forward", "ingress")
_POLICIES = {"accept": "accept", "drop": "drop"}
_IPTABLES_TABLES = frozenset(("filter", "nat", "mangle", "raw", "security"))
# Families that see no IP packet that is sent to this host, or see it only inside of a bridge.
_OTHERS = frozenset(("bridge", "arp"))


class RuleSetError(Exception):
    """Not the JSON of a rule set."""


def parse(text: str, inner: Callable[[Address], bool], skip: frozenset[int] = frozenset()) -> list[Table]:
    """The tables of a rule set.

    :param skip: families whose iptables tables are read from iptables-save instead.
    """
    try:
        items = json.loads(text)["nftables"]
        return _tables(items, inner, skip)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise RuleSetError(f"not the JSON of a rule set: {type(error).__name__} {error}") from None


def covered(family: str, name: str, skip: frozenset[int]) -> bool:
    """Whether iptables-save shows the table."""
    families = _FAMILIES.get(family, ())
    return name in _IPTABLES_TABLES and len(families) == 1 and families[0] in skip


def _tables(items: list[Mapping[str, Any]], inner: Callable[[Address], bool], skip: frozenset[int]) -> list[Table]:
    tables: dict[tuple[str, str], Table] = {}
    sets: dict[tuple[str, str], dict[str, Elements]] = {}
    for item in items:
        for kind, body in item.items():
            if kind == "table" and not covered(body["family"], body["name"], skip):
                key = (body["family"], body["name"])
                families = () if body["family"] in _OTHERS else _FAMILIES[body["family"]]
                tables[key] = Table(f"{body['family']} {body['name']}", families)
                sets[key] = {}
            elif kind in ("set", "map") and (body["family"], body["table"]) in tables:
                # What a set that packets or time change holds now may be something else with the next packet.
                varies = bool(body.get("timeout")) or "dynamic" in _flags(body) or "timeout" in _flags(body)
                sets[body["family"], body["table"]][body["name"]] = Elements(body.get("elem") or [], varies)
    for item in items:
        body = item.get("chain")
        if body and (body["family"], body["table"]) in tables:
            table = tables[body["family"], body["table"]]
            table.chains[body["name"]] = _chain(body)
    for item in items:
        body = item.get("rule")
        if body and (body["family"], body["table"]) in tables:
            key = (body["family"], body["table"])
            text = f"{body['family']} {body['table']} {body['chain']} handle {body.get('handle', '?')}"
            compiler = Compiler(sets[key], inner)
            tables[key].chains[body["chain"]].rules += compiler.rules(body.get("expr") or [], text)
    return list(tables.values())


def _flags(body: Mapping[str, Any]) -> list[str]:
    flags = body.get("flags") or []
    return [flags] if isinstance(flags, str) else list(flags)


def _chain(body: Mapping[str, Any]) -> Chain:
    hook = str(body.get("hook") or "")
    devices = body.get("dev") or ()
    return Chain(
        str(body["name"]),
        hook if hook in _HOOKS else "elsewhere" if hook else "",
        int(body.get("prio", 0)),
        _POLICIES[body.get("policy", "accept")],
        body.get("type") == "nat",
        devices=(devices,) if isinstance(devices, str) else tuple(devices),
    )
