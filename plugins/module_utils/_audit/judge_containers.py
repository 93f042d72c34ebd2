# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Judge containers: those that stand beside the firewall, and those that hold the engine's socket."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.composemounts import reaches_engine_socket
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import Container, Engine
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge_ports import DECLARE
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    L2_DRIVERS,
    Expected,
    Finding,
    clean,
    finding,
    host_ip_class,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.namespaces import Namespace
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import Host


def judge_mounts(engine: Engine) -> Iterator[Finding]:
    """Who takes over a container with the engine's socket is root on the host."""
    for container in engine.containers:
        for source in container.mounts:
            fields: dict[str, Any] = {"container": container.name}
            if reaches_engine_socket(source):
                served = [b for b in container.bindings if host_ip_class(b.host_ip) != "loopback"]
                also = f" It publishes {served[0].host_ip}:{served[0].text}/{served[0].proto}." if served else ""
                yield finding(
                    "engine-socket-mounted",
                    "critical" if served else "high",
                    f"container {container.name} mounts {source}: whoever takes it over is root on the host.{also}",
                    "Remove the mount, or put a socket proxy that filters requests in between.",
                    **fields,
                )
            elif source == "/proc" or source.startswith("/proc/"):
                yield finding(
                    "host-proc-mounted",
                    "medium",
                    f"container {container.name} mounts {source}: /proc/1/root in it is one step from all files.",
                    "Mount the single file that is needed, read-only.",
                    **fields,
                )


def on_l2_network(host: Host, container: Container) -> list[str]:
    """Networks that give a container an address of its own on the host's link."""
    networks = host.engine.networks if host.engine else {}
    return [name for name in container.networks if name in networks and networks[name].driver in L2_DRIVERS]


def _answers(space: Namespace) -> list[tuple[str, int, str]]:
    """Protocol, port and address of all that a neighbour of the namespace reaches there."""
    found = set()
    for item in space.listeners:
        for address in space.addresses:
            if not address.is_loopback and not address.is_link_local and item.accepts(address, item.interface):
                found.add((item.proto, item.port, str(address)))
    return sorted(found)


def beside_the_firewall(host: Host) -> list[dict[str, Any]]:
    """What answers at addresses of macvlan and ipvlan networks, in the form of the result `reachable`."""
    found = []
    for container in host.engine.containers if host.engine else []:
        networks = on_l2_network(host, container) if container.running else []
        space = host.inside(container) if networks else None
        for proto, port, address in _answers(space) if space else []:
            family = "ipv6" if ":" in address else "ipv4"
            why = clean(f"container {container.name} listens on the network {networks[0]}")
            entry = {"proto": proto, "port": port, "family": family, "path": "l2", "address": address}
            found.append({**entry, "why": why, "limits": []})
    return found


def _judge_l2(
    host: Host, container: Container, name: str, driver: str, expected: Sequence[Expected]
) -> Iterator[Finding]:
    fields: dict[str, Any] = {"container": container.name, "path": "l2"}
    space = host.inside(container) if container.running else None
    seen = space is not None
    yield finding(
        "l2-network",
        "medium" if seen else "critical" if container.running else "high",
        f"container {container.name} is on the {driver} network {name}: it has an address of its own, beside the "
        f"firewall of the host{'' if container.running else ', as soon as it is started'}"
        f"{'' if seen or not container.running else '; what it listens on could not be seen'}.",
        "Use a bridge network.",
        service=name,
        **fields,
    )
    for proto, port, address in _answers(space) if space else []:
        declared = [entry for entry in expected if (entry.proto, entry.port) == (proto, port)]
        # On an address of its own only a declaration that names the container means this one.
        if any(entry.container == container.name and not entry.expired(host.today) for entry in declared):
            continue
        yield finding(
            "l2-listener",
            "critical",
            f"{port}/{proto} at {address} is container {container.name} on the {driver} network {name}: no firewall of "
            "the host is in its way; not declared for this container.",
            f"Use a bridge network, or {DECLARE} and container: {container.name}.",
            **{**fields, "proto": proto, "port": port, "host_ip": address},
        )


def judge_containers(host: Host, expected: Sequence[Expected]) -> Iterator[Finding]:
    """The containers of all engines."""
    engine = host.engine
    if engine is None:
        return
    yield from judge_mounts(engine)
    for container in engine.containers:
        if container.host_network and (container.running or container.starts_at_boot):
            yield finding(
                "host-network",
                "medium",
                f"container {container.name} uses the network of the host: every port it opens is a port of the host.",
                "Use a bridge network and let the gateway reach the service.",
                container=container.name,
            )
        for name in on_l2_network(host, container):
            # One that shares the namespace of another is judged there.
            if (container.running or container.starts_at_boot) and not container.joined:
                yield from _judge_l2(host, container, name, engine.networks[name].driver, expected)
