# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Read a host for the audit. What cannot be read becomes a finding of severity unknown; nothing is changed."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from ansible_collections.daffathan.platform.plugins.module_utils._audit import (
    collect_engines,
    interfaces,
    namespaces,
    netlink,
    nftables,
    owners,
    processes,
    routes,
    rules,
    sctp,
    sockets,
    ufw,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import Container, Engine
from ansible_collections.daffathan.platform.plugins.module_utils._audit.filter import Filter
from ansible_collections.daffathan.platform.plugins.module_utils._audit.iptables_rule import RuleError
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    ROOT,
    Address,
    Finding,
    unknown,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Table
from ansible_collections.daffathan.platform.plugins.module_utils._audit.parallel import Task
from ansible_collections.daffathan.platform.plugins.module_utils._audit.processes import Process
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import Host
from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read(1 << 20)
    except OSError:
        return ""


def _setting(name: str) -> bool:
    return _read(f"/proc/sys/net/{name}").strip() == "1"


class _Spaces:
    """The network namespaces beside the host's own: one process enters many, when no other thread runs."""

    def __init__(self, running: Engine | None, table: Sequence[Process]) -> None:
        # What a rootless engine says of process ids is the word of a user.
        containers = [item for item in (running.containers if running else []) if item.pid and not item.rootless]
        self._paths = {item.id: namespaces.of_process(item.pid) for item in containers}
        owners_of = namespaces.foreign(table)
        self._seen = namespaces.look([*self._paths.values(), *owners_of])
        self.foreign = [
            namespaces.Foreign(owner, self._seen[path]) for path, owner in owners_of.items() if path in self._seen
        ]
        self._table: Sequence[Process] = table

    def inside(self, container: Container) -> namespaces.Namespace | None:
        if container.id not in self._paths and self._table and not container.rootless:
            # Most audits never ask: what no packet gets to needs no look.
            rest = {**namespaces.of_containers(self._table), **self._paths}
            self._seen.update(namespaces.look([path for path in rest.values() if path not in self._seen]))
            self._paths, self._table = rest, ()
        return self._seen.get(self._paths.get(container.id, ""))


def _route_localnet(names: set[str]) -> tuple[str, ...]:
    """The interfaces by which packets to loopback are let in; set for all of them, it counts for each."""
    everywhere = _setting("ipv4/conf/all/route_localnet")
    return tuple(name for name in sorted(names) if everywhere or _setting(f"ipv4/conf/{name}/route_localnet"))


def not_evaluated(
    links: list[interfaces.Link], entrances: list[interfaces.Interface], tables: list[Table]
) -> Iterator[Finding]:
    """Ways of packets beside those that are followed."""
    apart = interfaces.routed_apart(links)
    if apart:
        yield unknown(
            "vrf-not-evaluated",
            f"what becomes of packets that come in by a part of a VRF is not evaluated: {', '.join(apart)}.",
            "Look at ip route show vrf NAME and ss -tuln for these interfaces.",
        )
    bridges = {link.name for link in links if link.kind == "bridge"} & {item.name for item in entrances}
    names = [table.name for table in tables if table.name.startswith("bridge ") and table.filters]
    if bridges and names:
        yield unknown(
            "bridge-rules-not-evaluated",
            f"rules of a bridge are not evaluated, and packets come in by one ({', '.join(sorted(bridges))}): "
            f"{', '.join(names)}.",
            "Look at nft list tables bridge.",
        )


def host(engine_socket: str, timeout: float) -> Host:
    """Everything the judgement needs, in one pass; the engine and the tools are asked side by side."""
    problems: list[Finding] = []
    asked: list[Finding] = []
    rules_task = Task(rules.read)
    table = processes.scan()
    engines_task = Task(lambda: collect_engines.look(engine_socket, timeout, table, asked))
    try:
        owned = interfaces.addresses()
        links = interfaces.links()
        ways = routes.read({link.index: link.name for link in links})
        found = sockets.listeners() + sctp.listeners()
    except (sockets.SocketError, netlink.NetlinkError, OSError, ValueError) as error:
        problems.append(unknown("sockets-not-examined", f"the sockets could not be read: {error}.", ROOT))
        links, found, owned, ways = [], [], {}, routes.Routes()
    ufw_files = ufw.read(problems)
    running, daemon = engines_task.result()
    problems += asked
    entrances = interfaces.external(links, owned, running.bridges if running else frozenset())
    outside = {interface.name for interface in entrances}
    everywhere = frozenset(address for group in owned.values() for address in group)

    def inner(address: Address) -> bool:
        name = ways.interface(address)
        return address.is_loopback or bool(name and name not in outside)

    own = {address for entrance in entrances for address in entrance.addresses}
    packet_filter: Filter | None = None
    try:
        tables = rules.tables(rules_task.result(), inner)
        packet_filter = Filter(
            tables, ways.interface, lambda address: address.is_loopback or address in everywhere, ways.others
        )
        problems += not_evaluated(links, entrances, tables)
    except (CommandError, RuleError, nftables.RuleSetError) as error:
        remedy = f"Install iptables and nftables. {ROOT}"
        problems.append(unknown("rules-not-examined", f"the packet filter could not be read: {error}.", remedy))
    spaces = _Spaces(running, table)
    groups = {item.inode: item.group for item in found if not item.address.is_loopback}
    return Host(
        interfaces=entrances,
        listeners=found,
        filter=packet_filter,
        owner=owners.Owners(groups).of,
        today=datetime.datetime.now(datetime.timezone.utc).date(),
        engine=running,
        daemon=daemon,
        forwarding={4: _setting("ipv4/ip_forward"), 6: _setting("ipv6/conf/all/forwarding")},
        route_localnet=_route_localnet(outside),
        inner_addresses=tuple(
            a for a in sorted(everywhere - own, key=str) if not a.is_loopback and not a.is_link_local
        ),
        problems=problems,
        inside=spaces.inside,
        foreign=spaces.foreign,
        ufw=ufw_files,
    )
