# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Judge a host: what can be reached against what is declared, and what waits to be opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.composemounts import reaches_engine_socket
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    PUBLISHED_SEVERITY,
    Expected,
    Finding,
    clean,
    finding,
    ordered,
    unknown,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.owners import Owner
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import (
    ENGINE_PROCESSES,
    Host,
    Way,
    beyond_loopback,
    bindings,
    open_by_default,
    routed_containers,
    routed_loopback,
    served_by,
    ways_in,
)

_FAMILY = {4: "ipv4", 6: "ipv6"}
_DECLARE = "declare it in the expected ports, with a reason"


@dataclass(frozen=True)
class Report:
    findings: list[Finding]
    reachable: list[dict[str, Any]]


@dataclass(frozen=True)
class _Served:
    way: Way
    owner: Owner
    container: str


def _refusal(served: _Served, entry: Expected, host: Host) -> str:
    """Why a declaration does not cover this way in; empty if it does."""
    if entry.expired(host.today):
        return f"its declaration expired on {entry.expires}"
    if entry.process and entry.process != served.owner.process:
        return f"declared for process {entry.process}, served by {served.owner.process or 'an unseen process'}"
    if entry.container and entry.container != served.container:
        return f"declared for container {entry.container}, served by {served.container or 'no container'}"
    return ""


def _refusals(served: _Served, declared: list[Expected], host: Host) -> list[str]:
    """Why no declaration covers it; empty if one does."""
    reasons = [_refusal(served, entry, host) for entry in declared]
    return [] if "" in reasons else reasons or ["not declared"]


def _undeclared(served: list[_Served], declared: list[Expected], host: Host) -> Finding:
    """One finding for one port, whatever the number of ways to it."""
    first = sorted(served, key=lambda item: (item.way.path != "nat", item.way.family))[0]
    way, container = first.way, first.container
    reasons = _refusals(first, declared, host)
    families = " and ".join(sorted({f"IPv{item.way.family}" for item in served}))
    evidence = f"{way.port}/{way.proto} is reachable over {families}: {way.why(first.owner.text)}; {reasons[0]}."
    fields: dict[str, Any] = {"proto": way.proto, "port": way.port, "container": container, "path": way.path}
    fields.update(owner=first.owner.process, host_ip=way.address)
    if all(item.way.opaque for item in served):
        remedy = f"Look at the rules for this port, or {_DECLARE}."
        return unknown("port-not-evaluated", f"{evidence} A rule on the way could not be evaluated.", remedy, **fields)
    if way.path == "nat" and container or first.owner.process in ENGINE_PROCESSES:
        kind = next(
            (k for c, b, k in beyond_loopback(bindings(host)) if (b.proto, b.port) == (way.proto, way.port)), ""
        )
        remedy = f'Publish it on loopback ("127.0.0.1:{way.port}:...") and create the container again, or {_DECLARE}.'
        return finding("published-port", PUBLISHED_SEVERITY.get(kind, "critical"), evidence, remedy, **fields)
    if way.path == "nat":
        remedy = f"Remove the rule that forwards it, or {_DECLARE}."
        return finding("undeclared-forward", "high", evidence, remedy, **fields)
    remedy = f"Stop the service, bind it to 127.0.0.1, remove the firewall rule, or {_DECLARE}."
    return finding("undeclared-listener", "high", evidence, remedy, **fields)


def _judge_ways(host: Host, ways: list[Way], expected: tuple[Expected, ...]) -> Iterator[Finding]:
    ports: dict[tuple[str, int], list[_Served]] = {}
    for way in ways:
        ports.setdefault((way.proto, way.port), []).append(_Served(way, *served_by(host, way)))
    for (proto, port), served in sorted(ports.items()):
        declared = [entry for entry in expected if (entry.proto, entry.port) == (proto, port)]
        bad = [item for item in served if _refusals(item, declared, host)]
        if bad:
            yield _undeclared(bad, declared, host)


def _judge_published(host: Host, reachable: set[tuple[str, int]], declared: set[tuple[str, int]]) -> Iterator[Finding]:
    """Ports that Docker publishes beyond loopback and only a firewall keeps in."""
    for container, binding, kind in beyond_loopback(bindings(host)):
        if (binding.proto, binding.port) in reachable | declared:
            continue
        severity = "medium" if host.filter is not None else PUBLISHED_SEVERITY[kind]
        state = "only the firewall keeps it in" if host.filter is not None else "the firewall could not be examined"
        yield finding(
            "published-port-blocked" if host.filter is not None else "published-port",
            severity,
            f"container {container.name} publishes {binding.host_ip}:{binding.port}/{binding.proto}; {state}.",
            f'Publish it on loopback ("127.0.0.1:{binding.port}:{binding.target}") and create the container again.',
            **_place(container, binding.host_ip, binding.port, binding.proto, "nat"),
        )


def _place(container: Any, host_ip: str, port: int, proto: str, path: str) -> dict[str, Any]:
    return {"container": container.name, "host_ip": host_ip, "port": port, "proto": proto, "path": path}


def _judge_latent(host: Host, declared: set[tuple[str, int]]) -> Iterator[Finding]:
    """Stopped containers that publish as soon as the engine starts them."""
    for container, binding, _kind in beyond_loopback(bindings(host, running=False)):
        if not container.starts_at_boot or (binding.proto, binding.port) in declared:
            continue
        yield finding(
            "latent-publish",
            "high",
            f"container {container.name} is stopped; its restart policy is {container.starts_at_boot}, and at boot "
            f"it would publish {binding.host_ip or '0.0.0.0'}:{binding.port or 'random'}/{binding.proto}.",
            "Remove the container, or create it again with its port on 127.0.0.1.",
            **_place(container, binding.host_ip or "0.0.0.0", binding.port, binding.proto, "latent"),
        )


def _judge_behind(host: Host, reachable: set[tuple[str, int]], declared: set[tuple[str, int]]) -> Iterator[Finding]:
    """Sockets that are open to all and reached by nobody: they depend on the firewall alone."""
    open_ports: dict[tuple[str, int], Any] = {}
    for item in host.listeners:
        if not item.address.is_loopback and not item.interface and not item.address.is_link_local:
            open_ports.setdefault((item.proto, item.port), item)
    for (proto, port), item in sorted(open_ports.items()):
        published = host.publisher(proto, port) is not None
        if (proto, port) in reachable | declared or published or host.filter is None:
            continue
        owner = host.owner(item.inode)
        yield finding(
            "listener-behind-firewall",
            "low",
            f"{port}/{proto} is not reachable, but {owner.text or 'a process'} listens on {item.address}: "
            "only the firewall keeps it in.",
            f"Bind it to 127.0.0.1, or {_DECLARE}.",
            **{"proto": proto, "port": port, "owner": owner.process, "host_ip": str(item.address), "path": "input"},
        )


def _judge_filter(host: Host) -> Iterator[Finding]:
    said = {"yes": " although ufw.conf says ENABLED=yes", "no": "; ufw.conf says ENABLED=no"}.get(host.ufw_enabled, "")
    for family, end in sorted(open_by_default(host).items()):
        fields: dict[str, Any] = {"path": "input", "host_ip": "0.0.0.0" if family == 4 else "::"}
        rules = "; ".join(text for text in end.passage.rules if text) or "no rule"
        if end.passage.opaque:
            yield unknown(
                "default-not-evaluated",
                f"IPv{family}: whether any port is open depends on a rule that could not be evaluated: {rules}.",
                "Look at the rules of the input hook.",
                **fields,
            )
        elif end.passage.limits:
            yield finding(
                "open-to-some",
                "medium",
                f"IPv{family}: every port is open {' and '.join(end.passage.limits)} ({rules}).",
                "Allow single ports instead.",
                **fields,
            )
        else:
            yield finding(
                "firewall-inactive",
                "critical",
                f"IPv{family}: the kernel lets a packet to any port in{said} ({rules}).",
                "Enable the firewall: ufw_policy with state enabled and incoming deny, IPv6 included.",
                **fields,
            )
    for name in host.route_localnet:
        yield finding(
            "route-localnet",
            "high",
            f"net.ipv4.conf.{name}.route_localnet is 1: neighbours reach what listens on 127.0.0.1.",
            f"sysctl -w net.ipv4.conf.{name}.route_localnet=0",
            host_ip="127.0.0.1",
            path="l2",
        )


def _judge_routing(host: Host) -> Iterator[Finding]:
    remedy = "Load the guard table (role hardening), or use Docker 28.3.3 or newer."
    names = routed_containers(host)
    if names:
        yield finding(
            "direct-routing",
            "high",
            f"neighbours reach containers by their own addresses, this host as router: {', '.join(names[:10])}.",
            remedy,
            path="l2",
        )
    loopback = routed_loopback(host)
    if loopback:
        yield finding(
            "loopback-publish-routed",
            "high",
            f"ports published on loopback answer to neighbours that send to 127.0.0.1: {', '.join(loopback[:10])}.",
            remedy,
            path="l2",
        )
    if host.engine is not None and not host.guarded and host.filter is not None:
        yield finding(
            "guard-missing",
            "medium",
            "the table inet daffathan_guard is not loaded: the next port published without an address is open.",
            "Run the role hardening, or: systemctl restart daffathan-guard",
            path="nat",
        )


def _judge_engine(host: Host) -> Iterator[Finding]:
    engine = host.engine
    if engine is None:
        return
    for container in engine.containers:
        fields: dict[str, Any] = {"container": container.name}
        for source in container.mounts:
            if reaches_engine_socket(source):
                yield finding(
                    "engine-socket-mounted",
                    "high",
                    f"container {container.name} mounts {source}: whoever takes it over is root on the host.",
                    "Remove the mount, or put a socket proxy that filters requests in between.",
                    **fields,
                )
        if container.host_network and (container.running or container.starts_at_boot):
            yield finding(
                "host-network",
                "medium",
                f"container {container.name} uses the network of the host: every port it opens is a port of the host.",
                "Use a bridge network and let the gateway reach the service.",
                **fields,
            )
        for name in container.networks:
            network = engine.networks.get(name)
            if network and network.driver in ("macvlan", "ipvlan") and container.running:
                yield finding(
                    "l2-network",
                    "critical",
                    f"container {container.name} is on the {network.driver} network {name}: it has an address of its "
                    "own, beside the firewall of the host.",
                    "Use a bridge network.",
                    path="l2",
                    **fields,
                )
    for network in engine.networks.values():
        weak = [mode for mode in network.gateway_modes if mode in ("nat-unprotected", "routed")]
        if weak or network.trusted:
            yield finding(
                "network-unprotected",
                "critical" if "nat-unprotected" in weak else "high",
                f"network {network.name}: {' '.join([*weak, network.trusted])} opens its containers to direct routing.",
                "Create the network again without gateway_mode and trusted_host_interfaces.",
                path="l2",
                service=network.name,
            )
    if engine.swarm:
        yield finding(
            "swarm-active",
            "medium",
            "the engine is part of a swarm: services publish on all addresses, whatever the default address is.",
            "docker swarm leave, if it is not used.",
            path="nat",
        )


def _judge_daemon(host: Host) -> Iterator[Finding]:
    daemon = host.daemon
    if daemon is None:
        return
    for address in daemon.hosts:
        if address.startswith("tcp://") and not daemon.tls_verify:
            yield finding(
                "engine-on-tcp",
                "critical",
                f"the engine listens on {clean(address)} without client certificates: whoever reaches it is root.",
                "Remove the address from `hosts` in daemon.json and from the command line of dockerd; use SSH instead.",
                owner="dockerd",
            )
    for key in daemon.off:
        yield finding(
            "engine-without-rules",
            "critical" if key == "iptables" else "high",
            f"{key} is false: Docker sets no packet filter rules, all ports of all containers can be routed to.",
            f"Remove {key} from daemon.json.",
            owner="dockerd",
        )
    if daemon.direct_routing:
        yield finding(
            "engine-direct-routing",
            "high",
            "allow-direct-routing is true: neighbours reach ports of containers past the address they are bound to.",
            "Remove allow-direct-routing from daemon.json.",
            owner="dockerd",
        )


def judge(host: Host, expected: Iterable[Expected]) -> Report:
    """The whole judgement of a host."""
    entries = tuple(expected)
    ways = ways_in(host)
    reached = {(way.proto, way.port) for way in ways}
    declared = {(entry.proto, entry.port) for entry in entries if not entry.expired(host.today)}
    findings = [*host.problems, *_judge_ways(host, ways, entries)]
    findings += [*_judge_published(host, reached, declared), *_judge_latent(host, declared)]
    findings += [*_judge_behind(host, reached, declared), *_judge_filter(host), *_judge_routing(host)]
    findings += [*_judge_engine(host), *_judge_daemon(host)]
    reachable = [
        {
            **{"proto": way.proto, "port": way.port, "family": _FAMILY[way.family], "path": way.path},
            "address": way.address,
            "why": way.why(served_by(host, way)[0].text),
            "limits": list(way.limits),
        }
        for way in ways
    ]
    return Report(ordered(findings), reachable)
