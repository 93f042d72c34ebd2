# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Questions to the kernel over netlink."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

ROUTE = 0
SOCK_DIAG = 4
_REQUEST_DUMP = 0x301
_ERROR = 2
_DONE = 3
_DUMP_INTERRUPTED = 0x10
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TIMEOUT = 5.0
_ATTEMPTS = 3
# The type of an attribute that holds others may carry these flags.
_TYPE_MASK = 0x3FFF


class NetlinkError(Exception):
    """The kernel did not answer the question."""


class _Interrupted(Exception):
    """What was listed changed meanwhile."""


def dump(protocol: int, kind: int, body: bytes) -> list[tuple[int, bytes]]:
    """The answers to one request for a list, which is asked again when it changed meanwhile."""
    for _attempt in range(_ATTEMPTS):
        try:
            return list(_dump(protocol, kind, body))
        except _Interrupted:
            continue
    raise NetlinkError("netlink: the list changes all the time")


def _dump(protocol: int, kind: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    request = _HEADER.pack(16 + len(body), kind, _REQUEST_DUMP, 1, 0) + body
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as link:
            link.settimeout(_TIMEOUT)
            link.sendto(request, (0, 0))
            while True:
                for answer, flags, payload in messages(link.recv(1 << 18)):
                    if flags & _DUMP_INTERRUPTED:
                        raise _Interrupted
                    if answer == _DONE:
                        return
                    if answer == _ERROR:
                        raise NetlinkError(f"netlink: {_reason(payload)}")
                    yield answer, payload
    except OSError as error:
        raise NetlinkError(f"netlink: {error}") from None


def _reason(payload: bytes) -> str:
    return os.strerror(abs(struct.unpack_from("=i", payload)[0])) if len(payload) >= 4 else "an error that is cut"


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and payload of every message of a datagram."""
    position, end = 0, len(data)
    while position < end:
        if position + 16 > end:
            raise NetlinkError("netlink: a message is cut")
        length, answer, flags, _sequence, _sender = _HEADER.unpack_from(data, position)
        if length < 16 or position + length > end:
            raise NetlinkError("netlink: a message is cut")
        yield answer, flags, data[position + 16 : position + length]
        position += (length + 3) & ~3


def attributes(data: bytes, position: int = 0) -> dict[int, bytes]:
    """The attributes behind the fixed part of a message."""
    found: dict[int, bytes] = {}
    end = len(data)
    while position + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if length < 4 or position + length > end:
            raise NetlinkError("netlink: an attribute is cut")
        found[kind & _TYPE_MASK] = data[position + 4 : position + length]
        position += (length + 3) & ~3
    return found
