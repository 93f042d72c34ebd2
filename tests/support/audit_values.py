# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts made up for the judgement of the port audit: a packet filter as Docker and UFW write it, sockets, an engine."""

from __future__ import annotations

import datetime
import ipaddress
import json
from pathlib import Path
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit import iptables, nftables
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import (
    Binding,
    Container,
    Engine,
    Network,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.filter import Filter
from ansible_collections.daffathan.platform.plugins.module_utils._audit.interfaces import Interface
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge import judge
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Finding, parse_expected
from ansible_collections.daffathan.platform.plugins.module_utils._audit.owners import Owner
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import Host
from ansible_collections.daffathan.platform.plugins.module_utils._audit.routes import Routes
from ansible_collections.daffathan.platform.plugins.module_utils._audit.sockets import Listener

FIXTURES = Path(__file__).resolve().parents[1] / "unit/plugins/module_utils/audit/fixtures"
HOST4, HOST6 = ipaddress.ip_address("198.51.100.7"), ipaddress.ip_address("2001:db8::7")
ROUTES = Routes()
ROUTES.add(4, 0, 0, ["eth0"])
ROUTES.add(4, int(ipaddress.ip_address("172.17.0.0")), 16, ["docker0"])
GUARD = json.dumps(
    {
        "nftables": [
            {"table": {"family": "inet", "name": "daffathan_guard", "handle": 1}},
            {
                "chain": {
                    **{"family": "inet", "table": "daffathan_guard", "name": "forward", "type": "filter"},
                    **{"hook": "forward", "prio": -10, "policy": "accept"},
                }
            },
            {
                "rule": {
                    **{"family": "inet", "table": "daffathan_guard", "chain": "forward"},
                    "expr": [
                        {
                            "match": {
                                **{"op": "in", "left": {"ct": {"key": "state"}}},
                                "right": ["established", "related"],
                            }
                        },
                        {"accept": None},
                    ],
                }
            },
            {
                "rule": {
                    **{"family": "inet", "table": "daffathan_guard", "chain": "forward"},
                    "expr": [
                        {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth0"}},
                        {"counter": {"packets": 0, "bytes": 0}},
                        {"drop": None},
                    ],
                }
            },
        ]
    }
)


def inner(address: Any) -> bool:
    return address.is_loopback or ROUTES.interface(address) == "docker0"


def packet_filter(text: str | None = None, guard: bool = False) -> Filter:
    text = (FIXTURES / "iptables-docker26-ufw.txt").read_text() if text is None else text
    tables = iptables.parse(text, 4, inner)
    tables += nftables.parse(GUARD, inner) if guard else []
    return Filter(tables, ROUTES.interface, lambda address: address in (HOST4, HOST6))


def listener(port: int, address: str = "0.0.0.0", proto: str = "tcp", inode: int = 1, **more: Any) -> Listener:
    return Listener(proto, ipaddress.ip_address(address), port, inode=inode, **more)


def host(*listeners: Listener, guard: bool = True, rules: str | None = None, **more: Any) -> Host:
    values: dict[str, Any] = {
        "interfaces": [Interface("eth0", 2, (HOST4,))],
        "listeners": list(listeners),
        "filter": packet_filter(rules, guard),
        "owner": lambda inode: {1: Owner("sshd", 7), 2: Owner("docker-proxy", 8)}.get(inode, Owner()),
        "today": datetime.date(2026, 6, 1),
    }
    return Host(**{**values, **more})


def engine(*bindings: Binding, **more: Any) -> Engine:
    container = Container("a" * 64, "shop", True, addresses=("172.17.0.2",), bindings=bindings)
    network = Network("bridge", "bridge", "docker0", host_binding="127.0.0.1")
    return Engine([Container(**{**container.__dict__, **more})], {"bridge": network})


def reached(subject: Host) -> set[tuple[str, int, str]]:
    return {(item["family"], item["port"], item["path"]) for item in judge(subject, ()).reachable}


def ids(subject: Host, expected: tuple[Any, ...] = ()) -> dict[str, str]:
    return {item.id: item.severity for item in judge(subject, parse_expected(expected)).findings}


def found(subject: Host, kind: str, expected: tuple[Any, ...] = ()) -> Finding:
    """The one finding of a kind."""
    items = [item for item in judge(subject, parse_expected(expected)).findings if item.id == kind]
    assert len(items) == 1, items
    return items[0]
