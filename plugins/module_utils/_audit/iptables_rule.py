# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""One rule of iptables-save as a rule of the packet filter."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from ansible_collections.daffathan.platform.plugins.module_utils._audit import conditions
from ansible_collections.daffathan.platform.plugins.module_utils._audit.matches import (
    AnyOf,
    InterfaceMatch,
    PortMatch,
    ProtocolMatch,
    Range,
    constant,
    destination_match,
    source_match,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address, parse_address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Match, Rule, Unsure, Verdict

# Targets after which the packet goes on as it was.
_PASSIVE = frozenset(
    ("LOG", "NFLOG", "ULOG", "AUDIT", "CHECKSUM", "TRACE", "TCPMSS", "TOS", "DSCP", "ECN", "TTL", "HL", "TEE", "LED")
)
_PASSIVE |= {"CLASSIFY", "SET", "SECMARK", "CONNSECMARK", "ACCOUNT", "RATEEST", "TCPOPTSTRIP", "IDLETIMER", "CT"}
_MARKS = frozenset(("MARK", "CONNMARK", "HMARK"))
_UNKNOWN = frozenset(("QUEUE", "NFQUEUE", "TPROXY", "DNPT", "SNPT", "SYNPROXY", "CLUSTERIP"))
_PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp"}
_KNOWN_PROTOCOLS = frozenset(("tcp", "udp", "sctp"))
_RATE = frozenset(("limit", "hashlimit", "recent", "connlimit", "statistic", "quota", "nth", "time"))
# What these ask depends on the sender or on what was sent before, never on the port or the address alone.
_SENDER = _RATE | frozenset(("mac", "ttl", "hl", "dscp", "tos", "ecn", "policy", "osf", "eui64", "frag", "hbh"))
_SENDER |= {"dst", "rt", "ipv6header", "tcpmss"}
_TRUE = frozenset(("comment", "nfacct"))
# Never true for the first packet of a connection over TCP, UDP or SCTP.
_FALSE = frozenset(("icmp", "icmp6", "icmpv6", "esp", "ah", "dccp", "udplite", "mh"))
_SAID_BY_NAME = _TRUE | _FALSE | _SENDER
_FLAGS = frozenset(("FIN", "SYN", "RST", "PSH", "ACK", "URG"))
_MOST_TARGETS = 64


class RuleError(Exception):
    """A line that is not part of a rule set."""


class _Quoted(str):
    """A word that stood in quotes, which is never the name of an option."""

    __slots__ = ()


_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"(?=\s|$)|([^\s"]\S*)')


def words_of(line: str) -> list[str]:
    """The words of a rule as iptables-save quotes them."""
    if '"' not in line:
        return line.split()
    found: list[str] = []
    position = 0
    while position < len(line):
        if line[position].isspace():
            position += 1
            continue
        match = _WORD.match(line, position)
        if match is None:
            raise RuleError(f"{line}: a quote is not closed")
        text = match[1]
        found.append(match[2] if text is None else _Quoted(re.sub(r"\\(.)", r"\1", text)))
        position = match.end()
    return found


# Between two options. A word that begins with a dash and a digit is a number.
_BETWEEN = re.compile(r"(?<! !) +(?=(?:! +)?-[^\d\s])")
_NUMBERS = frozenset("0123456789")


def _is_option(word: str) -> bool:
    return word[:1] == "-" and word[1:2] not in _NUMBERS and len(word) > 1 and word.__class__ is str


Piece = tuple[str, ...]


def pieces_of(line: str) -> list[Piece]:
    """The options of a rule with what belongs to each: a negation before it, and its values."""
    if '"' not in line:
        return [tuple(text.split()) for text in _BETWEEN.split(line)]
    found: list[list[str]] = []
    for word in words_of(line):
        begins = _is_option(word) or (word == "!" and word.__class__ is str)
        if not found or (begins and found[-1] != ["!"]):
            found.append([])
        found[-1].append(word)
    return [tuple(words) for words in found]


class _Part(NamedTuple):
    """What one option means: a match, the target, or the name of the match that the next options belong to."""

    match: Match | None = None
    module: str | None = None
    target: str = ""
    goto: bool = False


def port_ranges(text: str) -> tuple[Range, ...]:
    """Ports of `80`, `80:90` or `80,443,9000:9010`."""
    ranges = []
    for part in text.split(","):
        low, colon, high = part.partition(":")
        first, last = int(low or 0), int((high or 65535) if colon else low)
        if not 0 <= first <= last <= 65535:
            raise RuleError(f"{text}: not ports")
        ranges.append((first, last))
    return tuple(ranges)


def _flags(text: str) -> frozenset[str]:
    return {"ALL": _FLAGS, "NONE": frozenset()}.get(text) or frozenset(text.split(",")) - {"NONE"}


class RuleParser:
    """Rules of one family. Equal conditions are one object, since most rules of a host repeat those of others."""

    def __init__(self, family: int, inner: Callable[[Address], bool]) -> None:
        self.family = family
        self.inner = inner
        self._known: dict[tuple[str, Piece], _Part] = {}

    def parse(self, line: str) -> tuple[str, list[Rule]]:
        """The chain of a rule, and the rules it stands for."""
        head, *pieces = pieces_of(line)
        if len(head) != 2 or head[0] != "-A":
            raise RuleError(f"{line}: not a rule")
        matches: list[Match] = []
        target, goto, module = "", False, ""
        options: dict[str, str] = {}
        for piece in pieces:
            if target:
                options[piece[0]] = piece[1] if len(piece) > 1 else ""
                continue
            part = self._known.get((module, piece))
            if part is None:
                part = self._known[module, piece] = self._part(piece, module, line)
            if part.match is not None:
                matches.append(part.match)
            if part.module is not None:
                module = part.module
            target, goto = part.target, part.goto
        if "-j" in options or "-g" in options:
            raise RuleError(f"{line}: more than one target")
        try:
            verdicts = self._verdicts(target, goto, options)
        except (ValueError, RuleError) as error:
            raise RuleError(f"{line}: {error}") from None
        return head[1], _rules(tuple(matches), verdicts, line)

    def _part(self, piece: Piece, module: str, line: str) -> _Part:
        negated = piece[0] == "!"
        option, *values = piece[negated:] or ("",)
        if not _is_option(option) or any(word == "!" and word.__class__ is str for word in values):
            raise RuleError(f"{line}: {' '.join(piece)}: not an option")
        try:
            if option in ("-j", "-g", "-m"):
                [name] = values
                return _Part(_module(name), name) if option == "-m" else _Part(target=name, goto=option == "-g")
            match = self._match(option, tuple(values), module, negated)
            return _Part(match, _PROTOCOLS.get(values[0], values[0]) if option == "-p" else None)
        except (ValueError, IndexError, RuleError) as error:
            raise RuleError(f"{line}: {' '.join(piece)}: {error}") from None

    def _match(self, option: str, values: tuple[str, ...], module: str, negated: bool) -> Match | None:
        """What one option asks; None where the name of its match said all."""
        if option in ("-s", "-d"):
            texts = tuple(values[0].split(","))
            return source_match(texts, negated, self.inner) if option == "-s" else destination_match(texts, negated)
        if option in ("-i", "-o"):
            return InterfaceMatch((values[0],), negated, option == "-o")
        if option == "-p":
            return _protocol(values[0], negated)
        if option == "-f":
            return constant(False, negated)
        if module in _SAID_BY_NAME:
            return None
        handler = getattr(self, f"_{module}", None) if module in _EVALUATED else None
        found: Match | None = handler(option, values, negated) if handler else None
        return found or constant(Unsure(" ".join([*(["!"] if negated else []), option, *values]), opaque=True))

    def _tcp(self, option: str, values: tuple[str, ...], negated: bool) -> Match | None:
        if option == "--dport":
            return PortMatch(port_ranges(values[0]), negated)
        if option == "--sport":
            port_ranges(values[0])
            return constant(Unsure(f"from source port {values[0]}"), negated)
        if option == "--tcp-flags":
            return conditions.tcp_flags_match(_flags(values[0]), _flags(values[1]), negated)
        if option == "--syn":
            return constant(True, negated)
        return None

    _udp = _sctp = _tcp

    def _multiport(self, option: str, values: tuple[str, ...], negated: bool) -> Match | None:
        ranges = port_ranges(values[0])
        source = constant(Unsure(f"from source port {values[0]}"))
        if option == "--dports":
            return PortMatch(ranges, negated)
        if option == "--sports":
            return constant(Unsure(f"from source port {values[0]}"), negated)
        if option == "--ports":
            return AnyOf((PortMatch(ranges), source), negated)
        return None

    def _conntrack(self, option: str, values: tuple[str, ...], negated: bool) -> Match | None:
        if option in ("--ctstate", "--state"):
            return conditions.StateMatch(values[0].split(","), negated)
        if option == "--ctstatus":
            return conditions.status_match(values[0].split(","), negated)
        if option == "--ctorigdstport":
            return PortMatch(port_ranges(values[0]), negated, original=True)
        if option == "--ctorigdst":
            return destination_match((values[0],), negated, original=True)
        if option == "--ctorigsrc":
            return source_match((values[0],), negated, self.inner)
        if option == "--ctproto":
            return _protocol(values[0], negated)
        if option == "--ctdir":
            return constant(values[0] == "ORIGINAL", negated)
        return None

    _state = _conntrack

    def _helper(self, option: str, values: tuple[str, ...], negated: bool) -> Match | None:
        return constant(False, negated)

    def _addrtype(self, option: str, values: tuple[str, ...], negated: bool) -> Match | None:
        if option == "--dst-type":
            return conditions.address_type_match(values[0].split(","), negated)
        if option == "--src-type":
            return constant("UNICAST" in values[0].split(","), negated)
        return None

    def _mark(self, option: str, values: tuple[str, ...], negated: bool) -> Match | None:
        value, dummy, mask = values[0].partition("/")
        return conditions.mark_match(int(value, 0), int(mask or "0xffffffff", 0), negated)

    _connmark = _mark

    def _pkttype(self, option: str, values: tuple[str, ...], negated: bool) -> Match | None:
        return constant(values[0] == "unicast", negated)

    def _iprange(self, option: str, values: tuple[str, ...], negated: bool) -> Match | None:
        if option == "--dst-range":
            return destination_match((values[0],), negated)
        if option == "--src-range":
            return source_match((values[0],), negated, self.inner)
        return None

    def _set(self, option: str, values: tuple[str, ...], negated: bool) -> Match | None:
        # Who is in a set is not looked up. One that holds only sources limits from where, not what.
        if option == "--match-set" and set(values[1].split(",")) == {"src"}:
            return constant(Unsure(f"from the set {values[0]}"), negated)
        return None

    def _verdicts(self, target: str, goto: bool, options: dict[str, str]) -> list[Verdict]:
        """What a target does; several for a translation that chooses one of several ends."""
        if target in ("ACCEPT", "DROP", "RETURN"):
            return [Verdict(target.lower())]
        if target in ("SNAT", "MASQUERADE"):
            return [Verdict("accept")]
        if target in ("REJECT", "TARPIT"):
            return [Verdict("drop")]
        if target == "NOTRACK" or (target == "CT" and "--notrack" in options):
            return [Verdict("untrack")]
        if not target or target in _PASSIVE:
            return [Verdict("continue")]
        if target in _MARKS:
            return [Verdict("mark")]
        if target == "DNAT":
            return _endpoints(options.get("--to-destination", ""))
        if target == "REDIRECT":
            ports = options.get("--to-ports", "")
            return _translations([None], ports)
        if target == "NETMAP":
            address, slash, prefix = options.get("--to", "").partition("/")
            found = parse_address(address)
            if found is None:
                raise RuleError(f"NETMAP to {options.get('--to')}")
            length = int(prefix) if prefix.isdigit() else found.max_prefixlen if not slash else _length(prefix)
            return [Verdict("translate", address=found, prefix=length)]
        if target in _UNKNOWN:
            return [Verdict("unknown")]
        return [Verdict("goto" if goto else "jump", target)]


_EVALUATED = frozenset(("tcp", "udp", "sctp", "multiport", "conntrack", "state", "addrtype", "mark", "connmark"))
_EVALUATED |= {"pkttype", "iprange", "set", "helper"}


def _module(name: str) -> Match | None:
    """What naming a match asks by itself; None where its options say it."""
    if name in _EVALUATED or name in _TRUE:
        return None
    if name in _FALSE:
        return constant(False)
    if name in _SENDER:
        return constant(Unsure(f"within -m {name}" if name in _RATE else f"matching -m {name}"))
    return constant(Unsure(f"matching -m {name}", opaque=True))


def _protocol(text: str, negated: bool) -> Match:
    name = _PROTOCOLS.get(text, text)
    if name in ("all", "0", "ip"):
        return constant(True, negated)
    return ProtocolMatch(frozenset((name,)) & _KNOWN_PROTOCOLS, negated)


def _length(mask: str) -> int:
    address = parse_address(mask)
    if address is None:
        raise RuleError(f"{mask}: not a mask")
    return bin(int(address)).count("1")


_ENDPOINT = re.compile(r"^(?:\[([^\]]*)\]|([0-9.\-]*)|([0-9a-fA-F:.]+(?:-[0-9a-fA-F:.]+)?))(?::([0-9\-/]+))?$")


def _endpoints(text: str) -> list[Verdict]:
    """The ends of --to-destination: addresses, ports, or both, each of them one or a range."""
    match = _ENDPOINT.match(text)
    if match is None:
        return [Verdict("unknown")]
    addresses = match[1] or match[2] or match[3] or ""
    if not addresses:
        return _translations([None], match[4] or "")
    low, dash, high = addresses.partition("-")
    first, last = parse_address(low), parse_address(high if dash else low)
    if first is None or last is None or first.version != last.version or int(last) < int(first):
        return [Verdict("unknown")]
    count = int(last) - int(first) + 1
    found: list[Address | None] = [first + step for step in range(min(count, _MOST_TARGETS))]
    verdicts = _translations(found, match[4] or "")
    return verdicts if count <= _MOST_TARGETS else [*verdicts, Verdict("unknown")]


def _translations(addresses: list[Address | None], ports: str) -> list[Verdict]:
    low, dash, high = ports.partition("/")[0].partition("-")
    first = int(low or 0)
    last = int(high) if dash else first
    if not 0 <= first <= last <= 65535:
        raise RuleError(f"{ports}: not ports")
    chosen = list(range(first, min(last, first + _MOST_TARGETS - 1) + 1))
    found = [Verdict("translate", address=address, port=port) for address in addresses for port in chosen]
    return found if last - first < _MOST_TARGETS else [*found, Verdict("unknown")]


def _rules(matches: tuple[Match, ...], verdicts: list[Verdict], text: str) -> list[Rule]:
    """One rule per verdict; of several the kernel takes any."""
    some = constant(Unsure("to one of several ends"))
    return [Rule((*matches, some), verdict, text) for verdict in verdicts[:-1]] + [Rule(matches, verdicts[-1], text)]
