# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The output of `nft -j list ruleset` as tables of the packet filter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address, parse_address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import (
    Chain,
    Match,
    Packet,
    Rule,
    Table,
    Unsure,
    Verdict,
    constant,
    destination_match,
    interface_match,
    port_match,
    ports_named,
    source_match,
)

_FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
_HOOKS = {"prerouting": "prerouting", "input": "input", "forward": "forward", "ingress": "ingress"}
_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp", "6": "tcp", "17": "udp", "132": "sctp"}
_PASSIVE = frozenset(
    ("counter", "log", "comment", "limit", "quota", "last", "meter", "notrack", "ct helper", "masquerade")
)
_IPTABLES_TABLES = frozenset(("filter", "nat", "mangle", "raw", "security"))
_TERMINAL = ("accept", "drop", "return")


class RuleSetError(Exception):
    """Not the JSON of a rule set."""


class _Opaque(Exception):
    """A value the parser does not evaluate."""


def _values(right: Any, sets: Mapping[str, list[Any]]) -> list[Any]:
    """The elements of the right side of a match: one value, a list, a set, or the elements of a named set."""
    if isinstance(right, str) and right.startswith("@"):
        if right[1:] not in sets:
            raise _Opaque(right)
        return [value for item in sets[right[1:]] for value in _values(item, sets)]
    if isinstance(right, list):
        return [value for item in right for value in _values(item, sets)]
    if isinstance(right, Mapping) and "set" in right:
        return _values(right["set"], sets)
    if isinstance(right, Mapping) and "elem" in right:
        return _values(right["elem"].get("val"), sets)
    return [right]


def _network(value: Any) -> str:
    if isinstance(value, Mapping) and "prefix" in value:
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    if isinstance(value, str) and parse_address(value) is not None:
        return value
    raise _Opaque(str(value))


def _port_range(value: Any) -> tuple[int, int]:
    if isinstance(value, Mapping) and "range" in value:
        return int(value["range"][0]), int(value["range"][1])
    if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
        return int(value), int(value)
    raise _Opaque(str(value))


def _words(values: Iterable[Any]) -> tuple[str, ...]:
    words = tuple(value for value in values if isinstance(value, str))
    if len(words) != len(list(values)):
        raise _Opaque("not a word")
    return words


def _wanted(answer: Callable[[Packet], bool], negated: bool) -> Match:
    return lambda packet: answer(packet) != negated


def _protocols(values: list[Any], negated: bool) -> Match:
    names = {_PROTOCOLS.get(value, value) for value in values if not isinstance(value, Mapping)}
    return _wanted(lambda packet: packet.proto in names, negated)


class _Compiler:
    """Statements of one table's rules to matches and verdicts."""

    def __init__(self, sets: Mapping[str, list[Any]], inner: Callable[[Address], bool]) -> None:
        self.sets = sets
        self.inner = inner

    def match(self, left: Any, right: Any, operator: str) -> tuple[Match, frozenset[int]]:
        """One match, and the ports it names; what is not understood becomes neither true nor false."""
        nothing: frozenset[int] = frozenset()
        try:
            values = _values(right, self.sets)
            negated = operator == "!="
            if operator not in ("==", "!=", "in"):
                raise _Opaque(operator)
            key = _key(left)
            if key in ("dport", "original dport"):
                ranges = tuple(_port_range(value) for value in values)
                return port_match(ranges, negated, key == "original dport"), ports_named(ranges)
            return self._other(key, values, negated), nothing
        except (_Opaque, KeyError, TypeError, ValueError, IndexError) as error:
            text = json.dumps(left, default=str)[:80]
            return constant(Unsure(f"match {text} ({error})", opaque=True)), nothing

    def _other(self, key: str, values: list[Any], negated: bool) -> Match:
        if key in ("daddr", "saddr"):
            texts = tuple(_network(value) for value in values)
            if key == "daddr":
                return destination_match(texts, negated)
            return source_match(texts, negated, self.inner)
        if key in ("iifname", "iif"):
            return interface_match(_words(values), negated, outgoing=False)
        if key in ("oifname", "oif"):
            return interface_match(_words(values), negated, outgoing=True)
        if key in ("l4proto", "protocol", "nexthdr"):
            return _protocols(values, negated)
        if key == "nfproto":
            return _wanted(lambda packet: ("ipv4" if packet.family == 4 else "ipv6") in values, negated)
        if key == "ct state":
            return constant("new" in values, negated)
        if key == "ct status":
            return _wanted(lambda packet: "dnat" in values and packet.translated, negated)
        if key == "ct direction":
            return constant("original" in values, negated)
        if key == "address type":
            return _wanted(lambda packet: ("local" if packet.local else "unicast") in values, negated)
        if key == "sport":
            return constant(Unsure("from certain source ports"))
        if key in ("mark", "ct mark"):
            return lambda packet: Unsure("mark", opaque=True) if packet.marked else (0 in values) != negated
        if key in ("icmp", "icmpv6"):
            return constant(False)
        raise _Opaque(key)

    def verdict(self, statement: Mapping[str, Any]) -> Verdict | None:
        """The verdict of a statement; None for a statement that only counts, logs or limits."""
        for kind in _TERMINAL:
            if kind in statement:
                return Verdict(kind)
        for kind in ("jump", "goto"):
            if kind in statement:
                return Verdict(kind, str(statement[kind]["target"]))
        if "reject" in statement:
            return Verdict("drop")
        if "dnat" in statement:
            body = statement["dnat"] or {}
            address = parse_address(str(body.get("addr") or ""))
            port = body.get("port") or 0
            if address is None and body.get("addr"):
                return Verdict("unknown")
            return Verdict("translate", address=address, port=port if isinstance(port, int) else 0)
        if "redirect" in statement:
            port = (statement["redirect"] or {}).get("port") or 0
            return Verdict("translate", port=port if isinstance(port, int) else 0)
        if "mangle" in statement:
            return Verdict("mark")
        if any(key in _PASSIVE or key in ("snat", "xt", "flow", "set", "map") for key in statement):
            return Verdict("unknown") if "xt" in statement and not _passive_xt(statement["xt"]) else None
        return Verdict("unknown")

    def rules(self, expressions: Iterable[Mapping[str, Any]], text: str) -> list[Rule]:
        """One nft rule as the rules it stands for: a verdict map is one rule per element."""
        matches: list[Match] = []
        ports: frozenset[int] = frozenset()
        found: list[Rule] = []
        for statement in expressions:
            if "match" in statement:
                body = statement["match"]
                match, named = self.match(body.get("left"), body.get("right"), body.get("op", "=="))
                matches.append(match)
                ports |= named
            elif "limit" in statement:
                matches.append(constant(Unsure("within a rate")))
            elif "vmap" in statement:
                return found + self._map(statement["vmap"], matches, ports, text)
            else:
                verdict = self.verdict(statement)
                if verdict is None:
                    continue
                found.append(Rule(tuple(matches), verdict, text, ports))
                if verdict.kind != "mark":
                    break
        return found

    def _map(self, body: Mapping[str, Any], matches: list[Match], ports: frozenset[int], text: str) -> list[Rule]:
        data = body.get("data")
        elements = self.sets.get(data[1:]) if isinstance(data, str) else (data or {}).get("set")
        if elements is None:
            return [Rule((*matches, constant(Unsure("verdict map", opaque=True))), Verdict("unknown"), text, ports)]
        rules = []
        for element in elements:
            value, verdict = element
            match, named = self.match(body.get("key"), value, "==")
            target = self.verdict(verdict) or Verdict("continue")
            rules.append(Rule((*matches, match), target, text, ports | named))
        return rules


def _passive_xt(body: Any) -> bool:
    return isinstance(body, Mapping) and body.get("name") in (
        "comment",
        "LOG",
        "NFLOG",
        "limit",
        "TCPMSS",
        "MASQUERADE",
    )


def _key(left: Any) -> str:
    """The name of the left side of a match."""
    if not isinstance(left, Mapping):
        raise _Opaque(str(left))
    if "payload" in left:
        field = str(left["payload"].get("field"))
        if left["payload"].get("protocol") in ("icmp", "icmpv6"):
            return str(left["payload"]["protocol"])
        return field
    if "meta" in left:
        return str(left["meta"]["key"])
    if "ct" in left:
        key = str(left["ct"]["key"])
        if key == "proto-dst" and left["ct"].get("dir", "original") == "original":
            return "original dport"
        return f"ct {key}"
    if "fib" in left and left["fib"].get("result") == "type":
        return "address type"
    raise _Opaque(", ".join(left))


def _transport(expressions: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """`tcp dport` implies the protocol, which the JSON leaves unsaid."""
    implied: list[Mapping[str, Any]] = []
    for statement in expressions:
        body = statement.get("match") or statement.get("vmap")
        left = (body.get("left") or body.get("key")) if isinstance(body, Mapping) else None
        protocol = (left.get("payload") or {}).get("protocol") if isinstance(left, Mapping) else None
        if protocol in ("tcp", "udp", "sctp"):
            implied.append({"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": protocol}})
        elif protocol in ("ip", "ip6"):
            family = "ipv4" if protocol == "ip" else "ipv6"
            implied.append({"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": family}})
    return implied + expressions


def parse(text: str, inner: Callable[[Address], bool], skip: frozenset[int] = frozenset()) -> list[Table]:
    """The tables of a rule set.

    :param skip: families whose iptables tables are read from iptables-save instead.
    """
    try:
        items = json.loads(text)["nftables"]
        return _tables(items, inner, skip)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RuleSetError(f"not the JSON of a rule set: {type(error).__name__} {error}") from None


def _tables(items: list[Mapping[str, Any]], inner: Callable[[Address], bool], skip: frozenset[int]) -> list[Table]:
    tables: dict[tuple[str, str], Table] = {}
    sets: dict[tuple[str, str], dict[str, list[Any]]] = {}
    for item in items:
        for kind, body in item.items():
            if kind == "table" and body["family"] in _FAMILIES:
                families = _FAMILIES[body["family"]]
                if body["name"] in _IPTABLES_TABLES and len(families) == 1 and families[0] in skip:
                    continue
                key = (body["family"], body["name"])
                tables[key] = Table(f"{body['family']} {body['name']}", families)
                sets[key] = {}
            elif kind in ("set", "map") and (body["family"], body["table"]) in tables:
                sets[body["family"], body["table"]][body["name"]] = body.get("elem") or []
    for item in items:
        body = item.get("chain")
        if body and (body["family"], body["table"]) in tables:
            hook = _HOOKS.get(body.get("hook", ""), "elsewhere") if body.get("hook") else ""
            chain = Chain(
                body["name"], hook, int(body.get("prio", 0)), body.get("policy", "accept"), body.get("type") == "nat"
            )
            tables[body["family"], body["table"]].chains[chain.name] = chain
    for item in items:
        body = item.get("rule")
        if body and (body["family"], body["table"]) in tables:
            key = (body["family"], body["table"])
            text = f"{body['family']} {body['table']} {body['chain']} handle {body.get('handle', '?')}"
            compiler = _Compiler(sets[key], inner)
            tables[key].chains[body["chain"]].rules += compiler.rules(_transport(body.get("expr") or []), text)
    return list(tables.values())
