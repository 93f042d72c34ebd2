# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Try every TCP and every UDP port of the named addresses, and tell which answer.

Runs on the neighbour host. Argument: JSON object with `alive` (an address whose port 22 has to answer first) and
`targets`, a list of [source address, address], where an empty source is any, and an address may have a zone.
127.0.0.1 stands for frames to the host `alive` that carry this address.

Prints a JSON list with, for each target, {"tcp": [ports], "udp": [ports]}. A TCP port counts when a connection to it
comes about, a UDP port when it sends back what it was sent. Closed and silent ports are alike.
"""

from __future__ import annotations

import ctypes
import errno
import json
import multiprocessing
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor

LAB = ("10.231.", "fd00:231:", "fe80:")
LOOPBACK = "127.0.0.1"
INTERFACE = "eth0"
PORTS = range(1, 65536)
# The same for every sweep, so that connection tracking on the way holds one entry per port and not one per sweep.
SOURCE_PORT = {"tcp": 39017, "udp": 39018}
PATIENCE = 0.8
CONNECT_PATIENCE = 3.0
# Seconds after which a packet that cannot be sent is a fault: no sweep takes a tenth of it.
LONGEST = 120
SYN, SYN_ACK = 0x02, 0x12
SO_ATTACH_FILTER = 26
BUFFER = 8 << 20


def attach(sock: socket.socket, program: list[tuple[int, int, int, int]]) -> None:
    """A classic BPF program decides in the kernel what this socket receives: resets by the thousand never get here."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    header = struct.pack("HL", len(program), ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, header)


# Loads are relative to X, the start of the TCP header: destination port, then flags.
def syn_ack_filter(family: int) -> list[tuple[int, int, int, int]]:
    start = (0xB1, 0, 0, 0) if family == socket.AF_INET else (0x01, 0, 0, 0)
    return [
        start,
        (0x48, 0, 0, 2),
        (0x15, 0, 3, SOURCE_PORT["tcp"]),
        (0x50, 0, 0, 13),
        (0x15, 0, 1, SYN_ACK),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    ]


# An IPv4 frame from 127.0.0.1 with a UDP datagram or a SYN-ACK.
LOOPBACK_FILTER = [
    (0x28, 0, 0, 12),
    (0x15, 0, 8, 0x0800),
    (0x20, 0, 0, 26),
    (0x15, 0, 6, 0x7F000001),
    (0x30, 0, 0, 23),
    (0x15, 3, 0, socket.IPPROTO_UDP),
    (0xB1, 0, 0, 14),
    (0x50, 0, 0, 27),
    (0x15, 0, 1, SYN_ACK),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
]


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segments(source: bytes, destination: bytes) -> Callable[[int], bytes]:
    """SYNs by port. All but the port is the same, so that its share of the checksum is all there is to add."""
    head = struct.pack(">H", SOURCE_PORT["tcp"])
    middle = struct.pack(">IIBBH", 1, 0, 5 << 4, SYN, 1024)
    pseudo = source + destination + struct.pack(">II", 20, socket.IPPROTO_TCP)
    rest = ~checksum(pseudo + head + middle) & 0xFFFF

    def segment(port: int) -> bytes:
        total = rest + port
        return head + struct.pack(">H", port) + middle + struct.pack(">HH", ~(total + (total >> 16)) & 0xFFFF, 0)

    return segment


def resolved(address: str, port: int) -> tuple:
    return socket.getaddrinfo(address, port, proto=socket.IPPROTO_UDP)[0][4]


def own_address(source: str, address: str) -> str:
    """The address that packets to the target come from."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        if source:
            probe.bind((source, 0))
        probe.connect(resolved(address, 9))
        return str(probe.getsockname()[0]).partition("%")[0]


def ask(send: Callable[[int], object], sock: socket.socket, read: Callable[[], int]) -> set[int]:
    """Send to every port and collect the answers; `read` gives the port of one answer, or 0."""
    answered: set[int] = set()

    def drain() -> None:
        while True:
            try:
                answered.add(read())
            except BlockingIOError:
                return

    late = time.monotonic() + LONGEST
    for count, port in enumerate(PORTS):
        while True:
            try:
                send(port)
                break
            except OSError as error:
                # EPERM: the table of connection tracking is full for a moment.
                if error.errno not in (errno.ENOBUFS, errno.EAGAIN, errno.EPERM) or time.monotonic() > late:
                    raise
                time.sleep(0.05)
        if count % 1024 == 0:
            drain()
    end = time.monotonic() + PATIENCE
    while (left := end - time.monotonic()) > 0:
        select.select([sock], [], [], left)
        drain()
    return answered - {0}


def connected(source: str, address: str, ports: Iterable[int]) -> set[int]:
    """Those of the ports to which a whole connection comes about."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    waiting: dict[int, tuple[int, socket.socket]] = {}
    for port in ports:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        if source:
            sock.bind((source, 0))
        sock.connect_ex(resolved(address, port))
        waiting[sock.fileno()] = (port, sock)
    found = set()
    end = time.monotonic() + CONNECT_PATIENCE
    while waiting and (left := end - time.monotonic()) > 0:
        for number in select.select([], list(waiting), [], left)[1]:
            port, sock = waiting.pop(number)
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                found.add(port)
            sock.close()
    return found


def tcp(source: str, address: str) -> set[int]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    own, target = own_address(source, address), resolved(address, 0)
    addresses = [socket.inet_pton(family, text.partition("%")[0]) for text in (own, address)]
    segment = segments(*addresses)
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP) as sock:
        attach(sock, syn_ack_filter(family))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.setblocking(False)
        if source:
            sock.bind((source, 0))

        def read() -> int:
            data, peer = sock.recvfrom(256)
            start = (data[0] & 15) * 4 if family == socket.AF_INET else 0
            same = socket.inet_pton(family, peer[0].partition("%")[0]) == addresses[1]
            return int.from_bytes(data[start : start + 2], "big") if same else 0

        half = ask(lambda port: sock.sendto(segment(port), target), sock, read)
    return connected(source, address, sorted(half))


def udp(source: str, address: str) -> set[int]:
    """Answers are told by what they bring back: a server may answer from another of its addresses."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    target = resolved(address, 0)
    text = f"{source} {address} ".encode()
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((source, 0))

        def read() -> int:
            data = sock.recv(256)
            return int(data[len(text) :]) if data.startswith(text) else 0

        return ask(lambda port: sock.sendto(text + b"%d" % port, (target[0], port, *target[2:])), sock, read)


def hardware(alive: str) -> bytes:
    with open("/proc/net/arp") as table:
        rows = [line.split() for line in table]
    return bytes.fromhex(next(row[3] for row in rows if row[0] == alive).replace(":", ""))


def spoofed(proto: str, alive: str) -> set[int]:
    """Ports of 127.0.0.1 that answer to a frame from the network. No connection comes about: the answer is enough."""
    own = socket.inet_aton(own_address("", alive))
    addresses = (own, socket.inet_aton(LOOPBACK))
    segment = segments(*addresses)
    number = getattr(socket, f"IPPROTO_{proto.upper()}")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as sock:
        attach(sock, LOOPBACK_FILTER)
        sock.bind((INTERFACE, 0x0800))
        sock.setblocking(False)
        frame = hardware(alive) + sock.getsockname()[4] + b"\x08\x00"

        def body(port: int) -> bytes:
            if proto == "tcp":
                return segment(port)
            return struct.pack(">HHHH", SOURCE_PORT["udp"], port, 12, 0) + b"ping"

        def send(port: int) -> None:
            payload = body(port)
            header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), port, 0, 64, number, 0) + b"".join(addresses)
            header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
            sock.send(frame + header + payload)

        def read() -> int:
            data = sock.recv(256)[14:]
            start = (data[0] & 15) * 4
            told = data[9] == number and int.from_bytes(data[start + 2 : start + 4], "big") == SOURCE_PORT[proto]
            if not told or (proto == "tcp" and data[start + 13] != SYN_ACK):
                return 0
            return int.from_bytes(data[start : start + 2], "big")

        return ask(send, sock, read)


def sweep(job: tuple[str, str, str, str]) -> list[int]:
    proto, alive, source, address = job
    if address == LOOPBACK:
        return sorted(spoofed(proto, alive))
    return sorted((tcp if proto == "tcp" else udp)(source, address))


def check(alive: str, targets: list[tuple[str, str]]) -> None:
    """Nothing is sent anywhere but to a host of the lab that answers."""
    with socket.create_connection((alive, 22), timeout=5):
        pass
    for _source, address in targets:
        if address.startswith(LAB) or address == LOOPBACK:
            continue
        (route,) = json.loads(
            subprocess.run(["ip", "-j", "route", "get", address], capture_output=True, check=True).stdout
        )
        if not str(route.get("gateway", "")).startswith(LAB) or route["gateway"] != alive:
            raise SystemExit(f"{address} is no address of the lab, nor is {alive} the way to it")


def main(alive: str, targets: list[tuple[str, str]]) -> None:
    check(alive, targets)
    jobs = [(proto, alive, source, address) for source, address in targets for proto in ("tcp", "udp")]
    # Unlike multiprocessing.Pool this one tells when a process of its was killed, and does not wait for it for ever.
    with ProcessPoolExecutor(min(len(jobs), os.cpu_count() or 1), multiprocessing.get_context("fork")) as pool:
        found = list(pool.map(sweep, jobs))
    print(json.dumps([{"tcp": found[n], "udp": found[n + 1]} for n in range(0, len(found), 2)]))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
