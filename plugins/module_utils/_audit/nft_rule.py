# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""One rule in nft's JSON as rules of the packet filter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ansible_collections.daffathan.platform.plugins.module_utils._audit import nft_match
from ansible_collections.daffathan.platform.plugins.module_utils._audit.matches import constant
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address, parse_address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.nft_match import Elements, Opaque, elements
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Match, Rule, Unsure, Verdict

__all__ = ["Compiler", "Elements"]

_TERMINAL = ("accept", "drop", "return", "continue")
# Statements after which the packet goes on as it was.
_PASSIVE = frozenset(("counter", "log", "comment", "last", "ct helper", "ct timeout", "flow", "dup", "secmark"))
# They let a packet on only now and then, or only from some.
_RATE = frozenset(("limit", "quota", "ct count", "meter"))
_MARKS = ("mark",)
_HARMLESS_KEYS = frozenset(("priority", "nftrace", "secmark", "label", "helper", "event", "dscp", "ttl", "hoplimit"))
_PASSIVE_XT = frozenset(("comment", "LOG", "NFLOG", "TCPMSS", "TRACE", "CHECKSUM"))


class _Value(NamedTuple):
    """What a map gives for one key."""

    matches: tuple[Match, ...]
    data: Any


class Compiler:
    """Statements of one table's rules to matches and verdicts."""

    def __init__(self, sets: Mapping[str, Elements], inner: Callable[[Address], bool]) -> None:
        self.sets = sets
        self.inner = inner

    def match(self, left: Any, right: Any, operator: str = "==") -> list[Match]:
        """What one match asks; what is not understood is neither true nor false."""
        try:
            return nft_match.compile_match(left, right, operator, self.sets, self.inner)
        except (Opaque, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            text = json.dumps(left, default=str)[:80]
            return [constant(Unsure(f"match {text} ({error})", opaque=True))]

    def rules(self, expressions: Iterable[Mapping[str, Any]], text: str) -> list[Rule]:
        """One nft rule as the rules it stands for: a verdict map is one rule per element."""
        matches: list[Match] = []
        found: list[Rule] = []
        for statement in expressions:
            kind = _kind(statement)
            body = statement[kind]
            if kind == "match":
                matches += self.match(body.get("left"), body.get("right"), body.get("op", "=="))
            elif kind in _RATE or (kind == "set" and body.get("stmt")):
                matches.append(constant(Unsure("within a rate")))
            elif kind == "vmap":
                found += self._map(body, matches, text)
            else:
                verdicts = self._verdicts(kind, body)
                found += [Rule((*matches, *value.matches), value.data, text) for value in verdicts]
                if any(value.data.kind not in ("mark", "untrack", "continue") for value in verdicts):
                    break
        return found

    def _verdicts(self, kind: str, body: Any) -> list[_Value]:
        """What a statement does; none for one that only counts or logs. Several where a map chooses."""
        if kind in _TERMINAL:
            return [_Value((), Verdict(kind))] if kind != "continue" else []
        if kind in ("jump", "goto"):
            return [_Value((), Verdict(kind, str(body["target"])))]
        if kind == "reject":
            return [_Value((), Verdict("drop"))]
        if kind in ("snat", "masquerade"):
            return [_Value((), Verdict("accept"))]
        if kind == "notrack":
            return [_Value((), Verdict("untrack"))]
        if kind == "dnat":
            return self._translation(body or {})
        if kind == "redirect":
            return self._translation({"port": (body or {}).get("port")})
        if kind == "mangle":
            return self._mangle(body["key"])
        if kind == "xt" and isinstance(body, Mapping) and body.get("name") in _PASSIVE_XT:
            return []
        if kind in _PASSIVE or kind in ("set", "map"):
            return []
        return [_Value((), Verdict("unknown"))]

    def _mangle(self, key: Mapping[str, Any]) -> list[_Value]:
        kind = _kind(key)
        name = key[kind].get("key") or key[kind].get("field") if isinstance(key[kind], Mapping) else ""
        if kind in ("meta", "ct") and name in _MARKS:
            return [_Value((), Verdict("mark"))]
        return [] if name in _HARMLESS_KEYS else [_Value((), Verdict("unknown"))]

    def _translation(self, body: Mapping[str, Any]) -> list[_Value]:
        address, port = body.get("addr"), body.get("port")
        try:
            if isinstance(address, Mapping) and "map" in address:
                values = self._values(address["map"])
                return [_Value(item.matches, _target(item.data, port)) for item in values]
            if isinstance(port, Mapping) and "map" in port:
                return [_Value(item.matches, _target(address, item.data)) for item in self._values(port["map"])]
            return [_Value((), _target(address, port))]
        except (Opaque, KeyError, TypeError, ValueError, IndexError, AttributeError):
            return [_Value((), Verdict("unknown"))]

    def _values(self, body: Mapping[str, Any]) -> list[_Value]:
        """The elements of a map: what each asks of the packet, and what it gives."""
        data = body["data"]
        varies = False
        if isinstance(data, str):
            held = self.sets[data.lstrip("@")]
            data, varies = held.values, held.varies
        else:
            data = data["set"]
        perhaps = (constant(Unsure("in a map that changes", opaque=True)),) if varies else ()
        found, anything = [], []
        for key, value in data:
            if elements(key, self.sets) == ["*"]:
                anything.append(_Value(perhaps, value))
            else:
                found.append(_Value((*self.match(body["key"], key), *perhaps), value))
        if varies:
            found.append(_Value((constant(Unsure("in a map that changes", opaque=True)),), None))
        return found + anything

    def _map(self, body: Mapping[str, Any], matches: list[Match], text: str) -> list[Rule]:
        opaque = constant(Unsure("verdict map", opaque=True))
        try:
            values = self._values(body)
        except (Opaque, KeyError, TypeError, ValueError, IndexError, AttributeError):
            return [Rule((*matches, opaque), Verdict("unknown"), text)]
        rules = []
        for value in values:
            verdicts = [_Value((), Verdict("unknown"))]
            if isinstance(value.data, Mapping):
                kind = _kind(value.data)
                verdicts = self._verdicts(kind, value.data[kind]) or [_Value((), Verdict("continue"))]
            rules += [Rule((*matches, *value.matches), verdict.data, text) for verdict in verdicts]
        return rules


def _kind(statement: Mapping[str, Any]) -> str:
    """The name of a statement, which is its only key."""
    if not isinstance(statement, Mapping) or len(statement) != 1:
        raise ValueError(f"a statement is {str(statement)[:80]}")
    return str(next(iter(statement)))


def _target(address: Any, port: Any) -> Verdict:
    """Where a translation leads to; only what is one address and one port is known."""
    if isinstance(address, Mapping) and "concat" in address:
        address, port = address["concat"]
    found = None
    prefix = 0
    if isinstance(address, Mapping) and "prefix" in address:
        prefix = int(address["prefix"]["len"])
        address = address["prefix"]["addr"]
    if address is not None:
        found = parse_address(address) if isinstance(address, str) else None
        if found is None:
            return Verdict("unknown")
    if port is None:
        return Verdict("translate", address=found, prefix=prefix)
    if isinstance(port, bool) or not isinstance(port, int):
        return Verdict("unknown")
    return Verdict("translate", address=found, port=port, prefix=prefix)
