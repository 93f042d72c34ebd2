# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A sample of packets, and where a filter lets them end."""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.filter import Filter
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Packet, Rule, Table

HOST4, HOST6 = ipaddress.ip_address("198.51.100.7"), ipaddress.ip_address("2001:db8::7")
PACKETS = [
    Packet(address.version, "eth0", address, proto, port, port, True)
    for address in (HOST4, HOST6)
    for proto in ("tcp", "udp", "sctp")
    for port in (1, 22, 80, 65535)
]


def inner(address: Any) -> bool:
    return bool(address.is_loopback)


def rules_of(tables: list[Table]) -> list[Rule]:
    return [rule for table in tables for chain in table.chains.values() for rule in chain.rules]


def asked(tables: list[Table]) -> list[list[Any]]:
    """Where each packet of a sample ends."""
    known = Filter(tables, lambda address: "docker0", lambda address: address in (HOST4, HOST6))
    return [known.delivered(packet) for packet in PACKETS]
