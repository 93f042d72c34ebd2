# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The output of iptables-save and ip6tables-save as tables of the packet filter."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

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

_HOOKS = {"PREROUTING": "prerouting", "INPUT": "input", "FORWARD": "forward"}
_PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
_PASSIVE = frozenset(
    ("LOG", "NFLOG", "ULOG", "AUDIT", "CHECKSUM", "TRACE", "CT", "NOTRACK", "TCPMSS", "TOS", "DSCP", "TTL", "HL")
)
_PASSIVE |= {"CLASSIFY", "SET", "SECMARK", "CONNSECMARK", "ACCOUNT", "LED", "RATEEST", "TCPOPTSTRIP"}
_PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp", "tcp": "tcp", "udp": "udp", "sctp": "sctp"}
_RATE = frozenset(("limit", "hashlimit", "recent", "connlimit", "statistic", "quota", "nth", "time"))
# Options that only describe or tune a target or a match, with the number of their values.
_SILENT = {
    **dict.fromkeys(
        ("--comment", "--log-prefix", "--log-level", "--reject-with", "--nflog-prefix", "--nflog-group"), 1
    ),
    **dict.fromkeys(("--nflog-threshold", "--to-source", "--set-xmark", "--set-mark", "--zone", "--helper"), 1),
    **dict.fromkeys(("--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid", "--notrack"), 0),
    **dict.fromkeys(("--random", "--random-fully", "--persistent", "--clamp-mss-to-pmtu", "--save-mark"), 0),
}


class RuleError(Exception):
    """A line that is not part of a rule set."""


def _ranges(text: str) -> tuple[tuple[int, int], ...]:
    ranges = []
    for part in text.split(","):
        low, colon, high = part.partition(":")
        first, last = int(low or 0), int((high or 65535) if colon else low)
        ranges.append((first, last))
    return tuple(ranges)


def _ctstate(text: str, negated: bool) -> Match:
    states = set(text.split(","))

    def match(packet: Packet) -> bool | Unsure:
        return ("NEW" in states or ("DNAT" in states and packet.translated)) != negated

    return match


def _ctstatus(text: str, negated: bool) -> Match:
    states = set(text.split(","))

    def match(packet: Packet) -> bool | Unsure:
        return ("DNAT" in states and packet.translated) != negated

    return match


def _address_type(text: str, negated: bool) -> Match:
    types = set(text.split(","))

    def match(packet: Packet) -> bool | Unsure:
        return (("LOCAL" if packet.local else "UNICAST") in types) != negated

    return match


def _protocol(text: str, negated: bool) -> Match:
    wanted = _PROTOCOLS.get(text)

    def match(packet: Packet) -> bool | Unsure:
        return (text in ("all", "0") or packet.proto == wanted) != negated

    return match


def _tcp_flags(mask: str, flags: str, negated: bool) -> Match:
    everything = {"FIN", "SYN", "RST", "PSH", "ACK", "URG"}
    looked_at = everything if mask == "ALL" else set(mask.split(","))
    wanted = everything if flags == "ALL" else set() if flags == "NONE" else set(flags.split(","))
    return constant(({"SYN"} & looked_at) == wanted, negated)


def _mark(text: str, negated: bool) -> Match:
    value = int(text.partition("/")[0], 0)

    def match(packet: Packet) -> bool | Unsure:
        if packet.marked:
            return Unsure(f"mark {text}", opaque=True)
        return (value == 0) != negated

    return match


class _Line:
    """The words of one rule, taken from left to right."""

    def __init__(self, text: str, inner: Callable[[Address], bool]) -> None:
        self.text = text
        self.inner = inner
        try:
            self.words = shlex.split(text)
        except ValueError as error:
            raise RuleError(f"{text}: {error}") from None
        self.matches: list[Match] = []
        self.ports: frozenset[int] = frozenset()
        self.modules: set[str] = set()
        self.target = ""
        self.goto = False
        self.destination = ""
        self.to_ports = ""

    def take(self) -> str:
        if not self.words:
            raise RuleError(f"{self.text}: ends too early")
        return self.words.pop(0)

    def rule(self) -> tuple[str, Rule]:
        if self.take() != "-A":
            raise RuleError(f"{self.text}: not a rule")
        chain = self.take()
        while self.words:
            word = self.take()
            negated = word == "!"
            self._option(self.take() if negated else word, negated)
        for module in sorted(self.modules & _RATE):
            self.matches.append(constant(Unsure(f"within -m {module}")))
        return chain, Rule(tuple(self.matches), self._verdict(), self.text, self.ports)

    def _option(self, word: str, negated: bool) -> None:
        if word in ("-j", "-g"):
            self.target, self.goto = self.take(), word == "-g"
        elif word == "-m":
            self.modules.add(self.take())
        elif word in ("-s", "-d"):
            texts = tuple(self.take().split(","))
            match = source_match(texts, negated, self.inner) if word == "-s" else destination_match(texts, negated)
            self.matches.append(match)
        elif word in ("-i", "-o"):
            self.matches.append(interface_match((self.take(),), negated, word == "-o"))
        elif word == "-p":
            self.matches.append(_protocol(self.take(), negated))
        elif word in ("--dport", "--dports", "--destination-port", "--destination-ports", "--ctorigdstport"):
            ranges = _ranges(self.take())
            self.ports |= ports_named(ranges)
            self.matches.append(port_match(ranges, negated, word == "--ctorigdstport"))
        elif word in ("--sport", "--sports", "--source-port", "--source-ports"):
            self.matches.append(constant(Unsure(f"from source port {self.take()}")))
        elif word in ("--ctstate", "--state"):
            self.matches.append(_ctstate(self.take(), negated))
        elif word == "--ctstatus":
            self.matches.append(_ctstatus(self.take(), negated))
        elif word == "--dst-type":
            self.matches.append(_address_type(self.take(), negated))
        elif word == "--src-type":
            self.matches.append(constant("UNICAST" in self.take().split(","), negated))
        elif word == "--tcp-flags":
            self.matches.append(_tcp_flags(self.take(), self.take(), negated))
        elif word == "--syn":
            self.matches.append(constant(True, negated))
        elif word == "--mark":
            self.matches.append(_mark(self.take(), negated))
        elif word == "--pkt-type":
            self.matches.append(constant(self.take() == "unicast", negated))
        elif word == "--ctdir":
            self.matches.append(constant(self.take() == "ORIGINAL", negated))
        elif word == "--to-destination":
            self.destination = self.take()
        elif word == "--to-ports":
            self.to_ports = self.take()
        elif word in _SILENT:
            del self.words[: _SILENT[word]]
        else:
            self._other(word)

    def _other(self, word: str) -> None:
        """An option of a match this parser does not evaluate: skip its values, and say so."""
        values = []
        while self.words and not self.words[0].startswith("-") and self.words[0] != "!":
            values.append(self.take())
        if self.modules & _RATE or self.target in _PASSIVE | {"MARK", "CONNMARK", "QUEUE", "NFQUEUE"}:
            return
        if self.target:
            return
        self.matches.append(constant(Unsure(" ".join([word, *values]), opaque=True)))

    def _verdict(self) -> Verdict:
        if self.target in ("", *_PASSIVE):
            return Verdict("continue")
        if self.target in ("MARK", "CONNMARK"):
            return Verdict("mark")
        if self.target in ("ACCEPT", "DROP", "RETURN"):
            return Verdict(self.target.lower())
        if self.target in ("REJECT", "TARPIT"):
            return Verdict("drop")
        if self.target == "DNAT":
            address, port = _endpoint(self.destination)
            return Verdict("translate", address=address, port=port)
        if self.target == "REDIRECT":
            return Verdict("translate", port=int(re.split("[-/]", self.to_ports)[0] or 0))
        if self.target in ("QUEUE", "NFQUEUE", "TPROXY", "NETMAP", "DNPT"):
            return Verdict("unknown")
        return Verdict("goto" if self.goto else "jump", self.target)


def _endpoint(text: str) -> tuple[Address | None, int]:
    """Address and first port of --to-destination."""
    match = re.match(
        r"^(?:\[(?P<six>[^\]]+)\]|(?P<four>[0-9.]+)|(?P<bare>[0-9a-fA-F:]+))?(?:-[^:]*)?(?::(?P<port>\d+))?", text
    )
    if match is None:
        return None, 0
    address = parse_address(match["six"] or match["four"] or match["bare"] or "")
    return address, int(match["port"] or 0)


def parse(text: str, family: int, inner: Callable[[Address], bool], origin: str = "iptables") -> list[Table]:
    """The tables of iptables-save output. A line that is not understood is an error, not a gap.

    :param inner: whether an address belongs to a network behind this host: no packet from outside comes from there.
    """
    tables: list[Table] = []
    table: Table | None = None
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("*"):
            table = Table(f"{origin} {line[1:]}", (family,))
            tables.append(table)
            continue
        if line == "COMMIT":
            table = None
            continue
        if table is None:
            raise RuleError(f"{line}: outside of a table")
        kind = table.name.rpartition(" ")[2]
        if line.startswith(":"):
            name, dummy, rest = line[1:].partition(" ")
            policy = "drop" if rest.startswith("DROP") else "accept"
            hook = "" if rest.startswith("-") else _HOOKS.get(name, "elsewhere")
            table.chains[name] = Chain(name, hook, _PRIORITIES.get(kind, 0), policy, kind == "nat")
            continue
        try:
            chain, rule = _Line(re.sub(r"^\[\d+:\d+\] ", "", line), inner).rule()
        except ValueError as error:
            raise RuleError(f"{line}: {error}") from None
        if chain not in table.chains:
            raise RuleError(f"{line}: the table has no chain {chain}")
        table.chains[chain].rules.append(rule)
    if table is not None:
        raise RuleError(f"{table.name}: no COMMIT, the output is cut")
    return tables
