# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Which ports of a host answer to the outside, by the rules of its packet filter."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.daemon import Daemon
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import Container, Engine
from ansible_collections.daffathan.platform.plugins.module_utils._audit.filter import Arrival, Filter
from ansible_collections.daffathan.platform.plugins.module_utils._audit.interfaces import Interface
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    PROTOCOLS,
    Address,
    Finding,
    clean,
    host_ip_class,
    parse_address,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.namespaces import Foreign, Namespace
from ansible_collections.daffathan.platform.plugins.module_utils._audit.owners import Owner
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Packet
from ansible_collections.daffathan.platform.plugins.module_utils._audit.sockets import Listener
from ansible_collections.daffathan.platform.plugins.module_utils._audit.ufw import Ufw

Entrance = tuple[Interface, Address]
GUARD_TABLE = "inet daffathan_guard"
# Of more ports than these that a rule treats alike, only the first and the last are told.
MOST_ALIKE = 4096
ENGINE_PROCESSES = ("docker-proxy", "dockerd")


@dataclass
class Host:
    """Everything that was read from a host; `problems` is what could not be read."""

    interfaces: list[Interface]
    listeners: list[Listener]
    filter: Filter | None
    owner: Callable[[int], Owner]
    today: datetime.date
    engine: Engine | None = None
    daemon: Daemon | None = None
    forwarding: dict[int, bool] = field(default_factory=lambda: {4: True, 6: True})
    route_localnet: tuple[str, ...] = ()
    # Addresses of the host on links that nobody comes in by, such as those of bridges.
    inner_addresses: tuple[Address, ...] = ()
    problems: list[Finding] = field(default_factory=list)
    # The network namespace of a container; None where it could not be entered.
    inside: Callable[[Container], Namespace | None] = lambda container: None
    foreign: list[Foreign] = field(default_factory=list)
    ufw: Ufw | None = None

    @property
    def guarded(self) -> bool:
        return self.filter is not None and any(table.name == GUARD_TABLE for table in self.filter.tables)

    def entrances(self) -> Iterator[Entrance]:
        """Every interface with every address a packet that comes in by it can be sent to."""
        for interface in self.interfaces:
            for other in self.interfaces:
                for address in other.addresses:
                    # A link-local address is only valid on its own link; without another one it is the only way in.
                    alone = not any(a.version == 6 and not a.is_link_local for a in other.addresses)
                    if not address.is_link_local or address.version == 4 or (alone and other is interface):
                        yield interface, address

    @functools.cached_property
    def _addresses(self) -> dict[Address, Container]:
        containers = self.engine.containers if self.engine else []
        # A rootless engine has a network of its own: its addresses mean nothing here.
        of_host = [container for container in reversed(containers) if not container.rootless]
        known = ((parse_address(text), container) for container in of_host for text in container.addresses)
        return {address: container for address, container in known if address is not None}

    @functools.cached_property
    def _publishers(self) -> dict[tuple[str, int], list[tuple[Address | None, Container]]]:
        found: dict[tuple[str, int], list[tuple[Address | None, Container]]] = {}
        for container in self.engine.containers if self.engine else []:
            for binding in container.bindings if container.running else ():
                place = (parse_address(binding.host_ip), container)
                found.setdefault((binding.proto, binding.port), []).append(place)
        return found

    @functools.cached_property
    def _sockets(self) -> dict[tuple[str, int], list[Listener]]:
        found: dict[tuple[str, int], list[Listener]] = {}
        for item in self.listeners:
            found.setdefault((item.proto, item.port), []).append(item)
        return found

    def container_at(self, address: Address) -> Container | None:
        return self._addresses.get(address)

    def publisher(self, proto: str, port: int, address: str = "") -> Container | None:
        """The container that publishes a port; at an address, the one that publishes it there or everywhere."""
        wanted = parse_address(address)
        for at, container in self._publishers.get((proto, port), []):
            if wanted is None or at is None or at.is_unspecified or at == wanted:
                return container
        return None

    def sockets_on(self, proto: str, port: int) -> list[Listener]:
        return self._sockets.get((proto, port), [])

    @functools.cached_property
    def unnamed_port(self) -> int:
        """A port that no rule names and nothing listens on: what happens to it is what the filter does by default."""
        return self.filter.unnamed_port(item.port for item in self.listeners) if self.filter else 0


@dataclass(frozen=True)
class Way:
    """One way to one port: by INPUT to a socket, or translated to a container or another machine."""

    proto: str
    port: int
    family: int
    path: str
    address: str
    limits: tuple[str, ...] = ()
    opaque: bool = False
    inode: int = 0
    listening: str = ""
    container: str = ""
    target: str = ""
    rules: tuple[str, ...] = ()
    # How many ports are treated like this one, where they are too many to be told one by one.
    alike: int = 0

    def why(self, owner: str) -> str:
        if self.target:
            origin = origin_of(self.rules)
            by = f"container {self.container}" if self.container else origin
            served = f"published by {by}" if by else "forwarded"
            text = f"{served} (translated to {self.target})"
        else:
            process = owner or ("" if self.container else "a process that cannot be seen")
            container = f"container {self.container}" if self.container else ""
            text = f"{', '.join(filter(None, (process, container)))} listens on {self.listening}"
        if self.limits:
            text += f", only {' and '.join(self.limits)}"
        if self.alike:
            text += f"; so are the other {self.alike - 1} ports that the rules treat alike"
        return clean(text)


# Chains and tables that an engine makes for what it publishes.
_ORIGINS = (
    ("DOCKER-INGRESS", "swarm"),
    ("NETAVARK-", "podman"),
    ("inet netavark", "podman"),
    ("CNI-", "CNI"),
    ("KUBE-", "Kubernetes"),
    ("LIBVIRT_", "libvirt"),
    ("DOCKER", "docker"),
    ("docker-bridges", "docker"),
)


def origin_of(rules: tuple[str, ...]) -> str:
    """The engine whose rule translated a packet; empty for a rule by hand."""
    # What a rule of nft does is not in its text; one of iptables that only lets the packet pass says nothing of it.
    translating = [text for text in rules if "-j DNAT" in text or "-j REDIRECT" in text or "-A " not in text]
    for mark, origin in _ORIGINS:
        if any(f"-A {mark}" in text or f" {mark} " in f" {text} " for text in translating):
            return origin
    return ""


def _packet(interface: Interface, address: Address, proto: str, port: int, local: bool = True) -> Packet:
    return Packet(address.version, interface.name, address, proto, port, port, local)


def ends(host: Host, packet: Packet) -> list[Arrival]:
    """Where a packet ends; none of them is behind a translation or a route the kernel does not forward."""
    if host.filter is None:
        return []
    return [end for end in host.filter.delivered(packet) if _arrives(host, end.packet)]


def _arrives(host: Host, packet: Packet) -> bool:
    """Whether the kernel routes what the rules let through."""
    if not packet.local:
        return host.forwarding.get(packet.family, True)
    # From outside nothing is delivered to loopback, translated or not, unless IPv4 is told to.
    return not packet.destination.is_loopback or (packet.family == 4 and packet.interface in host.route_localnet)


def _ways(host: Host, interface: Interface, address: Address, proto: str, port: int) -> Iterator[Way]:
    for end in ends(host, _packet(interface, address, proto, port)):
        common: dict[str, Any] = {"proto": proto, "port": port, "family": address.version, "address": str(address)}
        common.update(limits=end.passage.limits, opaque=end.passage.opaque, rules=end.passage.rules)
        if not end.packet.local:
            container = host.container_at(end.packet.destination)
            target = f"{end.packet.destination} port {end.packet.port}"
            yield Way(path="nat", target=target, container=clean(container.name) if container else "", **common)
            continue
        items = host.sockets_on(proto, end.packet.port)
        fitting = [item for item in items if item.accepts(end.packet.destination, interface.name)]
        if fitting:
            # The kernel prefers the socket of one address or of one interface to that of all.
            item = max(fitting, key=lambda item: (bool(item.interface), not item.address.is_unspecified))
            yield Way(path="input", inode=item.inode, listening=f"{item.address}:{item.port}", **common)


def _candidates(host: Host, entrances: list[Entrance]) -> dict[tuple[str, int], int]:
    """Ports worth a question, with the number of those that are treated alike and not asked for.

    Nothing listens on any other, and no rule translates it.
    """
    loopback = any(address.is_loopback for _interface, address in entrances)
    found = {(item.proto, item.port): 0 for item in host.listeners if loopback or not item.address.is_loopback}
    if host.filter is not None:
        for proto in PROTOCOLS:
            for port, alike in _translated(host.filter, entrances, proto).items():
                found[proto, port] = alike
    return found


def _translated(known: Filter, entrances: list[Entrance], proto: str) -> dict[int, int]:
    """Ports that a rule translates; of very many that are treated alike only the ends, with their number."""
    found: dict[int, int] = {}
    for family in {address.version for _interface, address in entrances}:
        _ports, places = known.all_classes(family, proto)
        # One address stands for all that the rules treat alike.
        distinct = {(i.name, places.of(a)): (i, a) for i, a in entrances if a.version == family}
        for ranges in known.port_classes(family, proto):
            packets = (_packet(i, a, proto, ranges[0][0]) for i, a in distinct.values())
            if not any(known.translates(packet) for packet in packets):
                continue
            count = sum(high - low + 1 for low, high in ranges)
            if count > MOST_ALIKE:
                found.update({ranges[0][0]: count, ranges[-1][1]: count})
            else:
                found.update((port, 0) for low, high in ranges for port in range(low, high + 1))
    return found


def ways_in(host: Host) -> list[Way]:
    """Every way to every port of every address of the host that is its own on the network."""
    return ways_at(host, list(host.entrances()))


def _open(host: Host, entrances: list[Entrance]) -> Iterator[tuple[Interface, Address, str, int, int]]:
    """The questions that are not answered with a no for all ports that the rules treat alike."""
    if host.filter is None:
        return
    candidates = _candidates(host, entrances)
    groups: dict[tuple[int, str], dict[int, list[int]]] = {}
    for family in {address.version for _interface, address in entrances}:
        for proto, port in sorted(candidates):
            ports, _destinations = host.filter.all_classes(family, proto)
            groups.setdefault((family, proto), {}).setdefault(ports.of(port), []).append(port)
    known: dict[tuple[str, str, object], list[int]] = {}
    for interface, address in entrances:
        for (version, proto), classes in groups.items():
            if version != address.version:
                continue
            _ports, places = host.filter.all_classes(version, proto)
            key = (interface.name, proto, places.of(address))
            if key not in known:
                asked = [(_packet(interface, address, proto, members[0]), members) for members in classes.values()]
                known[key] = [port for packet, members in asked if host.filter.delivered(packet) for port in members]
            for port in known[key]:
                yield interface, address, proto, port, candidates[proto, port]


def ways_at(host: Host, entrances: list[Entrance]) -> list[Way]:
    """Every way to every port of these addresses; of equal ways the least restricted one."""
    best: dict[tuple[str, int, int, str, str], Way] = {}
    for interface, address, proto, port, alike in _open(host, entrances):
        for way in _ways(host, interface, address, proto, port):
            key = (way.proto, way.port, way.family, way.path, way.address)
            rank = (way.opaque, len(way.limits))
            if key not in best or rank < (best[key].opaque, len(best[key].limits)):
                best[key] = replace(way, alike=alike) if alike and way.path == "nat" else way
    return [best[key] for key in sorted(best)]


def served_by(host: Host, way: Way) -> tuple[Owner, str]:
    """The owner of the socket, and the container behind it."""
    owner = host.owner(way.inode) if way.inode else Owner()
    container = way.container or (clean(host.engine.named(owner.container)) if host.engine and owner.container else "")
    if not container and owner.process in ENGINE_PROCESSES:
        publisher = host.publisher(way.proto, way.port, way.address)
        container = clean(publisher.name) if publisher else ""
    return owner, container or owner.container[:12]


def open_by_default(host: Host) -> dict[int, Arrival]:
    """Families in which a packet to any port gets in, with the least restricted way."""
    found: dict[int, Arrival] = {}
    port = host.unnamed_port
    for interface, address in host.entrances():
        for proto in ("tcp", "udp"):
            for end in ends(host, _packet(interface, address, proto, port)):
                known = found.get(address.version)
                rank = (end.passage.opaque, len(end.passage.limits))
                if known is None or rank < (known.passage.opaque, len(known.passage.limits)):
                    found[address.version] = end
    return found


def routed_containers(host: Host) -> list[str]:
    """Containers that a neighbour reaches by their own addresses, with the host as its router."""
    found = []
    for container in host.engine.containers if host.engine and host.filter else []:
        if not container.running or container.rootless:
            continue
        ports = {("tcp", host.unnamed_port), *((binding.proto, binding.target) for binding in container.bindings)}
        if any(_routed(host, text, proto, port) for text in container.addresses for proto, port in sorted(ports)):
            found.append(clean(container.name))
    return found


def _routed(host: Host, text: str, proto: str, port: int) -> bool:
    address = parse_address(text)
    return address is not None and bool(routed_to(host, address, proto, port))


def routed_to(host: Host, address: Address, proto: str, port: int) -> list[Arrival]:
    """How packets of neighbours, for whom this host is a router, get to an address behind it."""
    arrivals = (end for i in host.interfaces for end in ends(host, _packet(i, address, proto, port, local=False)))
    return [end for end in arrivals if not end.packet.local]


def routed_loopback(host: Host) -> list[str]:
    """Ports published on loopback that a neighbour reaches all the same, by a packet to 127.0.0.1."""
    found = []
    for container, binding in bindings(host):
        address = parse_address(binding.host_ip)
        if address is None or not address.is_loopback or container.rootless:
            continue
        for interface in host.interfaces:
            arrivals = ends(host, _packet(interface, address, binding.proto, binding.port))
            if any(end.packet.translated and not end.packet.local for end in arrivals):
                found.append(f"{clean(container.name)} {binding.host_ip}:{binding.port}/{binding.proto}")
                break
    return found


def bindings(host: Host, running: bool = True) -> Iterator[tuple[Container, Any]]:
    """The published ports of running, or of stopped, containers."""
    for container in host.engine.containers if host.engine else []:
        if container.running == running:
            for binding in container.bindings:
                yield container, binding


def beyond_loopback(items: Iterable[tuple[Container, Any]]) -> Iterator[tuple[Container, Any, str]]:
    """Those bindings that are not on loopback, with the class of their address."""
    for container, binding in items:
        kind = host_ip_class(binding.host_ip)
        if kind != "loopback":
            yield container, binding, kind
