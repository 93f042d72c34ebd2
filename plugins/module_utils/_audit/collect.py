# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Read a host for the audit. What cannot be read becomes a finding of severity unknown; nothing is changed."""

from __future__ import annotations

import datetime
import os

from ansible_collections.daffathan.platform.plugins.module_utils._audit import (
    engine,
    interfaces,
    netlink,
    nftables,
    owners,
    rules,
    sockets,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.filter import Filter
from ansible_collections.daffathan.platform.plugins.module_utils._audit.iptables_rule import RuleError
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Address, Finding, clean, unknown
from ansible_collections.daffathan.platform.plugins.module_utils._audit.parallel import Task
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import Host
from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError

DAEMON_FILE = "/etc/docker/daemon.json"
_DOCKERD = ("/usr/sbin/dockerd", "/usr/bin/dockerd", "/usr/local/bin/dockerd", "/snap/bin/dockerd")
_ROOT = "Run the module as root (become: true)."


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read(1 << 20)
    except OSError:
        return ""


def _engine(path: str, timeout: float, problems: list[Finding]) -> engine.Engine | None:
    if not os.path.exists(path):
        installed = [binary for binary in _DOCKERD if os.path.exists(binary)]
        if installed:
            evidence = f"{installed[0]} is installed, but there is no socket {path}: containers could not be examined."
            remedy = "Start the engine (systemctl start docker), or name its socket with engine_socket."
            problems.append(unknown("engine-not-examined", evidence, remedy))
        return None
    try:
        return engine.read(path, timeout)
    except engine.EngineError as error:
        evidence = f"the engine behind {path} could not be examined: {error}."
        problems.append(unknown("engine-not-examined", evidence, f"See systemctl status docker. {_ROOT}"))
        return None


def _daemon(problems: list[Finding]) -> engine.Daemon | None:
    arguments: list[str] = []
    pid = _read("/run/docker.pid").strip()
    if pid.isdigit():
        arguments = [word for word in _read(f"/proc/{pid}/cmdline").split("\0") if word]
    try:
        with open(DAEMON_FILE, encoding="utf-8") as handle:
            text = handle.read()
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        problems.append(unknown("daemon-file-not-read", f"{DAEMON_FILE}: {error}.", _ROOT, file=DAEMON_FILE))
        return None
    try:
        return engine.parse_daemon(text, arguments)
    except engine.EngineError as error:
        remedy = "Correct the file; dockerd does not start with it."
        problems.append(unknown("daemon-file-not-read", f"{DAEMON_FILE}: {error}.", remedy, file=DAEMON_FILE))
        return None


def _ufw_enabled() -> str:
    for line in _read("/etc/ufw/ufw.conf").splitlines():
        key, dummy, value = line.partition("=")
        if key.strip() == "ENABLED":
            return clean(value.strip().strip("\"'").lower(), 8)
    return ""


def _setting(name: str) -> bool:
    return _read(f"/proc/sys/net/{name}").strip() == "1"


def host(engine_socket: str, timeout: float) -> Host:
    """Everything the judgement needs, in one pass; the engine and the tools are asked side by side."""
    problems: list[Finding] = []
    asked: list[Finding] = []
    running_task = Task(lambda: _engine(engine_socket, timeout, asked))
    rules_task = Task(rules.read)
    try:
        owned = interfaces.addresses()
        links = interfaces.links()
        found = sockets.listeners()
    except (sockets.SocketError, netlink.NetlinkError, OSError, ValueError) as error:
        problems.append(unknown("sockets-not-examined", f"the sockets could not be read: {error}.", _ROOT))
        links, found, owned = [], [], {}
    daemon = _daemon(problems)
    routes = interfaces.routes()
    running = running_task.result()
    problems += asked
    entrances = interfaces.external(links, owned, running.bridges if running else frozenset())
    outside = {interface.name for interface in entrances}
    everywhere = frozenset(address for group in owned.values() for address in group)

    def inner(address: Address) -> bool:
        name = routes.interface(address)
        return address.is_loopback or bool(name and name not in outside)

    packet_filter: Filter | None = None
    try:
        tables = rules.tables(rules_task.result(), inner)
        packet_filter = Filter(tables, routes.interface, lambda address: address.is_loopback or address in everywhere)
    except (CommandError, RuleError, nftables.RuleSetError) as error:
        remedy = f"Install iptables and nftables. {_ROOT}"
        problems.append(unknown("rules-not-examined", f"the packet filter could not be read: {error}.", remedy))
    groups = {item.inode: item.group for item in found if not item.address.is_loopback}
    return Host(
        interfaces=entrances,
        listeners=found,
        filter=packet_filter,
        owner=owners.Owners(groups).of,
        today=datetime.datetime.now(datetime.timezone.utc).date(),
        engine=running,
        daemon=daemon,
        ufw_enabled=_ufw_enabled(),
        forwarding={4: _setting("ipv4/ip_forward"), 6: _setting("ipv6/conf/all/forwarding")},
        route_localnet=tuple(name for name in sorted(outside) if _setting(f"ipv4/conf/{name}/route_localnet")),
        problems=problems,
    )
