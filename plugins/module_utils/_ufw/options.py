# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The wanted firewall, from the options of the module. What UFW would refuse or silently change is refused here."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._ufw import purge, tuples
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import (
    ANYWHERE,
    IPV4_PROTOCOLS,
    PORTLESS_PROTOCOLS,
    InputError,
    Policy,
    Rule,
    network,
)

Profiles = Mapping[str, Sequence[tuple[str, str]]]
# netfilter's multiport match takes 15 ports; a range counts as two.
MULTIPORT_LIMIT = 15
_INTERFACE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.@+-]{1,15}")
_LOGS = {"none": "", "new": "log", "all": "log-all"}
_NARROWING = ("port", "from_port", "from", "to", "app", "from_app", "interface_in", "interface_out")


def parse_rules(options: Mapping[str, Any], profiles: Profiles) -> dict[Rule, str]:
    """The declared rules in order, with the entry that each comes from."""
    rules: dict[Rule, str] = {}
    seen: dict[Rule, str] = {}
    for index, entry in enumerate(options["rules"]):
        where = f"rules[{index}]"
        found = parse_rule(entry, where, profiles)
        if not options["ipv6"]:
            found = _only_ipv4(found, where)
        _refuse_duplicates(found, where, seen)
        if options["tag"]:
            found = [replace(rule, comment=purge.mark(rule.comment, options["tag"], where)) for rule in found]
        rules.update(dict.fromkeys(found, where))
    return rules


def parse_policy(options: Mapping[str, Any], rules: Iterable[Rule]) -> Policy:
    """The policy that the options of ufw_policy describe, with the rules that parse_rules found in them."""
    rules = list(rules)
    defaults = options["defaults"]
    return Policy(
        enabled=options["state"] == "enabled",
        incoming=defaults["incoming"],
        outgoing=defaults["outgoing"],
        routed=defaults["routed"],
        logging=options["logging"],
        rules4=tuple(rule for rule in rules if rule.family == 4),
        rules6=tuple(rule for rule in rules if rule.family == 6),
        ipv6=options["ipv6"],
    )


def parse_rule(entry: Mapping[str, Any], where: str, profiles: Profiles) -> list[Rule]:
    """One entry of `rules`: a rule per family, and per line of an application profile."""
    _refuse_empty(entry, where)
    families = _families(entry, where)
    direction = entry.get("direction") or "in"
    route = bool(entry.get("route"))
    interface_in = _interface(entry.get("interface_in"), f"{where}.interface_in")
    interface_out = _interface(entry.get("interface_out"), f"{where}.interface_out")
    _check_interfaces(where, direction, route, interface_in, interface_out)
    if route:
        direction = "out" if interface_out and not interface_in else "in"
    found = []
    for proto, dport, dapp, sport, sapp in _ends(entry, where, profiles):
        for family in families:
            if family == 6 and proto in IPV4_PROTOCOLS:
                if families == [6]:
                    raise InputError(f"{where}.proto: {proto} is of IPv4 only, and the rule is of IPv6. Leave it out.")
                continue
            found.append(
                Rule(
                    family=family,
                    action=entry["action"],
                    proto=proto,
                    dport=dport,
                    dst=_address(entry.get("to"), family, f"{where}.to"),
                    sport=sport,
                    src=_address(entry.get("from"), family, f"{where}.from"),
                    dapp=dapp,
                    sapp=sapp,
                    direction=direction,
                    interface_in=interface_in,
                    interface_out=interface_out,
                    route=route,
                    log=_LOGS[entry.get("log") or "none"],
                    comment=_comment(entry.get("comment"), where),
                )
            )
    return list(dict.fromkeys(found))


def _families(entry: Mapping[str, Any], where: str) -> list[int]:
    wanted = {"auto": {4, 6}, "v4": {4}, "v6": {6}}[entry.get("family") or "auto"]
    for key in ("from", "to"):
        value = entry.get(key)
        if value in (None, "any"):
            continue
        version = _network(str(value), f"{where}.{key}").version
        if version not in wanted:
            raise InputError(
                f"{where}.{key}: {value} is an IPv{version} address, but the other end or `family` of the rule "
                f"is not IPv{version}. Write one rule for each family."
            )
        wanted = {version}
    return sorted(wanted)


def _network(value: str, where: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    problem = _problem(value)
    if problem:
        raise InputError(f"{where}: {value} {problem}")
    return network(value)


@cache
def _problem(value: str) -> str:
    """Why a value cannot be the source or destination of a rule, and what to write; empty where it can."""
    if "%" in value:
        return "has a zone, which a rule cannot have. Give the interface on its own."
    try:
        found = network(value)
    except ValueError as error:
        return f"is no address ({error}). Give 192.0.2.1, 192.0.2.0/24, 2001:db8::/32 or any."
    if "/" in value and ipaddress.ip_interface(value).ip != found.network_address:
        return f"has bits set behind its prefix. Write {found}, or the single address."
    if isinstance(found, ipaddress.IPv6Network) and found.network_address.ipv4_mapped is not None:
        return "is an IPv4 address in IPv6 clothes. Write it as an IPv4 address."
    return ""


def _address(value: Any, family: int, where: str) -> str:
    if value in (None, "any"):
        return ANYWHERE[family]
    found = _network(str(value), where)
    return str(found.network_address) if found.prefixlen == found.max_prefixlen else str(found)


def _interface(value: Any, where: str) -> str:
    if not value:
        return ""
    if not _INTERFACE.fullmatch(value):
        raise InputError(
            f"{where}: {value} is no name of an interface. "
            "It has at most 15 characters, no `!`, and no `:` (aliases have no traffic of their own)."
        )
    return str(value)


def _check_interfaces(where: str, direction: str, route: bool, interface_in: str, interface_out: str) -> None:
    if route:
        return
    if interface_in and direction != "in":
        raise InputError(f"{where}.interface_in: {interface_in} goes with `direction: in`, or with `route: true`.")
    if interface_out and direction != "out":
        raise InputError(f"{where}.interface_out: {interface_out} goes with `direction: out`, or with `route: true`.")


def _ends(entry: Mapping[str, Any], where: str, profiles: Profiles) -> list[tuple[str, str, str, str, str]]:
    """(protocol, port, profile, source port, source profile) of each rule that the entry stands for.

    Two profiles make a rule of each pair of their lines that can be one packet; a profile with itself, of each line.
    """
    proto = entry.get("proto") or "any"
    app, from_app = entry.get("app") or "", entry.get("from_app") or ""
    for key, profile, other in (("app", app, "port"), ("from_app", from_app, "from_port")):
        for option in (other, "proto"):
            if profile and entry.get(option) not in (None, "any"):
                raise InputError(
                    f"{where}.{option}: the profile {profile} says this already. Leave out {option} or {key}."
                )
    # Without a profile the protocol is said once, for both ends.
    silent = "any" if app or from_app else proto
    destinations = _lines(app, f"{where}.app", profiles) or [(_ports(entry.get("port"), f"{where}.port"), silent)]
    sources = _lines(from_app, f"{where}.from_app", profiles) or [
        (_ports(entry.get("from_port"), f"{where}.from_port"), silent)
    ]
    pairs = zip(destinations, sources) if app == from_app else itertools.product(destinations, sources)
    found = [
        (sproto if dproto == "any" else dproto, dport, app, sport, from_app)
        for (dport, dproto), (sport, sproto) in pairs
        if dproto == sproto or "any" in (dproto, sproto)
    ]
    if not found:
        raise InputError(
            f"{where}.from_app: the profiles {from_app} (source) and {app} (destination) have no protocol in common, "
            "so that no packet can match. Leave out one of them, or name ports and protocol instead."
        )
    for rule_proto, dport, _app, sport, _from_app in found:
        _check_protocol(where, rule_proto, dport, sport, app or from_app)
    return found


def _lines(profile: str, where: str, profiles: Profiles) -> list[tuple[str, str]]:
    """(ports, protocol) of each line of an application profile."""
    if not profile:
        return []
    if profile not in profiles:
        raise InputError(
            f"{where}: there is no application profile {profile} on the host. "
            "`ufw app list` shows those there are; a package may bring it."
        )
    said = f"{where}: the profile {profile} in /etc/ufw/applications.d cannot be used"
    lines = []
    for ports, proto in profiles[profile]:
        if proto not in ("any", "tcp", "udp"):
            raise InputError(f"{said}: {proto} is none of tcp, udp. Correct it, or name ports and protocol instead.")
        lines.append((_ports(ports, said), proto))
    return lines


def _check_protocol(where: str, proto: str, dport: str, sport: str, profile: str) -> None:
    for key, port in (("port", dport), ("from_port", sport)):
        if port == "any":
            continue
        if proto in PORTLESS_PROTOCOLS:
            raise InputError(f"{where}.{key}: protocol {proto} has no ports. Leave out {key}.")
        if proto == "any" and ("," in port or ":" in port):
            if profile:
                raise InputError(
                    f"{where}.{key}: several ports ({port}) need tcp or udp, and the profile {profile} is for both. "
                    "Name ports and protocol instead of the profile, one rule for each protocol."
                )
            raise InputError(f"{where}.proto: several ports ({port}) need tcp or udp. Write one rule for each.")


def _ports(value: Any, where: str) -> str:
    if value in (None, "any"):
        return "any"
    parts = [part.strip() for part in str(value).split(",")]
    ports = sorted({_port(part, where) for part in parts})
    if sum(2 if first != last else 1 for first, last in ports) > MULTIPORT_LIMIT:
        raise InputError(
            f"{where}: {value} has more than {MULTIPORT_LIMIT} ports (a range counts as two). Write several rules."
        )
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in ports)


def _port(part: str, where: str) -> tuple[int, int]:
    first, colon, last = part.partition(":")
    numbers = [first, last] if colon else [first, first]
    if not all(re.fullmatch(r"[1-9][0-9]{0,4}", number) and int(number) <= 65535 for number in numbers):
        raise InputError(
            f"{where}: {part!r} is no port. Give a number from 1 to 65535, a range 8000:8010, or a list 80,443."
        )
    low, high = (int(number) for number in numbers)
    if colon and low >= high:
        raise InputError(f"{where}: the range {part} does not go up. Write the lower port first.")
    return low, high


def _comment(value: Any, where: str) -> str:
    text = str(value or "")
    if "'" in text or any(not character.isprintable() for character in text):
        raise InputError(
            f"{where}.comment: {text!r} has a quote (') or a control character, which ufw cannot keep. Leave it out."
        )
    return text


def _refuse_empty(entry: Mapping[str, Any], where: str) -> None:
    for key in _NARROWING:
        value = entry.get(key)
        if isinstance(value, str) and not value.strip():
            raise InputError(
                f"{where}.{key}: the value is empty ({value!r}), which would make the rule match everything. "
                f"Leave out {key} if that is meant; look at the variable it comes from if it is not."
            )


def _only_ipv4(rules: Sequence[Rule], where: str) -> list[Rule]:
    four = [rule for rule in rules if rule.family == 4]
    if not four:
        raise InputError(
            f"{where}: `{tuples.command(rules[0])}` is a rule of IPv6, and `ipv6: false` has none of these. "
            "Remove the rule, or set `ipv6: true`."
        )
    return four


def _refuse_duplicates(rules: Sequence[Rule], where: str, seen: dict[Rule, str]) -> None:
    for rule in rules:
        other = seen.setdefault(rule.identity, where)
        if other != where:
            raise InputError(
                f"{where}: `{tuples.command(rule)}` matches the same traffic as {other}, and ufw keeps only one rule "
                "for it. Remove one of them."
            )
