# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Findings, declared ports and addresses: the values every part of the audit speaks in."""

from __future__ import annotations

import datetime
import functools
import hashlib
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

SEVERITIES = ("critical", "high", "medium", "low", "unknown")
THRESHOLDS = ("critical", "high", "medium", "low", "none")
PROTOCOLS = ("tcp", "udp", "sctp")
# Drivers of networks that give a container an address of its own on the link of the host.
L2_DRIVERS = ("macvlan", "ipvlan")
_RANK = {"critical": 4, "high": 3, "unknown": 3, "medium": 2, "low": 1}
_TEXT_LIMIT = 300
# The remedy for what only root may read.
ROOT = "Run the module as root (become: true)."


class InputError(Exception):
    """An option cannot be used; the message names it, its value and the remedy."""


def clean(value: object, limit: int = _TEXT_LIMIT) -> str:
    """Text from the host made harmless: one line, printable characters only, bounded length."""
    text = str(value)
    shown = text[: limit + 1]
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else "?" for char in shown)
    return shown if len(shown) <= limit else f"{shown[: limit - 3]}..."


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or that could not be examined, with its evidence and its remedy."""

    id: str
    severity: str
    evidence: str
    remediation: str
    proto: str = ""
    host_ip: str = ""
    port: int = 0
    owner: str = ""
    container: str = ""
    path: str = ""
    service: str = ""
    file: str = ""
    line: int = 0

    @property
    def fingerprint(self) -> str:
        """Stays the same for the same problem: no process id, line number or wording goes into it."""
        parts = (self.id, self.proto, self.host_ip, str(self.port), self.container, self.service, self.path, self.file)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    @property
    def where(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        port = f"{self.port}/{self.proto}" if self.port else ""
        return " ".join(text for text in (place, port, self.container or self.service or self.owner) if text)

    def as_dict(self) -> dict[str, Any]:
        names = ("id", "severity", "proto", "host_ip", "port", "owner", "container", "path", "service", "file", "line")
        return {
            **{name: getattr(self, name) for name in names},
            **{"evidence": self.evidence, "remediation": self.remediation, "fingerprint": self.fingerprint},
        }


def finding(kind: str, severity: str, evidence: str, remediation: str, **fields: Any) -> Finding:
    """A finding whose texts are safe to print, whatever the host put into them."""
    texts: dict[str, Any] = {name: clean(value) if isinstance(value, str) else value for name, value in fields.items()}
    return Finding(kind, severity, clean(evidence, 1000), clean(remediation, 1000), **texts)


def unknown(kind: str, evidence: str, remediation: str, **fields: Any) -> Finding:
    """A question the audit could not answer. It is never a pass."""
    return finding(kind, "unknown", evidence, remediation, **fields)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Worst first, without doubles, the same order in every run."""
    unique = {(item.fingerprint, item.evidence): item for item in findings}
    return sorted(
        unique.values(), key=lambda f: (-_RANK[f.severity], f.id, f.file, f.line, f.port, f.proto, f.evidence)
    )


def failing(findings: Iterable[Finding], threshold: str) -> list[Finding]:
    """The findings at or above the threshold; what could not be examined counts as high."""
    if threshold == "none":
        return []
    return [item for item in findings if _RANK[item.severity] >= _RANK[threshold]]


@dataclass(frozen=True)
class Outcome:
    """What an audit found. `reachable` is None where no host was looked at."""

    mode: str
    findings: list[Finding]
    reachable: list[dict[str, Any]] | None = None
    candidates: list[dict[str, Any]] = field(default_factory=list)
    adjacent: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Expected:
    """A declared port, who may serve it, why, and until when."""

    port: int
    proto: str = "tcp"
    process: str = ""
    container: str = ""
    reason: str = ""
    expires: str = ""

    def expired(self, today: datetime.date) -> bool:
        return bool(self.expires) and datetime.date.fromisoformat(self.expires) < today


_EXPECTED_KEYS = ("port", "proto", "process", "container", "reason", "expires")


def parse_expected(entries: Iterable[Mapping[str, Any]]) -> tuple[Expected, ...]:
    """The declared ports of the option `expected`."""
    result = []
    for index, entry in enumerate(entries):
        name = f"expected[{index}]"
        if not isinstance(entry, Mapping):
            raise InputError(f"{name}: {clean(entry)} is not a mapping. Write {{port: 443, proto: tcp, reason: ...}}.")
        surplus = sorted(set(entry) - set(_EXPECTED_KEYS))
        if surplus:
            raise InputError(f"{name}.{clean(surplus[0])}: no such key. Known: {', '.join(_EXPECTED_KEYS)}.")
        port = _port(entry.get("port"), name)
        proto = str(entry.get("proto") or "tcp")
        if proto not in PROTOCOLS:
            raise InputError(f"{name}.proto: {clean(proto)} is not a protocol. Write one of {', '.join(PROTOCOLS)}.")
        expires = str(entry.get("expires") or "")
        try:
            if expires:
                datetime.date.fromisoformat(expires)
        except ValueError:
            raise InputError(f"{name}.expires: {clean(expires)} is not a date. Write YYYY-MM-DD.") from None
        texts = {key: str(entry.get(key) or "") for key in ("process", "container", "reason")}
        result.append(Expected(port, proto, expires=expires, **texts))
    return tuple(result)


def _port(value: object, name: str) -> int:
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise InputError(f"{name}.port: {clean(value)} is not a port. Write a number from 1 to 65535.")
    return int(text)


@functools.lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """An address, without brackets and zone; None for what is not one."""
    try:
        return ipaddress.ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None


def plain(address: Address) -> Address:
    """The IPv4 address behind an IPv4-mapped one."""
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def host_ip_class(host_ip: str) -> str:
    """wildcard, loopback, private (RFC 1918, CGNAT, ULA, link-local), public, or invalid."""
    if host_ip.strip() in ("", "*"):
        return "wildcard"
    address = parse_address(host_ip)
    if address is None:
        return "invalid"
    address = plain(address)
    if address.is_loopback:
        return "loopback"
    if address.is_unspecified:
        return "wildcard"
    shared = address.version == 4 and address in ipaddress.ip_network("100.64.0.0/10")
    return "private" if address.is_private or address.is_link_local or shared else "public"


PUBLISHED_SEVERITY = {"wildcard": "critical", "public": "critical", "private": "high", "invalid": "unknown"}
