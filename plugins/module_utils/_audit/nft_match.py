# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The left and right side of a match in nft's JSON as a question about a packet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ansible_collections.daffathan.platform.plugins.module_utils._audit import conditions
from ansible_collections.daffathan.platform.plugins.module_utils._audit.matches import (
    AllOf,
    AnyOf,
    InterfaceMatch,
    PortMatch,
    ProtocolMatch,
    Range,
    complement,
    constant,
    destination_match,
    source_match,
    where,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address, parse_address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Match, Unsure

_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp", "6": "tcp", "17": "udp", "132": "sctp"}
_TRANSPORTS = ("tcp", "udp", "sctp")
# Questions about the sender, or about something that the sender chooses.
_SENDER = frozenset(("ttl", "hoplimit", "dscp", "ecn", "tos", "hour", "day", "time", "length", "ipsec", "maxseg"))
_LINK = frozenset(("ether", "vlan"))
_NEVER = frozenset(("icmp", "icmpv6", "igmp", "esp", "ah", "comp", "dccp", "udplite", "arp"))


class Opaque(Exception):
    """A value that is not evaluated."""


class Elements(NamedTuple):
    """What a named set or map holds; one that packets or time change holds more or less later."""

    values: list[Any]
    varies: bool = False


def compile_match(
    left: Any, right: Any, operator: str, sets: Mapping[str, Elements], inner: Callable[[Address], bool]
) -> list[Match]:
    """The questions of one match, all of which have to be answered with yes.

    :raises Opaque: it is not evaluated.
    """
    negated = operator == "!="
    if isinstance(left, Mapping) and "concat" in left:
        if operator not in ("==", "!=", "in"):
            raise Opaque(operator)
        return [_concatenation(left["concat"], elements(right, sets), negated, sets, inner)]
    key = _Key(left)
    values = elements(right, sets)
    if isinstance(right, str) and right.startswith("@") and sets[right[1:]].varies:
        return [*key.implied, constant(Unsure(f"{key.name} in {right}", opaque=key.name not in ("saddr", "sport")))]
    if values == ["*"]:
        return [*key.implied, constant(True, negated)]
    if operator in ("<", ">", "<=", ">="):
        if key.name not in ("dport", "original dport"):
            raise Opaque(operator)
        return [*key.implied, PortMatch(_compared(int(values[0]), operator), original=key.name != "dport")]
    if operator not in ("==", "!=", "in"):
        raise Opaque(operator)
    return [*key.implied, _question(key, values, operator, inner)]


def elements(right: Any, sets: Mapping[str, Elements]) -> list[Any]:
    """The elements of the right side of a match: one value, a list, a set, or the elements of a named set."""
    if isinstance(right, str) and right.startswith("@"):
        if right[1:] not in sets:
            raise Opaque(right)
        return [value for item in sets[right[1:]].values for value in elements(item, sets)]
    if isinstance(right, list):
        return [value for item in right for value in elements(item, sets)]
    if isinstance(right, Mapping) and "set" in right:
        return elements(right["set"], sets)
    if isinstance(right, Mapping) and "elem" in right:
        return elements(right["elem"]["val"], sets)
    if isinstance(right, Mapping) and "|" in right:
        return elements(right["|"], sets)
    return [right]


def _concatenation(
    parts: list[Any], values: list[Any], negated: bool, sets: Mapping[str, Elements], inner: Callable[[Address], bool]
) -> Match:
    """One of the elements fits with all its parts."""
    alternatives: list[Match] = []
    for value in values:
        words = value["concat"] if isinstance(value, Mapping) and "concat" in value else None
        if words is None or len(words) != len(parts):
            raise Opaque("concatenation")
        found = [m for part, word in zip(parts, words) for m in compile_match(part, word, "==", sets, inner)]
        alternatives.append(AllOf(tuple(found)))
    return AnyOf(tuple(alternatives), negated)


class _Key:
    """The left side of a match: its name, what naming it implies, and a mask where there is one."""

    def __init__(self, left: Any) -> None:
        self.mask: Any = None
        self.implied: list[Match] = []
        if not isinstance(left, Mapping) or len(left) != 1:
            raise Opaque(str(left)[:40])
        if "&" in left:
            left, self.mask = left["&"]
            if not isinstance(left, Mapping):
                raise Opaque("&")
        self.name = self._name(left)
        if self.mask is not None and self.name not in ("tcp flags", "mark", "ct mark"):
            raise Opaque("&")

    def _name(self, left: Mapping[str, Any]) -> str:
        if "payload" in left:
            return self._payload(left["payload"])
        if "meta" in left:
            key = str(left["meta"]["key"])
            return "ethertype" if key == "protocol" else key
        if "ct" in left:
            return _connection(left["ct"])
        if "fib" in left:
            fib = left["fib"]
            flags = [fib["flags"]] if isinstance(fib.get("flags"), str) else list(fib.get("flags") or ())
            if fib.get("result") == "type" and flags == ["daddr"]:
                return "address type"
            # Whether the way back is the way in, or the address is that of one interface.
            return "sender" if "saddr" in flags else "fib"
        if "ipsec" in left or "tcp option" in left or "exthdr" in left:
            return "sender"
        raise Opaque(", ".join(left))

    def _payload(self, payload: Mapping[str, Any]) -> str:
        protocol, field = str(payload.get("protocol")), str(payload.get("field"))
        if protocol in _TRANSPORTS or protocol == "th":
            if protocol != "th":
                self.implied.append(ProtocolMatch(frozenset((protocol,))))
            if field in ("dport", "sport"):
                return field
            return f"{protocol} {field}"
        if protocol in ("ip", "ip6"):
            version = 4 if protocol == "ip" else 6
            self.implied.append(where(lambda packet: packet.family == version))
            return "l4proto" if field in ("protocol", "nexthdr") else field
        if protocol in _NEVER:
            return "never"
        return "sender" if protocol in _LINK and field in ("saddr", "id", "pcp") else f"{protocol} {field}"


def _connection(ct: Mapping[str, Any]) -> str:
    key = str(ct["key"])
    if ct.get("dir", "original") != "original":
        raise Opaque(f"ct {key} of the answer")
    names = {"proto-dst": "original dport", "daddr": "original daddr", "ip daddr": "original daddr"}
    names.update({"ip6 daddr": "original daddr", "proto-src": "sport", "protocol": "l4proto", "l3proto": "nfproto"})
    names.update({"saddr": "saddr", "ip saddr": "saddr", "ip6 saddr": "saddr"})
    return names.get(key, f"ct {key}")


def _question(key: _Key, values: list[Any], operator: str, inner: Callable[[Address], bool]) -> Match:
    negated, exact = operator == "!=", operator != "in"
    name = key.name
    if name in ("dport", "original dport"):
        return PortMatch(tuple(_port_range(value) for value in values), negated, name != "dport")
    if name in ("daddr", "original daddr"):
        return destination_match(tuple(map(_network, values)), negated, name != "daddr")
    if name == "saddr":
        return source_match(tuple(map(_network, values)), negated, inner)
    if name in ("iifname", "iif", "oifname", "oif"):
        return InterfaceMatch(_words(values), negated, name.startswith("o"))
    if name == "l4proto":
        return ProtocolMatch(frozenset(_protocol(value) for value in values), negated)
    if name in ("nfproto", "ethertype"):
        versions = {{"ipv4": 4, "ip": 4, "ipv6": 6, "ip6": 6}.get(word, 0) for word in _words(values)}
        return where(lambda packet: packet.family in versions, negated)
    if name == "ct state":
        return conditions.StateMatch(_words(values), negated)
    if name == "ct status":
        return conditions.status_match(_words(values), negated)
    if name == "ct direction":
        return constant("original" in values, negated)
    if name == "address type":
        return conditions.address_type_match(_words(values), negated)
    if name == "pkttype":
        return constant("host" in values or "unicast" in values, negated)
    if name == "sport":
        return constant(Unsure("from certain source ports"), negated)
    if name == "tcp flags":
        flags = () if values == [0] else _words(values)
        if key.mask is None:
            return constant(set(flags) == {"syn"} if exact else "syn" in flags, negated)
        return conditions.tcp_flags_match(_words(elements(key.mask, {})), flags, negated)
    if name in ("mark", "ct mark"):
        return _mark(key.mask, values, negated)
    if name == "never":
        return constant(False)
    if name == "sender" or name.rpartition(" ")[2] in _SENDER:
        return constant(Unsure(f"{name} {'not ' if negated else ''}{str(values)[:40]}"))
    raise Opaque(name)


def _mark(mask: Any, values: list[Any], negated: bool) -> Match:
    numbers = [value for value in values if isinstance(value, int)]
    if len(numbers) != len(values) or not isinstance(mask, (int, type(None))):
        raise Opaque("mark")
    return AnyOf(
        tuple(conditions.mark_match(number, 0xFFFFFFFF if mask is None else mask) for number in numbers), negated
    )


def _network(value: Any) -> str:
    if isinstance(value, Mapping) and "prefix" in value:
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    if isinstance(value, Mapping) and "range" in value:
        low, high = value["range"]
        return f"{low}-{high}"
    if isinstance(value, str) and parse_address(value) is not None:
        return value
    raise Opaque(str(value)[:40])


def _number(value: Any) -> int:
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, str) and value.isdigit())):
        raise Opaque(str(value)[:40])
    return int(value)


def _port_range(value: Any) -> Range:
    if isinstance(value, Mapping) and "range" in value:
        low, high = value["range"]
        return _number(low), _number(high)
    return _number(value), _number(value)


def _compared(number: int, operator: str) -> tuple[Range, ...]:
    below = ((0, number - (operator == "<")),)
    if operator in ("<", "<="):
        return below if below[0][1] >= 0 else ()
    return complement(((0, number - (operator == ">=")),))


def _protocol(value: Any) -> str:
    if isinstance(value, Mapping):
        raise Opaque("protocol")
    return str(_PROTOCOLS.get(value, value))


def _words(values: Iterable[Any]) -> tuple[str, ...]:
    words = tuple(values)
    if not all(isinstance(word, str) for word in words):
        raise Opaque("not a word")
    return words
