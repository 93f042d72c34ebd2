# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Knock at single ports of another host: the one question that no rule set can answer wrongly."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

OPEN, CLOSED, SILENT, NO_WAY = "open", "closed", "silent", "no way"
# One lost packet is made up for by the kernel after a second.
TIMEOUT = 3.0
PARALLEL = 64
LIMIT = 4096
_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETDOWN)


@dataclass(frozen=True)
class Target:
    """A port at an address, and what came back from there."""

    address: str
    proto: str
    port: int
    answer: str = ""


def _datagram(port: int) -> bytes:
    """What a server on a well-known port answers to; a server on any other may answer to nothing we know."""
    if port == 53:
        # A query for the name servers of the root.
        return bytes.fromhex("1a2a00000001000000000000") + bytes.fromhex("0000020001")
    if port == 123:
        return b"\x23" + bytes(47)
    if port == 443:
        # A QUIC server answers an unknown version with a Version Negotiation packet (RFC 9000, section 6).
        packet = bytes.fromhex("c01a2a3a4a08") + os.urandom(8) + b"\x08" + os.urandom(8)
        return packet.ljust(1200, b"\0")
    return b"\n"


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _tcp(target: Target, timeout: float) -> str:
    with socket.socket(_family(target.address), socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect((target.address, target.port))
    return OPEN


def _udp(target: Target, timeout: float) -> str:
    with socket.socket(_family(target.address), socket.SOCK_DGRAM) as question:
        question.settimeout(timeout)
        # Connected, so that the kernel hands over the host's "port unreachable".
        question.connect((target.address, target.port))
        question.send(_datagram(target.port))
        question.recv(1)
    return OPEN


def knock(target: Target, timeout: float = TIMEOUT) -> Target:
    """Ask one port."""
    try:
        answer = (_udp if target.proto == "udp" else _tcp)(target, timeout)
    except ConnectionRefusedError:
        answer = CLOSED
    except socket.timeout:
        answer = SILENT
    except OSError as error:
        answer = NO_WAY if error.errno in _NO_WAY else SILENT
    return Target(target.address, target.proto, target.port, answer)


def addresses(names: Iterable[str]) -> list[str]:
    """The addresses behind names, IPv4 and IPv6. :raises OSError: a name cannot be resolved."""
    found = (entry[4][0] for name in names for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(str(address) for address in found))


def knock_all(targets: Iterable[Target], timeout: float = TIMEOUT) -> list[Target]:
    """Ask many ports side by side."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(lambda target: knock(target, timeout), targets))
