# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What machines on the same network reach at addresses that nobody else has a route to.

A neighbour can send any packet to a host, whatever its destination: to an address of a bridge, to a container, with the
host as its router, or to 127.0.0.1, which a rule may translate before the kernel drops it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace

from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import Container
from ansible_collections.daffathan.platform.plugins.module_utils._audit.interfaces import Interface
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address, clean, parse_address
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import (
    Host,
    Way,
    bindings,
    routed_to,
    ways_at,
)

_LOOPBACK = ipaddress.ip_address("127.0.0.1")


def _entrances(host: Host) -> list[tuple[Interface, Address]]:
    known = set(host.entrances())
    bound = [parse_address(binding.host_ip) for dummy, binding in bindings(host)]
    loopback = {_LOOPBACK, *(address for address in bound if address is not None and address.is_loopback)}
    if host.route_localnet:
        loopback |= {item.address for item in host.listeners if item.address.is_loopback}
    found: list[tuple[Interface, Address]] = []
    for interface in host.interfaces:
        others = [*(a for a in interface.addresses if a.is_link_local), *host.inner_addresses]
        others += sorted(address for address in loopback if address.version == 4)
        found += [(interface, address) for address in others if (interface, address) not in known]
    return found


def _open_inside(host: Host, container: Container, address: Address) -> set[tuple[str, int]]:
    """What a container listens on at one of its addresses; where that cannot be seen, what it publishes."""
    published = {(binding.proto, binding.target) for binding in container.bindings}
    # The guard table names no port of a container: where it drops a published one and any other, it drops all.
    asked = published | {("tcp", host.unnamed_port)}
    if host.guarded and not any(routed_to(host, address, proto, port) for proto, port in sorted(asked)):
        return set()
    space = host.inside(container)
    if space is None:
        return published
    return {(item.proto, item.port) for item in space.listeners if item.accepts(address, item.interface)}


def _routed(host: Host, container: Container) -> Iterator[Way]:
    """The ports of a container, at its own addresses."""
    for text in container.addresses:
        address = parse_address(text)
        if address is None:
            continue
        for proto, port in sorted(_open_inside(host, container, address)):
            arrivals = routed_to(host, address, proto, port)
            if not arrivals:
                continue
            passage = min((end.passage for end in arrivals), key=lambda item: (item.opaque, len(item.limits)))
            yield Way(
                *(proto, port, address.version, "l2", str(address)),
                limits=passage.limits,
                opaque=passage.opaque,
                container=clean(container.name),
                listening=f"{address}:{port}",
            )


def adjacent_ways(host: Host) -> list[Way]:
    """Every way of a neighbour that is none of everybody."""
    found = {replace(way, path="l2") for way in ways_at(host, _entrances(host))}
    for container in host.engine.containers if host.engine else []:
        if container.running:
            found |= set(_routed(host, container))
    return sorted(found, key=lambda way: (way.proto, way.port, way.family, way.address))
