# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Judge how dockerd is set up, now and after its next start."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ansible_collections.daffathan.platform.plugins.module_utils._audit.daemon import (
    NO_RAW,
    Configuration,
    Daemon,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Finding, finding, host_ip_class
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import Host, routed_loopback


def _when(daemon: Daemon, holds: Callable[[Configuration], bool]) -> str:
    """By what, and when, something is set; empty where it is not."""
    found, now = daemon.where(holds)
    if not found:
        return ""
    sources = ", ".join(dict.fromkeys(item.source for item in found))
    return f"{sources}{'' if now else ', after the next start'}"


def _unverified(address: str) -> Callable[[Configuration], bool]:
    return lambda item: address in item.hosts and not item.on("tlsverify", False)


def _off(name: str) -> Callable[[Configuration], bool]:
    return lambda item: not item.on(name, True)


def _open_to(address: str) -> str:
    """The class of an address the API listens on; docker's own default for one without a host is loopback."""
    host = address[len("tcp://") :].rpartition(":")[0] if ":" in address[len("tcp://") :] else address[len("tcp://") :]
    return "loopback" if host in ("", "localhost") else host_ip_class(host)


def _judge_hosts(daemon: Daemon) -> Iterator[Finding]:
    addresses = dict.fromkeys(text for item in daemon.configurations for text in item.hosts)
    for address in addresses:
        if not address.startswith("tcp://"):
            continue
        when = _when(daemon, _unverified(address))
        if not when:
            continue
        local = _open_to(address) == "loopback"
        yield finding(
            "engine-on-tcp",
            "high" if local else "critical",
            f"the engine listens on {address} without client certificates ({when}): whoever reaches it is root"
            f"{', every process of this host included' if local else ''}.",
            "Remove the address from `hosts` in daemon.json, from the command line of dockerd and from docker.socket; "
            "use SSH instead.",
            owner="dockerd",
            service=address,
        )


def judge_daemon(host: Host) -> Iterator[Finding]:
    """Settings that open what the packet filter seems to close."""
    daemon = host.daemon
    if daemon is None:
        return
    yield from _judge_hosts(daemon)
    for key, severity in (("iptables", "critical"), ("ip6tables", "high")):
        when = _when(daemon, _off(key))
        if when:
            yield finding(
                "engine-without-rules",
                severity,
                f"{key} is false ({when}): Docker sets no packet filter rules, all ports of all containers can be "
                "routed to.",
                f"Remove {key} from daemon.json and from the command line of dockerd.",
                owner="dockerd",
                service=key,
            )
    when = _when(daemon, lambda item: item.on("allow-direct-routing", False))
    if when:
        yield finding(
            "engine-direct-routing",
            "high",
            f"allow-direct-routing is true ({when}): neighbours reach ports of containers past the address they are "
            "bound to.",
            "Remove allow-direct-routing from daemon.json and from the command line of dockerd.",
            owner="dockerd",
        )
    when = _when(daemon, _off("userland-proxy"))
    if when:
        routed = bool(routed_loopback(host))
        yield finding(
            "userland-proxy-off",
            "high" if routed else "low",
            f"userland-proxy is false ({when}): ports on loopback are served by translation"
            f"{', and neighbours reach them so' if routed else ''}.",
            "Remove userland-proxy from daemon.json, or use Docker 28.3.3 or newer.",
            owner="dockerd",
        )
    when = _when(daemon, lambda item: item.on("no-raw", False))
    if when:
        yield finding(
            "engine-without-raw-rules",
            "medium" if host.guarded else "critical",
            f"{NO_RAW} is set ({when}): nothing of Docker keeps neighbours from ports on loopback.",
            f"Remove {NO_RAW} from the environment of docker.service and restart it.",
            path="l2",
            owner="dockerd",
        )
    if daemon.newer:
        yield finding(
            "daemon-file-newer",
            "low",
            f"{daemon.newer} was changed after dockerd was started: what it says may not be what runs.",
            "systemctl restart docker, in a maintenance window.",
            file=daemon.newer,
        )
