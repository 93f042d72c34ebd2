# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the kernel listens on: sock_diag and rtnetlink, and who owns a socket."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    Address,
    clean,
    plain,
)

_NETLINK_ROUTE = 0
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_RTM_GETADDR = 22
_RTM_NEWADDR = 20
_REQUEST_DUMP = 0x301
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_ATTRIBUTE_V6ONLY = 11
_TCP_LISTEN = 10
# An unconnected UDP socket is in the state the kernel calls CLOSE.
_UDP_OPEN = 7
_PROTOCOLS = (("tcp", socket.IPPROTO_TCP, _TCP_LISTEN), ("udp", socket.IPPROTO_UDP, _UDP_OPEN))
_TIMEOUT = 5.0


class SocketError(Exception):
    """The kernel did not answer the question for its sockets."""


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket or an unconnected UDP socket."""

    proto: str
    address: Address
    port: int
    only_v6: bool = False
    interface: str = ""
    inode: int = 0

    def accepts(self, destination: Address, interface: str) -> bool:
        """Whether a packet to this address that came in by this interface ends here."""
        if self.interface and self.interface != interface:
            return False
        if self.address.is_unspecified:
            return self.address.version == destination.version or (self.address.version == 6 and not self.only_v6)
        return plain(self.address) == destination


@dataclass(frozen=True)
class Owner:
    process: str = ""
    pid: int = 0
    container: str = ""

    @property
    def text(self) -> str:
        return f"{self.process} (pid {self.pid})" if self.pid else self.process


def _messages(family: int, kind: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """The answers to one netlink dump request."""
    request = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST_DUMP, 1, 0) + body
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family) as link:
            link.settimeout(_TIMEOUT)
            link.sendto(request, (0, 0))
            while True:
                data = link.recv(1 << 18)
                position = 0
                while position + 16 <= len(data):
                    length, answer = struct.unpack_from("=IH", data, position)
                    if length < 16 or position + length > len(data):
                        raise SocketError("netlink: a message is cut")
                    payload = data[position + 16 : position + length]
                    if answer == _NLMSG_DONE:
                        return
                    if answer == _NLMSG_ERROR:
                        code = -struct.unpack_from("=i", payload)[0]
                        raise SocketError(f"netlink: {os.strerror(code)}")
                    yield answer, payload
                    position += (length + 3) & ~3
    except OSError as error:
        raise SocketError(f"netlink: {error}") from None


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, position)
        if length < 4:
            return
        yield kind, data[position + 4 : position + length]
        position += (length + 3) & ~3


def parse_diag(proto: str, payload: bytes) -> Listener | None:
    """One inet_diag_msg; None for one that is not bound to a port."""
    if len(payload) < 72:
        raise SocketError("sock_diag: a message is cut")
    family = payload[0]
    port = struct.unpack_from(">H", payload, 4)[0]
    remote_port = struct.unpack_from(">H", payload, 6)[0]
    raw = payload[8:12] if family == socket.AF_INET else payload[8:24]
    index = struct.unpack_from("=I", payload, 40)[0]
    inode = struct.unpack_from("=I", payload, 68)[0]
    if not port or (proto == "udp" and remote_port):
        return None
    only_v6 = any(kind == _ATTRIBUTE_V6ONLY and value[:1] == b"\1" for kind, value in _attributes(payload[72:]))
    interface = ""
    if index:
        try:
            interface = socket.if_indextoname(index)
        except OSError:
            interface = f"#{index}"
    return Listener(proto, ipaddress.ip_address(raw), port, only_v6, interface, inode)


def listeners() -> list[Listener]:
    """Every TCP listener and every unconnected UDP socket of this network namespace."""
    found = []
    for proto, number, state in _PROTOCOLS:
        for family in (socket.AF_INET, socket.AF_INET6):
            body = struct.pack("=BBBBI", family, number, 0, 0, 1 << state) + bytes(48)
            try:
                answers = list(_messages(_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, body))
            except SocketError:
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
        if len(words) < 10 or int(words[3], 16) != state:
            continue
        raw, dummy, port = words[1].partition(":")
        data = bytes.fromhex(raw)
        # Each word of the address is in the byte order of the machine.
        data = b"".join(struct.pack(">I", *struct.unpack_from("=I", data, start)) for start in range(0, len(data), 4))
        found.append(Listener(proto, ipaddress.ip_address(data), int(port, 16), inode=int(words[9])))
    return found


@dataclass(frozen=True)
class Interface:
    name: str
    index: int
    addresses: tuple[Address, ...] = ()


def addresses() -> dict[int, list[Address]]:
    """The addresses of every interface, by its index."""
    found: dict[int, list[Address]] = {}
    for kind, payload in _messages(_NETLINK_ROUTE, _RTM_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0)):
        if kind != _RTM_NEWADDR or len(payload) < 8:
            continue
        index = struct.unpack_from("=I", payload, 4)[0]
        # IFA_LOCAL is the own address of a point-to-point link, where IFA_ADDRESS is the peer's.
        values = dict(_attributes(payload[8:]))
        raw = values.get(2) or values.get(1)
        if raw and len(raw) in (4, 16):
            found.setdefault(index, []).append(ipaddress.ip_address(raw))
    return found


_VIRTUAL_BRIDGE = re.compile(
    r"^(docker[0-9]+|docker_gwbridge|br-[0-9a-f]{12}|podman[0-9]+|cni[0-9]+|cni-.*|virbr[0-9]+)$"
)


def external_interfaces(inner: frozenset[str], root: str = "/sys/class/net") -> list[Interface]:
    """Interfaces by which a packet can come from outside.

    :param inner: bridges known to belong to a container engine.
    """
    known = addresses()
    found = []
    for name in sorted(os.listdir(root)):
        with contextlib.suppress(OSError, ValueError):
            flags = int(_read(f"{root}/{name}/flags"), 16)
            index = int(_read(f"{root}/{name}/ifindex"))
            loopback, up = flags & 8, flags & 1
            member = os.path.exists(f"{root}/{name}/master")
            if loopback or not up or member or name in inner or _VIRTUAL_BRIDGE.match(name):
                continue
            found.append(Interface(name, index, tuple(known.get(index, ()))))
    return found


def _read(path: str, limit: int = 65536) -> str:
    with open(path, encoding="utf-8", errors="replace") as handle:
        return handle.read(limit)


@dataclass
class Routes:
    """Longest prefix wins; enough to tell by which bridge a container is reached."""

    entries: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, str]] = field(default_factory=list)

    def interface(self, address: Address) -> str:
        fitting = [item for item in self.entries if item[0].version == address.version and address in item[0]]
        return max(fitting, key=lambda item: item[0].prefixlen)[1] if fitting else ""


def parse_routes(four: str, six: str) -> Routes:
    """Routes of /proc/net/route and /proc/net/ipv6_route."""
    routes = Routes()
    for line in four.splitlines()[1:]:
        words = line.split()
        if len(words) >= 8:
            network, mask = (struct.pack("=I", int(words[column], 16)) for column in (1, 7))
            prefix = bin(int.from_bytes(mask, "big")).count("1")
            routes.entries.append((ipaddress.IPv4Network((network, prefix), strict=False), words[0]))
    for line in six.splitlines():
        words = line.split()
        if len(words) >= 10 and words[9] != "lo":
            network6 = ipaddress.IPv6Network((bytes.fromhex(words[0]), int(words[1], 16)), strict=False)
            routes.entries.append((network6, words[9]))
    return routes


def routes() -> Routes:
    texts = []
    for path in ("/proc/net/route", "/proc/net/ipv6_route"):
        try:
            texts.append(_read(path, 1 << 22))
        except OSError:
            texts.append("")
    return parse_routes(*texts)


_CONTAINER = re.compile(r"(?:docker[-/]|libpod-|cri-containerd-|/)([0-9a-f]{64})(?:\.scope)?(?:/|$)", re.MULTILINE)


def container_of(cgroup: str) -> str:
    """The container id in /proc/PID/cgroup; empty for a process of the host."""
    match = _CONTAINER.search(cgroup)
    return match[1] if match else ""


class Owners:
    """Who holds a socket. The process table is walked once, on the first question."""

    def __init__(self, root: str = "/proc") -> None:
        self.root = root
        self._pids: dict[int, int] | None = None
        self.complete = True

    def _walk(self) -> dict[int, int]:
        pids: dict[int, int] = {}
        for name in sorted(filter(str.isdigit, os.listdir(self.root)), key=int):
            try:
                descriptors = os.scandir(f"{self.root}/{name}/fd")
            except PermissionError:
                self.complete = False
                continue
            except OSError:
                continue
            with descriptors, contextlib.suppress(OSError):
                for entry in descriptors:
                    with contextlib.suppress(OSError):
                        target = os.readlink(entry.path)
                        if target.startswith("socket:["):
                            pids.setdefault(int(target[8:-1]), int(name))
        return pids

    def of(self, inode: int) -> Owner:
        """The owner, "[kernel]" for a socket no process holds, "" where that cannot be seen."""
        if self._pids is None:
            self._pids = self._walk()
        pid = self._pids.get(inode, 0)
        if not pid:
            return Owner("[kernel]" if self.complete and inode else "")
        process = container = ""
        with contextlib.suppress(OSError):
            process = clean(_read(f"{self.root}/{pid}/comm").strip(), 32)
            container = container_of(_read(f"{self.root}/{pid}/cgroup"))
        return Owner(process, pid, container)


def host_addresses(interfaces: list[Interface]) -> frozenset[Address]:
    return frozenset(address for interface in interfaces for address in interface.addresses)
