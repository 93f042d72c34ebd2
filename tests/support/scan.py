# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the neighbour host can reach: the outside view that no question to the VPS itself can replace."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from tests.support.lab import attacker

LAB_ADDRESS = re.compile(r"^(10\.231\.|fd00:231:)")


def open_ports(address: str, *, udp: bool = False, tcp: str = "-") -> set[int]:
    """Ports that answered nmap as open: all 65 535 of TCP or those given (`1-10000`), or the usual ones of UDP.

    A UDP port that keeps silent is `open|filtered` to nmap and is not counted: nothing can be had from it.
    """
    if not LAB_ADDRESS.match(address):
        raise ValueError(f"{address} is not an address of the lab network; only lab hosts are scanned.")
    how = ["-sU", "-p", TOP_UDP, "--host-timeout", "300s"] if udp else ["-sS", "-p", tcp]
    family = ["-6"] if ":" in address else []
    report = attacker("nmap", "-n", "-Pn", "-T5", "--min-rate", "2000", *how, *family, "-oX", "-", address)
    return {
        int(port.attrib["portid"])
        for port in ElementTree.fromstring(report).iter("port")
        if port.find("state[@state='open']") is not None
    }


# DNS, DHCP, TFTP, NTP, NetBIOS, SNMP, IKE, syslog, RIP, mDNS, SSDP, memcached, WireGuard, VXLAN, gossip and the like.
TOP_UDP = (
    "53,67-69,111,123,135-139,161,162,177,389,427,443,500,514,520,623,1194,1434,1701,1900,2049,4500,4789,"
    "5060,5353,5355,5683,7946,8472,11211,27015,51820"
)

# A QUIC server answers an unknown version with a Version Negotiation packet (RFC 9000, section 6).
QUIC_PROBE = """
import os, socket, sys
packet = bytes([0xC0]) + bytes.fromhex("1a2a3a4a") + b"\\x08" + os.urandom(8) + b"\\x08" + os.urandom(8)
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as probe:
    probe.settimeout(3)
    probe.sendto(packet.ljust(1200, b"\\0"), (sys.argv[1], int(sys.argv[2])))
    try:
        answer = probe.recv(2048)
    except (TimeoutError, ConnectionRefusedError):
        sys.exit("silent")
    print("quic" if answer[0] & 0x80 and answer[1:5] == bytes(4) else "other")
"""


def speaks_quic(address: str, port: int = 443) -> bool:
    """Whether a QUIC server answers on this UDP port."""
    return attacker("python3", "-c", QUIC_PROBE, address, str(port), check=False).strip() == "quic"


UDP_PROBE = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as probe:
    probe.settimeout(2)
    probe.sendto(b"ping", (sys.argv[1], int(sys.argv[2])))
    try:
        print(probe.recv(64).decode())
    except (TimeoutError, ConnectionRefusedError):
        print("silent")
"""


def udp_answer(address: str, port: int) -> str:
    """What a UDP service on the VPS answered to one datagram from the neighbour, or `silent`."""
    return attacker("python3", "-c", UDP_PROBE, address, str(port)).strip()
