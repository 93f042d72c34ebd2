# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Judge the packet filter as a whole: its default, what lies beside UFW, and what the next start makes of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit import ufw
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    Finding,
    finding,
    parse_address,
    unknown,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Packet, Rule, Table
from ansible_collections.daffathan.platform.plugins.module_utils._audit.reach import (
    Host,
    Way,
    open_by_default,
)
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import tuples

ANY = {4: "0.0.0.0", 6: "::"}
_ELSEWHERE = {4: "203.0.113.1", 6: "2001:db8::1"}
_NAMED_PORTS = re.compile(r"--dports? ([\d,:]+)")
_UFW_DOCKER = "BEGIN UFW AND DOCKER"
_PRIVATE_RETURN = re.compile(
    r"-A DOCKER-USER\b.* -s (10\.0\.0\.0/8|172\.16\.0\.0/12|192\.168\.0\.0/16)\b.* -j (RETURN|ACCEPT)"
)


def judge_default(host: Host) -> Iterator[Finding]:
    """What becomes of a packet to any port."""
    said = {"yes": " although ufw.conf says ENABLED=yes", "no": "; ufw.conf says ENABLED=no"}.get(host.ufw_enabled, "")
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


def _iptables(host: Host, kind: str) -> Iterator[tuple[int, Table]]:
    """The tables of iptables of one kind, with their family."""
    for table in host.filter.tables if host.filter else []:
        if table.name in (f"iptables {kind}", f"ip6tables {kind}"):
            yield table.families[0], table


def _texts(table: Table, chain: str) -> list[str]:
    return [rule.text for rule in table.chains[chain].rules] if chain in table.chains else []


def _ufw_at_work(host: Host) -> bool:
    return any(
        "-j ufw-before-input" in text for _f, table in _iptables(host, "filter") for text in _texts(table, "INPUT")
    )


def judge_ufw(host: Host, ways: Iterable[Way], declared: set[tuple[str, int]]) -> Iterator[Finding]:
    """UFW's files against the kernel, and against what is declared."""
    if host.ufw is None or host.filter is None:
        return
    policy, at_work = host.ufw.policy, _ufw_at_work(host)
    if at_work and not policy.enabled:
        yield finding(
            "firewall-not-at-boot",
            "high",
            "UFW's rules are in the kernel, but ufw.conf says ENABLED=no: after the next boot there is no firewall.",
            "Run ufw_policy with state enabled, or: ufw enable",
            file="/etc/ufw/ufw.conf",
        )
    elif (policy.enabled or at_work) and host.ufw.unit != "enabled":
        yield finding(
            "firewall-not-at-boot",
            "high",
            f"ufw.service is {host.ufw.unit}: after the next boot there is no firewall.",
            "systemctl unmask ufw && systemctl enable ufw",
            owner="ufw.service",
        )
    if policy.enabled:
        yield from _differs(host, ways)
        yield from _stale(host, ways, declared)
        yield from _stale_routes(host)


def _differs(host: Host, ways: Iterable[Way]) -> Iterator[Finding]:
    """Ports that the files close and the kernel lets in."""
    anyway = open_by_default(host)
    seen = set()
    for way in ways:
        if way.path != "input" or way.limits or way.opaque or way.family in anyway or host.ufw is None:
            continue
        key = (way.family, way.proto, way.port)
        if key in seen or not ufw.denies(host.ufw.policy, *key):
            continue
        seen.add(key)
        yield finding(
            "firewall-differs",
            "high",
            f"UFW's files let nobody in to {way.port}/{way.proto} over IPv{way.family}, the kernel does: "
            f"{'; '.join(text for text in way.rules if text) or 'no rule'}.",
            "Remove the rule that is not UFW's, or load UFW's rules again with ufw_policy.",
            **{
                "proto": way.proto,
                "port": way.port,
                "host_ip": ANY[way.family],
                "path": "input",
            },
        )


def _stale(host: Host, ways: Iterable[Way], declared: set[tuple[str, int]]) -> Iterator[Finding]:
    """Rules for ports on which nobody listens and that nobody declared."""
    if host.ufw is None:
        return
    used = {(item.proto, item.port) for item in host.listeners} | {(way.proto, way.port) for way in ways} | declared
    for rule, ports in ufw.openings(host.ufw.policy):
        if any(proto == wanted and port in part for wanted, part in ports for proto, port in used):
            continue
        proto, part = ports[0]
        yield finding(
            "undeclared-rule",
            "medium",
            f"`ufw {tuples.command(rule)}` opens a port that is not declared and on which nothing listens: whatever "
            "takes it is open at once.",
            f"ufw delete {tuples.command(rule).partition(' comment ')[0]}, or declare it in the expected ports.",
            **{"proto": proto, "port": part[0], "path": "input"},
        )


def _stale_routes(host: Host) -> Iterator[Finding]:
    """Forwarding rules for the address of a container that is gone: the next one gets the address, and the rule."""
    if host.ufw is None or host.engine is None or host.filter is None:
        return
    bridges = host.engine.bridges
    for rule in (*host.ufw.policy.rules4, *host.ufw.policy.rules6):
        address = parse_address(rule.dst.partition("/")[0]) if rule.route and rule.action == "allow" else None
        if address is None or address.is_unspecified or host.container_at(address) is not None:
            continue
        if host.filter.route(address) in bridges:
            yield finding(
                "stale-route-rule",
                "medium",
                f"`ufw {tuples.command(rule)}` forwards to {address}, where there is no container: it opens whichever "
                "gets that address next.",
                f"ufw delete {tuples.command(rule).partition(' comment ')[0]}",
                **{"path": "nat", "service": str(address)},
            )


def _accepts(host: Host, rules: Iterable[Rule], family: int, destination: str) -> list[tuple[str, bool]]:
    """Rules that accept a new packet from outside by themselves, and whether they do it for every source."""
    address = parse_address(destination)
    found: list[tuple[str, bool]] = []
    if address is None or host.filter is None:
        return found
    local = host.filter.local(address)
    out = "" if local else host.filter.route(address)
    for rule in rules:
        named = [int(port) for port in re.findall(r"\d+", " ".join(_NAMED_PORTS.findall(rule.text)))]
        answers = [
            [match(Packet(family, interface.name, address, proto, port, port, local, out)) for match in rule.matches]
            for interface in host.interfaces
            for proto in ("tcp", "udp")
            for port in named or [1]
        ]
        possible = [answer for answer in answers if False not in answer]
        if rule.verdict.kind == "accept" and possible:
            found.append((rule.text, any(all(match is True for match in answer) for answer in possible)))
    return found


def judge_beside_ufw(host: Host) -> Iterator[Finding]:
    """What else decides in the packet filter: rules before UFW's, a second backend, Docker's own chain, forwarding."""
    if host.filter is None:
        return
    for family, table in _iptables(host, "filter"):
        yield from _before_ufw(host, family, table)
        yield from _docker_user(host, family, table)
        yield from _forwarding(host, family, table)
    yield from _duplicates(host)
    yield from _backends(host)
    yield from _patches(host)


def _own(host: Host, family: int) -> str:
    addresses = [address for item in host.interfaces for address in item.addresses if address.version == family]
    return str(addresses[0]) if addresses else _ELSEWHERE[family]


def _before_ufw(host: Host, family: int, table: Table) -> Iterator[Finding]:
    """Packets that such a rule accepts never come to UFW."""
    texts = _texts(table, "INPUT")
    first = next((index for index, text in enumerate(texts) if "-j ufw-before-input" in text), 0)
    rules = table.chains["INPUT"].rules[:first] if first else []
    for text, everybody in _accepts(host, rules, family, _own(host, family)):
        yield finding(
            "accept-before-ufw",
            "high" if everybody else "medium",
            f"IPv{family}: a rule that is not UFW's accepts packets before UFW's rules: {text}.",
            "Remove the rule and allow the port with ufw_policy.",
            **{"path": "input", "host_ip": ANY[family], "service": text},
        )


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
    for text, everybody in _accepts(host, chain.rules, family, _ELSEWHERE[family]):
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
    for family, table in _iptables(host, "nat"):
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


def _patches(host: Host) -> Iterator[Finding]:
    for path, text in (host.ufw.static if host.ufw else {}).items():
        sections = len(re.findall(r"^\*nat\b", text, re.MULTILINE))
        if _UFW_DOCKER in text:
            yield finding(
                "ufw-docker-rules",
                "low" if host.guarded else "medium",
                f"{path} holds the block of ufw-docker: it lets every private address pass, and knows containers by "
                "addresses that change.",
                "Run the role hardening and remove the block.",
                file=path,
            )
        if sections > 1:
            yield finding(
                "duplicate-nat-rules",
                "medium",
                f"{path} has {sections} sections *nat; each adds its rules again.",
                "Leave one section, and flush its chains at the top.",
                file=path,
                path="nat",
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
