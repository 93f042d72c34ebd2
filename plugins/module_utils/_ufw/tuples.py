# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The `### tuple ###` lines of user.rules and user6.rules, and rules as commands of ufw."""

from __future__ import annotations

import binascii
import re
from functools import cache

from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import (
    ACTIONS,
    ANYWHERE,
    PORTLESS_PROTOCOLS,
    Rule,
    network,
)

MARK = "### tuple ###"
_PORT = re.compile(r"^[0-9]+(:[0-9]+)?(,[0-9]+(:[0-9]+)?)*$")
_USER_CHAIN = re.compile(r"-[AI] ufw6?-user-(input|output|forward) ")
_PROTOCOLS = ("any", "tcp", "udp", *PORTLESS_PROTOCOLS)


class TupleError(Exception):
    """A line that this version cannot read, so that it would be lost when the file is written again."""


def render(rule: Rule) -> str:
    """The line UFW writes for a rule."""
    action = ("route:" if rule.route else "") + rule.action + (f"_{rule.log}" if rule.log else "")
    fields = [action, rule.proto, rule.dport, rule.dst, rule.sport, rule.src]
    if rule.dapp or rule.sapp:
        fields += [rule.dapp.replace(" ", "%20") or "-", rule.sapp.replace(" ", "%20") or "-"]
    if rule.interface_in and rule.interface_out:
        fields.append(f"in_{rule.interface_in}!out_{rule.interface_out}")
    elif rule.interface_in or rule.interface_out:
        fields.append(f"{rule.direction}_{rule.interface_in or rule.interface_out}")
    else:
        fields.append(rule.direction)
    if rule.comment:
        fields.append("comment=" + binascii.hexlify(rule.comment.encode("utf-8")).decode("ascii"))
    return f"{MARK} {' '.join(fields)}"


def _interfaces(field: str, line: str) -> tuple[str, str, str]:
    direction, dummy, name = field.partition("_")
    if direction not in ("in", "out"):
        raise TupleError(line)
    if "!" in field:
        incoming, dummy, outgoing = field.partition("!")
        if not incoming.startswith("in_") or not outgoing.startswith("out_"):
            raise TupleError(line)
        return "in", incoming[3:], outgoing[4:]
    return (direction, name, "") if direction == "in" else (direction, "", name)


def parse(line: str, family: int) -> Rule:
    """The rule of a line. Lines of old versions have no direction, those with profiles have two fields more."""
    body, dummy, encoded = line[len(MARK) :].strip().partition(" comment=")
    fields = body.split()
    if not line.startswith(MARK) or len(fields) not in (6, 7, 8, 9):
        raise TupleError(line)
    route = fields[0].startswith("route:")
    action, dummy, log = fields[0][6 if route else 0 :].partition("_")
    direction, interface_in, interface_out = _interfaces(fields[-1] if len(fields) % 2 else "in", line)
    dapp, sapp = (
        "" if name == "-" else name.replace("%20", " ") for name in (fields[6:8] if len(fields) > 7 else "--")
    )
    if action not in ACTIONS or log not in ("", "log", "log-all") or fields[1] not in _PROTOCOLS:
        raise TupleError(line)
    if not all(port == "any" or _PORT.match(port) for port in (fields[2], fields[4])):
        raise TupleError(line)
    try:
        versions = {network(address).version for address in (fields[3], fields[5])}
        comment = binascii.unhexlify(encoded.strip()).decode("utf-8")
    except ValueError as error:
        raise TupleError(line) from error
    if versions != {family}:
        raise TupleError(line)
    return Rule(
        family=family,
        action=action,
        proto=fields[1],
        dport=fields[2],
        dst=fields[3],
        sport=fields[4],
        src=fields[5],
        dapp=dapp,
        sapp=sapp,
        direction=direction,
        interface_in=interface_in,
        interface_out=interface_out,
        route=route,
        log=log,
        comment=comment,
    )


@cache
def parse_file(text: str, family: int) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
    """The rules of user.rules or user6.rules in order, and the lines that are none and would be lost."""
    rules: list[Rule] = []
    strange: list[str] = []
    described = False
    for line in (raw.strip() for raw in text.splitlines()):
        if line.startswith(MARK):
            described = True
            try:
                rules.append(parse(line, family))
            except TupleError:
                strange.append(line)
        elif not line or line.startswith("###"):
            described = False
        elif _USER_CHAIN.match(line) and not described:
            # ufw writes each rule below its tuple; this one was put there by hand.
            strange.append(line)
    return tuple(rules), tuple(strange)


def command(rule: Rule) -> str:
    """The rule in the notation of `ufw show added`, without the leading `ufw`."""
    anywhere = ANYWHERE[rule.family]
    short = (
        (rule.src, rule.dst) == (anywhere, anywhere)
        and (rule.sport, rule.sapp, rule.interface_in, rule.interface_out) == ("any", "", "", "")
        and rule.dport != "any"
    )
    words = (["route"] if rule.route else []) + [rule.action]
    if rule.interface_in:
        words += ["in on", rule.interface_in]
    if rule.interface_out:
        words += ["out on", rule.interface_out]
    elif rule.direction == "out":
        words.append("out")
    if rule.log:
        words.append(rule.log)
    if short:
        proto = "" if rule.proto == "any" else f"/{rule.proto}"
        words.append(_quoted(rule.dapp) if rule.dapp else rule.dport + proto)
    else:
        words += _end("from", rule.src, rule.sport, rule.sapp, anywhere)
        words += _end("to", rule.dst, rule.dport, rule.dapp, anywhere)
        if not {"from", "to"} & set(words) and not rule.interface_in and not rule.interface_out:
            words.append("to any")
        if rule.proto != "any" and not rule.dapp and not rule.sapp:
            words += ["proto", rule.proto]
    if rule.comment:
        words.append(f"comment '{rule.comment}'")
    return " ".join(words)


def _quoted(profile: str) -> str:
    return f"'{profile}'" if " " in profile else profile


def _end(word: str, address: str, port: str, profile: str, anywhere: str) -> list[str]:
    if address == anywhere and port == "any" and not profile:
        return []
    words = [word, "any" if address == anywhere else address]
    if profile:
        return [*words, "app", _quoted(profile)]
    return words if port == "any" else [*words, "port", port]
