# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Judge the packet filter as a whole: its default, the tables of others, and namespaces that it is not for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    Finding,
    finding,
    unknown,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Table
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import (
    Host,
    open_by_default,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.written_rules import (
    ANY,
    accepts,
    iptables,
)

_ELSEWHERE = {4: "203.0.113.1", 6: "2001:db8::1"}
_PRIVATE_RETURN = re.compile(
    r"-A DOCKER-USER\b.* -s (10\.0\.0\.0/8|172\.16\.0\.0/12|192\.168\.0\.0/16)\b.* -j (RETURN|ACCEPT)"
)


def judge_default(host: Host) -> Iterator[Finding]:
    """What becomes of a packet to any port."""
    said = ""
    if host.ufw is not None:
        said = " although ufw.conf says ENABLED=yes" if host.ufw.policy.enabled else "; ufw.conf says ENABLED=no"
    for family, end in sorted(open_by_default(host).items()):
        fields: dict[str, Any] = {"path": "input", "host_ip": ANY[family]}
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
            off = "; /etc/default/ufw says IPV6=no" if family == 6 and host.ufw and not host.ufw.policy.ipv6 else ""
            yield finding(
                "firewall-inactive",
                "critical",
                f"IPv{family}: the kernel lets a packet to any port in{said}{off} ({rules}).",
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


def judge_tables(host: Host) -> Iterator[Finding]:
    """What else decides in the packet filter: Docker's own chain, forwarding, a second backend."""
    if host.filter is None:
        return
    for family, table in iptables(host, "filter"):
        yield from _docker_user(host, family, table)
        yield from _forwarding(host, family, table)
    yield from _duplicates(host)
    yield from _backends(host)


def _docker_user(host: Host, family: int, table: Table) -> Iterator[Finding]:
    chain = table.chains.get("DOCKER-USER")
    if chain is None or not chain.rules:
        return
    drops = [rule.text for rule in chain.rules if re.search(r"-j (DROP|REJECT|ufw-)", rule.text)]
    engine = host.engine
    if engine is not None and engine.backend == "nftables" and drops:
        yield finding(
            "docker-user-ignored",
            "medium" if host.guarded else "high",
            f"IPv{family}: DOCKER-USER has rules that close ports, but the engine uses its nftables backend: after the "
            "next boot they are gone.",
            "Run the role hardening: its guard table does not depend on Docker's backend.",
            path="nat",
            host_ip=ANY[family],
        )
    for text, everybody in accepts(host, chain.rules, family, _ELSEWHERE[family]):
        yield finding(
            "docker-user-accepts",
            "low" if host.guarded else "high" if everybody else "medium",
            f"IPv{family}: a rule in DOCKER-USER accepts what Docker would have examined: {text}.",
            "Remove the rule.",
            **{"path": "nat", "host_ip": ANY[family], "service": text},
        )
    private = [rule.text for rule in chain.rules if _PRIVATE_RETURN.search(rule.text)]
    if private:
        yield finding(
            "docker-user-private",
            "low" if host.guarded else "medium",
            f"IPv{family}: DOCKER-USER lets every private address pass, neighbours on a provider's network too: "
            f"{private[0]}.",
            "Run the role hardening and remove these rules.",
            path="nat",
            host_ip=ANY[family],
        )


def _forwarding(host: Host, family: int, table: Table) -> Iterator[Finding]:
    chain = table.chains.get("FORWARD")
    addressed = any(address.version == family for item in host.interfaces for address in item.addresses)
    if chain is None or chain.policy != "accept" or not addressed or not host.forwarding.get(family, True):
        return
    yield finding(
        "forward-policy-accept",
        "low" if host.guarded else "medium",
        f"IPv{family}: the kernel forwards, and the policy of FORWARD is ACCEPT: what no rule drops is routed through "
        "this host.",
        "Run ufw_policy with routed: deny, and the role hardening.",
        path="l2",
        host_ip=ANY[family],
    )


def _duplicates(host: Host) -> Iterator[Finding]:
    """`ufw reload` appends a *nat section without flush once more each time."""
    for family, table in iptables(host, "nat"):
        for name, chain in table.chains.items():
            twice = [text for text, count in Counter(rule.text for rule in chain.rules).items() if count > 1]
            if twice and not name.startswith(("DOCKER", "KUBE", "CNI", "NETAVARK")):
                yield finding(
                    "duplicate-nat-rules",
                    "medium",
                    f"IPv{family}: nat {name} has the same rule more than once: {twice[0]}. A section *nat in "
                    "/etc/ufw/*.rules that is not flushed first grows with every reload.",
                    "Flush the chain at the top of the section (-F), or manage the rule elsewhere.",
                    **{"path": "nat", "service": name, "host_ip": ANY[family]},
                )


def _backends(host: Host) -> Iterator[Finding]:
    tables = host.filter.tables if host.filter else []

    def filled(legacy: bool) -> list[str]:
        wanted = ("iptables-legacy ", "ip6tables-legacy ") if legacy else ("iptables ", "ip6tables ")
        return [
            table.name
            for table in tables
            if table.name.startswith(wanted)
            and any(chain.rules or (chain.hook and chain.policy == "drop") for chain in table.chains.values())
        ]

    old, new = filled(True), filled(False)
    if old and new:
        yield finding(
            "two-backends",
            "medium",
            f"rules of both backends of iptables are in the kernel: {', '.join([*new, *old][:6])}. Both "
            "are asked; what one tool shows is half of it.",
            "Remove those of iptables-legacy (iptables-legacy -F), and keep to one with update-alternatives.",
            path="input",
        )


def judge_foreign(host: Host) -> Iterator[Finding]:
    """Network namespaces that no known engine speaks for: the filter of the host is not theirs."""
    for item in host.foreign:
        ports = sorted({f"{socket.port}/{socket.proto}" for socket in item.space.open})
        if ports:
            yield finding(
                "namespace-listener",
                "low",
                f"{item.owner} listens in a network namespace of its own, at "
                f"{', '.join(str(address) for address in item.space.addresses if not address.is_loopback)}: "
                f"{', '.join(ports[:10])}. The packet filter in there was not examined.",
                "Nothing, if it is meant to; else stop it.",
                owner=item.owner.partition(" ")[0],
                path="l2",
            )
