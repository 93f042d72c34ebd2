# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Judge ports: what can be reached against what is declared, and what waits to be opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import Binding, Container
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    PUBLISHED_SEVERITY,
    Expected,
    Finding,
    clean,
    finding,
    parse_address,
    unknown,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.owners import Owner
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import (
    ENGINE_PROCESSES,
    Host,
    Way,
    beyond_loopback,
    bindings,
    origin_of,
    served_by,
)

DECLARE = "declare it in the expected ports, with a reason"
Port = tuple[str, int]

# Management, gossip and overlay traffic of a swarm: docs.docker.com/engine/swarm/swarm-tutorial, "Open protocols".
_SWARM_PORTS = frozenset((("tcp", 2377), ("tcp", 7946), ("udp", 7946), ("udp", 4789)))
_API_PORTS = (2375, 2376)
# Where clients of DHCP and DHCPv6 get their answers, and the names of those clients as /proc/PID/comm cuts them.
_DHCP_PORTS = frozenset((("udp", 68), ("udp", 546)))
_DHCP_CLIENTS = ("dhclient", "dhcpcd", "systemd-network", "NetworkManager")
# Where a port without a number is taken from, unless net.ipv4.ip_local_port_range says something else.
_EPHEMERAL = range(32768, 61000)
_PUBLISH = {
    "docker": 'Publish it on loopback ("127.0.0.1:{port}:...") and create the container again, or {declare}.',
    "swarm": "docker service update --publish-rm {port} the service, or {declare}; a swarm publishes on every address.",
    "podman": "Publish it on loopback (-p 127.0.0.1:{port}:...) and create the container again, or {declare}.",
    "CNI": "Set hostIP: 127.0.0.1 beside the hostPort, or {declare}.",
    "Kubernetes": "Use a Service of type ClusterIP or hostIP: 127.0.0.1, or {declare}.",
    "libvirt": "Remove the forward from the network of libvirt, or {declare}.",
}


@dataclass(frozen=True)
class Served:
    """A way in, who holds the socket behind it, and the container that is."""

    way: Way
    owner: Owner
    container: str

    @property
    def published(self) -> str:
        """The engine that publishes the port; empty for a listener and for a forward by hand."""
        if self.way.path == "nat":
            return origin_of(self.way.rules)
        return "docker" if self.owner.process in ENGINE_PROCESSES and self.container else ""


def _refusal(served: Served, entry: Expected, host: Host) -> str:
    """Why a declaration does not cover this way in; empty if it does."""
    if entry.expired(host.today):
        return f"its declaration expired on {entry.expires}"
    if entry.process and entry.process != served.owner.process:
        return f"declared for process {entry.process}, served by {served.owner.process or 'an unseen process'}"
    if entry.container and entry.container != served.container:
        return f"declared for container {entry.container}, served by {served.container or 'no container'}"
    return ""


def _refusals(served: Served, declared: Sequence[Expected], host: Host) -> list[str]:
    """Why no declaration covers it; empty if one does."""
    reasons = [_refusal(served, entry, host) for entry in declared]
    return [] if "" in reasons else reasons or ["not declared"]


def _undeclared(served: list[Served], declared: Sequence[Expected], host: Host) -> Finding:
    """One finding for one port, whatever the number of ways to it."""
    first = sorted(served, key=lambda item: (item.way.path != "nat", item.way.family))[0]
    way, container = first.way, first.container
    reasons = _refusals(first, declared, host)
    families = " and ".join(sorted({f"IPv{item.way.family}" for item in served}))
    evidence = f"{way.port}/{way.proto} is reachable over {families}: {way.why(first.owner.text)}; {reasons[0]}."
    fields: dict[str, Any] = {"proto": way.proto, "port": way.port, "container": container, "path": way.path}
    fields.update(owner=first.owner.process, host_ip=way.address)
    if all(item.way.opaque for item in served):
        remedy = f"Look at the rules for this port, or {DECLARE}."
        return unknown("port-not-evaluated", f"{evidence} A rule on the way could not be evaluated.", remedy, **fields)
    if first.published:
        return _published(first, evidence, fields, host)
    if way.path == "nat":
        remedy = f"Remove the rule that forwards it, or {DECLARE}."
        return finding("undeclared-forward", "high", evidence, remedy, **fields)
    if first.owner.process == "dockerd" and way.port in _API_PORTS:
        remedy = (
            "Remove the address from `hosts` and from the command line of dockerd, or close the port; use SSH instead."
        )
        return finding("engine-on-tcp", "critical", f"{evidence} It is the API of the engine.", remedy, **fields)
    if (way.proto, way.port) in _SWARM_PORTS and host.engine is not None and host.engine.swarm:
        remedy = f"Open it to the other nodes alone (ufw allow from <node> to any port {way.port}), or {DECLARE}."
        return finding("swarm-port", "high", f"{evidence} Only nodes of the swarm need it.", remedy, **fields)
    if all(_dhcp_client(item.way, item.owner) for item in served):
        return _dhcp(evidence, fields)
    remedy = f"Stop the service, bind it to 127.0.0.1, remove the firewall rule, or {DECLARE}."
    return finding("undeclared-listener", "high", evidence, remedy, **fields)


def _dhcp_client(way: Way, owner: Owner) -> bool:
    """Whether the rules let only answers to a client of DHCP in, by their source port."""
    only_answers = any("source port" in text for text in way.limits)
    return only_answers and (way.proto, way.port) in _DHCP_PORTS and owner.process in _DHCP_CLIENTS


def _dhcp(evidence: str, fields: dict[str, Any]) -> Finding:
    remedy = "Nothing, where the host gets its address by DHCP; else stop the client."
    return finding("dhcp-client", "low", f"{evidence} It is a client of DHCP.", remedy, **fields)


def _published(served: Served, evidence: str, fields: dict[str, Any], host: Host) -> Finding:
    way, origin = served.way, served.published
    kinds = [
        kind
        for container, binding, kind in beyond_loopback(bindings(host))
        if (binding.proto, binding.port) == (way.proto, way.port) and served.container in ("", clean(container.name))
    ]
    severity = PUBLISHED_SEVERITY.get(kinds[0], "critical") if kinds and origin == "docker" else "critical"
    service = host.engine.service_at(way.proto, way.port) if host.engine else ""
    if service and not served.container:
        evidence += f" It belongs to the service {service} of the swarm, on every node."
        fields["service"] = service
        origin = "swarm"
    if origin == "docker" and way.port in _EPHEMERAL:
        evidence += " A port from this range was not chosen by anybody: it is another one after each start."
    remedy = _PUBLISH[origin].format(port=way.port, declare=DECLARE)
    return finding("published-port", severity, evidence, remedy, **fields)


def judge_ways(host: Host, ways: Iterable[Way], expected: Sequence[Expected]) -> Iterator[Finding]:
    """Every way in that no declaration covers."""
    ports: dict[Port, list[Served]] = {}
    for way in ways:
        ports.setdefault((way.proto, way.port), []).append(Served(way, *served_by(host, way)))
    for (proto, port), served in sorted(ports.items()):
        declared = [entry for entry in expected if (entry.proto, entry.port) == (proto, port)]
        bad = [item for item in served if _refusals(item, declared, host)]
        if bad:
            yield _undeclared(bad, declared, host)


def judge_published(host: Host, reachable: set[Port], declared: set[Port]) -> Iterator[Finding]:
    """Ports that an engine publishes beyond loopback and only a firewall keeps in."""
    for container, binding, kind in beyond_loopback(bindings(host)):
        # What a rootless engine publishes is a listener of the host like any other.
        if container.rootless or (binding.proto, binding.port) in reachable | declared:
            continue
        severity = "medium" if host.filter is not None else PUBLISHED_SEVERITY[kind]
        address = binding.host_ip or "0.0.0.0"
        state = "only the firewall keeps it in" if host.filter is not None else "the firewall could not be examined"
        yield finding(
            "published-port-blocked" if host.filter is not None else "published-port",
            severity,
            f"container {container.name} publishes {address}:{binding.port}/{binding.proto}; {state}.",
            f'Publish it on loopback ("127.0.0.1:{binding.port}:{binding.target}") and create the container again.',
            **_place(container, binding, address, "nat"),
        )
    for service in host.engine.services if host.engine else []:
        for binding, mode in service.ports:
            if (binding.proto, binding.port) in reachable | declared:
                continue
            yield finding(
                "published-port-blocked" if host.filter is not None else "published-port",
                "medium" if host.filter is not None else "critical",
                f"service {service.name} of the swarm publishes {binding.text}/{binding.proto} (mode {mode}), "
                f"{'on every node' if mode == 'ingress' else 'where it runs'}; it is not reachable on this node.",
                _PUBLISH["swarm"].format(port=binding.port, declare=DECLARE),
                **{"service": service.name, "host_ip": "0.0.0.0", "path": "nat"},
                **{"proto": binding.proto, "port": binding.port},
            )


def _place(container: Container, binding: Binding, host_ip: str, path: str) -> dict[str, Any]:
    place: dict[str, Any] = {"container": container.name, "host_ip": host_ip, "path": path}
    return {**place, "port": binding.port, "proto": binding.proto}


def judge_latent(host: Host, declared: set[Port]) -> Iterator[Finding]:
    """Stopped containers that publish as soon as the engine starts them."""
    for container, binding, _kind in beyond_loopback(bindings(host, running=False)):
        ports = {(binding.proto, port) for port in binding.ports}
        if not container.starts_at_boot or ports <= declared:
            continue
        address = binding.host_ip or "0.0.0.0"
        when = (
            "is being started again and again; once it runs"
            if container.starts_at_boot == "restarting"
            else f"is stopped; its restart policy is {container.starts_at_boot}, and at boot"
        )
        yield finding(
            "latent-publish",
            "high",
            f"container {container.name} {when} it would publish {address}:{binding.text}/{binding.proto}.",
            "Remove the container, or create it again with its port on 127.0.0.1.",
            **_place(container, binding, address, "latent"),
        )


def judge_behind(host: Host, reachable: set[Port], declared: set[Port]) -> Iterator[Finding]:
    """Sockets that are open to all and reached by nobody: they depend on the firewall alone."""
    open_ports: dict[Port, Any] = {}
    for item in host.listeners:
        if not item.address.is_loopback and not item.interface and not item.address.is_link_local:
            open_ports.setdefault((item.proto, item.port), item)
    for (proto, port), item in sorted(open_ports.items()):
        publisher = host.publisher(proto, port)
        service = host.engine.service_at(proto, port) if host.engine else ""
        published = bool(service) or (publisher is not None and not publisher.rootless)
        if (proto, port) in reachable | declared or published or host.filter is None:
            continue
        owner = host.owner(item.inode)
        yield finding(
            "listener-behind-firewall",
            "low",
            f"{port}/{proto} is not reachable, but {owner.text or 'a process'} listens on {item.address}: "
            "only the firewall keeps it in.",
            f"Bind it to 127.0.0.1, or {DECLARE}.",
            **{"proto": proto, "port": port, "owner": owner.process, "host_ip": str(item.address), "path": "input"},
        )


def judge_declarations(host: Host, expected: Iterable[Expected], reachable: set[Port]) -> Iterator[Finding]:
    """Declarations that nothing needs: the next process on the port would be open and accepted unseen."""
    if host.filter is None or any(item.id == "sockets-not-examined" for item in host.problems):
        return
    for entry in expected:
        if (entry.proto, entry.port) in reachable:
            continue
        over = entry.expired(host.today)
        yield finding(
            "declaration-expired" if over else "declaration-unused",
            "low",
            f"{entry.port}/{entry.proto} is declared{f' until {entry.expires}' if entry.expires else ''}"
            f"{f' ({entry.reason})' if entry.reason else ''}, but nothing answers there.",
            "Remove it from the expected ports, or start what it is for.",
            **{"proto": entry.proto, "port": entry.port, "container": entry.container, "owner": entry.process},
        )


def judge_adjacent(host: Host, ways: Iterable[Way], known: set[Port]) -> Iterator[Finding]:
    """Sockets that answer at no address of the host's network, and to neighbours all the same."""
    for way in ways:
        address = parse_address(way.address)
        if (way.proto, way.port) in known or not way.inode or (address is not None and address.is_loopback):
            continue
        owner = host.owner(way.inode)
        evidence = (
            f"{way.port}/{way.proto} at {way.address} answers to neighbours on the same network, who send to that "
            f"address by way of this host: {way.why(owner.text)}."
        )
        fields = {"proto": way.proto, "port": way.port, "owner": owner.process, "host_ip": way.address, "path": "l2"}
        if _dhcp_client(way, owner):
            yield _dhcp(evidence, fields)
            continue
        remedy = f"Let the firewall drop it, bind it to 127.0.0.1, or {DECLARE}."
        yield finding("adjacent-listener", "high", evidence, remedy, **fields)
