# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the kernel listens on."""

from __future__ import annotations

import functools
import ipaddress
import socket
import struct
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._audit import netlink
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address, plain

_SOCK_DIAG_BY_FAMILY = 20
_V6ONLY, _GROUP = 11, 21
_TCP_LISTEN = 10
# An unconnected UDP socket is in the state the kernel calls CLOSE.
_UDP_OPEN = 7
_PROTOCOLS = (("tcp", socket.IPPROTO_TCP, _TCP_LISTEN), ("udp", socket.IPPROTO_UDP, _UDP_OPEN))


class SocketError(Exception):
    """The kernel did not answer the question for its sockets."""


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket or an unconnected UDP socket; group is the id of its control group, 0 if not known."""

    proto: str
    address: Address
    port: int
    only_v6: bool = False
    interface: str = ""
    inode: int = 0
    group: int = 0

    def accepts(self, destination: Address, interface: str) -> bool:
        """Whether a packet to this address that came in by this interface ends here."""
        if self.interface and self.interface != interface:
            return False
        if self.address.is_unspecified:
            return self.address.version == destination.version or (self.address.version == 6 and not self.only_v6)
        return self.address == destination


def parse_diag(proto: str, payload: bytes) -> Listener | None:
    """One inet_diag_msg; None for one that is not bound to a port."""
    if len(payload) < 72:
        raise SocketError("sock_diag: a message is cut")
    family = payload[0]
    if family not in (socket.AF_INET, socket.AF_INET6):
        raise SocketError(f"sock_diag: family {family}")
    port, remote_port = struct.unpack_from(">HH", payload, 4)
    raw = payload[8:12] if family == socket.AF_INET else payload[8:24]
    index = struct.unpack_from("=I", payload, 40)[0]
    inode = struct.unpack_from("=I", payload, 68)[0]
    if not port or (proto == "udp" and remote_port):
        return None
    try:
        found = netlink.attributes(payload, 72)
    except netlink.NetlinkError as error:
        raise SocketError(f"sock_diag: {error}") from None
    group = found.get(_GROUP, b"")
    return Listener(
        proto,
        _address(raw),
        port,
        found.get(_V6ONLY, b"")[:1] == b"\1",
        _interface(index) if index else "",
        inode,
        struct.unpack("=Q", group)[0] if len(group) == 8 else 0,
    )


@functools.lru_cache(maxsize=1024)
def _address(raw: bytes) -> Address:
    # A socket of IPv6 at an IPv4-mapped address takes IPv4 only, ::ffff:0.0.0.0 all of it.
    return plain(ipaddress.ip_address(raw))


def _interface(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"#{index}"


def listeners() -> list[Listener]:
    """Every TCP listener and every unconnected UDP socket of this network namespace."""
    found = []
    for proto, number, state in _PROTOCOLS:
        for family in (socket.AF_INET, socket.AF_INET6):
            body = struct.pack("=BBBBI", family, number, 0, 0, 1 << state) + bytes(48)
            try:
                answers = netlink.dump(netlink.SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, body)
            except netlink.NetlinkError:
                found += _from_proc(proto, family)
                continue
            found += [item for item in (parse_diag(proto, payload) for dummy, payload in answers) if item]
    return found


def _from_proc(proto: str, family: int) -> list[Listener]:
    """The same from /proc/net, for a kernel without the diagnosis module; it does not tell v6only or the interface."""
    path = f"/proc/net/{proto}{'6' if family == socket.AF_INET6 else ''}"
    try:
        with open(path, encoding="ascii") as handle:
            return parse_proc(proto, handle.read())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise SocketError(f"{path}: {error}") from None


def parse_proc(proto: str, text: str) -> list[Listener]:
    """The listening sockets of a /proc/net/{tcp,udp}{,6} table."""
    state = _TCP_LISTEN if proto == "tcp" else _UDP_OPEN
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        try:
            if int(words[3], 16) == state:
                address, port = _proc_address(words[1])
                found.append(Listener(proto, address, port, inode=int(words[9])))
        except (ValueError, IndexError, struct.error):
            raise SocketError(f"/proc/net/{proto}: {line[:80]}: not a socket") from None
    return found


def _proc_address(text: str) -> tuple[Address, int]:
    raw, dummy, port = text.partition(":")
    data = bytes.fromhex(raw)
    # Each word of the address is in the byte order of the machine.
    data = b"".join(struct.pack(">I", *struct.unpack_from("=I", data, start)) for start in range(0, len(data), 4))
    return _address(data), int(port, 16)
