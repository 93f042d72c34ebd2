# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The indexed filter, which answers once per class of packets, says what the plain walk says of every packet."""

from __future__ import annotations

import ipaddress
import itertools
import random
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import iptables
from ansible_collections.daffathan.platform.plugins.module_utils._audit.filter import Filter
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Packet, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.audit.plain_walk import Plain

PORTS = (1, 22, 80, 81, 443, 8080, 9005, 40000, 65535)
DESTINATIONS = tuple(
    map(ipaddress.ip_address, ("198.51.100.7", "127.0.0.1", "172.17.0.2", "172.17.0.3", "10.1.2.3", "172.17.0.1"))
)
PROTOCOLS = ("tcp", "udp", "sctp")
INTERFACES = ("eth0", "eth1", "wg0")
OWN = (DESTINATIONS[0], DESTINATIONS[1], DESTINATIONS[-1])

conditions = st.sampled_from(
    [
        *("-p tcp", "-p udp", "! -p tcp", "-p tcp -m tcp --dport 80", "-p tcp -m tcp --dport 22:443", "-p icmp"),
        *("-p udp -m udp --dport 443", "-p tcp -m tcp ! --dport 80", "-p tcp -m multiport --dports 80,9000:9010"),
        *(
            "-p tcp -m multiport --ports 80,81",
            "-p tcp -m multiport ! --dports 22,80",
            "-p tcp -m tcp --dport 1024:65535",
        ),
        *("-d 172.17.0.2/32", "-d 172.17.0.0/16", "! -d 127.0.0.0/8", "-d 198.51.100.7/32", "-i eth0", "! -i eth+"),
        *(
            "-o docker0",
            "! -o docker0",
            "-s 10.0.0.0/8",
            "! -s 192.0.2.0/24",
            "-s 172.17.0.0/16",
            "-m geoip --source X",
        ),
        *("-m conntrack --ctstate NEW", "-m conntrack --ctstate DNAT", "-m conntrack ! --ctstate UNTRACKED"),
        *("-m conntrack --ctstatus DNAT", "-m conntrack --ctorigdstport 80", "-m conntrack --ctorigdst 198.51.100.7"),
        *("-m addrtype --dst-type LOCAL", "-m mark --mark 0x1", "-m limit --limit 3/min", "-m set --match-set s src"),
        "-m iprange --dst-range 172.17.0.1-172.17.0.9",
    ]
)
CHAINS = ("one", "two", "three")


def targets(chain: str, table: str) -> st.SearchStrategy[str]:
    """Targets of a rule of a chain; chains only jump to later ones, as the kernel refuses circles."""
    plain = ["-j ACCEPT", "-j DROP", "-j RETURN", "-j LOG", "-j MARK --set-xmark 0x1/0x1", "-j NFQUEUE", "", "-j gone"]
    raw = ["-j NOTRACK", "-j CT --notrack"] if table == "raw" else []
    nat = [
        *("-j DNAT --to-destination 172.17.0.2:80", "-j DNAT --to-destination 172.17.0.3", "-j REDIRECT --to-ports 22"),
        *("-j DNAT --to-destination 172.17.0.2-172.17.0.3:80-81", "-j REDIRECT", "-j NETMAP --to 172.17.0.0/24"),
        "-j NETMAP --to 198.51.100.0/24",
        "-j DNAT --to-destination :8080",
    ]
    later = CHAINS[CHAINS.index(chain) + 1 :] if chain in CHAINS else CHAINS
    jumps = [f"{option} {name}" for option in ("-j", "-g") for name in later]
    return st.sampled_from(plain + raw + (nat * 2 if table == "nat" else []) + jumps * 2)


@st.composite
def rule_sets(draw: st.DrawFn) -> str:
    """The output of iptables-save."""
    lines = []
    for table, hooks in (("raw", ("PREROUTING",)), ("nat", ("PREROUTING",)), ("filter", ("INPUT", "FORWARD"))):
        if draw(st.integers(0, 3)) == 0:
            continue
        lines += [f"*{table}", *(f":{hook} {draw(st.sampled_from(('ACCEPT', 'DROP')))} [0:0]" for hook in hooks)]
        lines += [f":{chain} - [0:0]" for chain in CHAINS]
        for chain in (*hooks, *CHAINS):
            for _rule in range(draw(st.integers(0, 5))):
                words = draw(st.lists(conditions, max_size=2))
                lines.append(" ".join([f"-A {chain}", *words, draw(targets(chain, table))]).strip())
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def inner(address: Any) -> bool:
    return address.is_loopback or address in ipaddress.ip_network("172.17.0.0/16")


def route(address: Any) -> str:
    return "docker0" if inner(address) else "eth1"


def local(address: Any) -> bool:
    return address in OWN


def assert_same(tables: list[Table], packets: list[Packet]) -> None:
    indexed, plain = Filter(tables, route, local), Plain(tables, route, local)
    for packet in packets:
        found = [(end.packet, end.passage.limits, end.passage.opaque) for end in indexed.delivered(packet)]
        assert found == plain.delivered(packet), packet


PACKETS = [
    Packet(4, interface, destination, proto, port, port, local(destination))
    for interface, destination, proto, port in itertools.product(
        INTERFACES, DESTINATIONS, ("tcp", "udp", "sctp"), PORTS
    )
]


@settings(max_examples=200)
@given(text=rule_sets(), seed=st.integers(0, 2**16))
def test_the_indexed_filter_says_what_the_plain_walk_says(text: str, seed: int) -> None:
    # Which packet of a class is asked about first must not matter.
    assert_same(iptables.parse(text, 4, inner), random.Random(seed).sample(PACKETS, 60))


@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_long_chain(count: int) -> None:
    rules = [
        f"-A INPUT -d 172.17.{n // 250}.{n % 250 + 2}/32 -p tcp -m tcp --dport {n + 1} -j ACCEPT" for n in range(count)
    ]
    text = "\n".join(["*filter", ":INPUT DROP [0:0]", *rules, "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", "COMMIT"])
    assert_same(iptables.parse(text, 4, inner), PACKETS[::7])
