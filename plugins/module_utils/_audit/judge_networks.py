# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Judge networks of engines: what goes around the packet filter, and what the next published port would do."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.daffathan.platform.plugins.module_utils._audit.daemon import NO_RAW
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import Engine, Network
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Finding, finding, host_ip_class
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import (
    Host,
    routed_containers,
    routed_loopback,
)

_SHOWN = 10


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def judge_routing(host: Host) -> Iterator[Finding]:
    """What neighbours on the same link reach by routing, whatever the engine's version promises."""
    remedy = "Load the guard table (role hardening), or use Docker 28.3.3 or newer."
    names = routed_containers(host)
    if names:
        yield finding(
            "direct-routing",
            "high",
            f"neighbours reach containers by their own addresses, this host as router: {listed(names)}.",
            remedy,
            path="l2",
        )
    loopback = routed_loopback(host)
    if loopback:
        yield finding(
            "loopback-publish-routed",
            "high",
            f"ports published on loopback answer to neighbours that send to 127.0.0.1: {listed(loopback)}.",
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
    if host.engine is not None and any(NO_RAW in text for text in host.engine.warnings):
        closed = host.guarded and not names and not loopback
        yield finding(
            "engine-without-raw-rules",
            "medium" if closed else "critical",
            f"the engine was started with {NO_RAW}: nothing of Docker keeps neighbours from ports on loopback"
            f"{'; only the guard table does' if closed else ''}.",
            f"Remove {NO_RAW} from the environment of docker.service and restart it.",
            path="l2",
            owner="dockerd",
        )


def _unprotected(network: Network) -> Iterator[Finding]:
    weak = [mode for mode in network.gateway_modes if mode in ("nat-unprotected", "routed")]
    if weak or network.trusted:
        yield finding(
            "network-unprotected",
            "critical" if "nat-unprotected" in weak else "high",
            f"network {network.name}: {' '.join([*weak, network.trusted]).strip()} opens its containers to neighbours.",
            "Create the network again without gateway_mode and trusted_host_interfaces.",
            path="l2",
            service=network.name,
        )


def _public_by_default(host: Host, engine: Engine) -> Iterator[Finding]:
    """Networks on which a port published without an address is open to all."""
    open_ones = sorted(
        name
        for name, network in engine.networks.items()
        if network.publishes and host_ip_class(network.host_binding) != "loopback"
    )
    running = [item for item in host.daemon.configurations if item.running] if host.daemon else []
    options = [host_ip_class(item.default_bindings[1]) for item in running]
    older = "loopback" in options and any(name != "bridge" for name in open_ones)
    if any(kind != "loopback" for kind in options):
        open_ones.append("every network made from now on")
    if not open_ones:
        return
    yield finding(
        "publish-default-public",
        "low" if host.guarded else "medium",
        f"a port published without an address is open to all on: {listed(open_ones)}"
        f"{'; networks older than default-network-opts keep their own default' if older else ''}.",
        'Set "ip": "127.0.0.1" and default-network-opts in daemon.json (role docker), restart the engine, and create '
        "the networks again.",
        path="latent",
        owner="dockerd",
    )


def judge_networks(host: Host) -> Iterator[Finding]:
    """The networks of all engines, and a swarm."""
    engine = host.engine
    if engine is None:
        return
    for network in engine.networks.values():
        yield from _unprotected(network)
    yield from _public_by_default(host, engine)
    if engine.swarm:
        yield finding(
            "swarm-active",
            "medium",
            "the engine is part of a swarm: services publish on all addresses, whatever the default address is"
            f"{'.' if engine.manager else '; this node does not tell which, ask a manager.'}",
            "docker swarm leave, if it is not used.",
            path="nat",
        )
