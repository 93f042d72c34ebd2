# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Compare what an audit says with what really answers to another host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit import probe
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    PROTOCOLS,
    Finding,
    InputError,
    Outcome,
    clean,
    finding,
    ordered,
    parse_address,
    unknown,
)

_FAMILY = {4: "ipv4", 6: "ipv6"}
_BETWEEN = "Look at what lies between (a provider's firewall, NAT), or probe from another host."


def _family(address: str) -> str:
    parsed = parse_address(address)
    return _FAMILY[parsed.version] if parsed else ""


def targets(audited: Mapping[str, Any], addresses: Iterable[str]) -> list[probe.Target]:
    """Every port that the audit calls open, or that one rule less would open, at each address."""
    entries = [*audited["candidates"], *audited["reachable"]]
    ports = sorted({(str(entry["proto"]), int(entry["port"])) for entry in entries})
    # No client of ours speaks SCTP.
    found = [probe.Target(address, *port) for address in addresses for port in ports if port[0] in ("tcp", "udp")]
    if len(found) > probe.LIMIT:
        raise InputError(
            f"verify.candidates: {len(found)} questions are more than {probe.LIMIT}. Name fewer addresses, or end what "
            "listens on so many ports."
        )
    return found


class _Audited:
    """What an audit calls reachable, by address where it knows the address."""

    def __init__(self, reachable: Iterable[Mapping[str, Any]]) -> None:
        self._entries = list(reachable)

    def of(self, target: probe.Target) -> list[Mapping[str, Any]]:
        known = {entry.get("address") for entry in self._entries}
        return [
            entry
            for entry in self._entries
            if (entry["proto"], entry["port"]) == (target.proto, target.port)
            # Behind NAT the host does not know the address it is reached at.
            and (entry.get("address") == target.address if target.address in known else True)
            and entry["family"] == _family(target.address)
        ]


def _compare(audited: _Audited, answer: probe.Target, vantage: str) -> Iterator[Finding]:
    name = f"{answer.port}/{answer.proto} of {answer.address}"
    fields: dict[str, Any] = {"proto": answer.proto, "port": answer.port, "host_ip": answer.address, "path": "verify"}
    entries = audited.of(answer)
    if answer.answer == probe.OPEN and not entries:
        yield finding(
            "verify-open",
            "critical",
            f"{name} answers to {vantage}, although the audit of the host does not call it reachable.",
            "Close the port, and report what the audit did not see: the rules of this host, and the listener.",
            **fields,
        )
    # A UDP server that is silent may be there all the same; a port that is open to some may be closed to this host.
    told = answer.answer == probe.CLOSED if answer.proto == "udp" else answer.answer in (probe.CLOSED, probe.SILENT)
    if told and entries and not all(entry.get("limits") for entry in entries):
        how = "refuses" if answer.answer == probe.CLOSED else "does not answer"
        yield finding(
            "verify-closed",
            "low",
            f"{name} {how} {vantage}, although the audit of the host calls it reachable.",
            _BETWEEN,
            **fields,
        )


def _unanswered(answers: list[probe.Target], vantage: str) -> Iterator[Finding]:
    """Addresses from which nothing came back at all: they may not be the host's, so silence there proves nothing."""
    for address in dict.fromkeys(item.address for item in answers):
        said = [item.answer for item in answers if item.address == address]
        if not {probe.OPEN, probe.CLOSED} & set(said):
            why = f"{vantage} has no route to it" if set(said) == {probe.NO_WAY} else f"no port answered {vantage}"
            yield unknown(
                "verify-no-answer",
                f"{address} could not be verified: {why}.",
                "Name an address by which that host reaches this one, or verify from another host.",
                host_ip=address,
                path="verify",
            )


def judge(audited: Mapping[str, Any], answers: list[probe.Target], vantage: str) -> list[Finding]:
    """The findings of a comparison; an address that did not answer is one of them, not one for each port."""
    mute = list(_unanswered(answers, vantage))
    silent = {item.host_ip for item in mute}
    known = _Audited(audited["reachable"])
    compared = [item for answer in answers if answer.address not in silent for item in _compare(known, answer, vantage)]
    return ordered([*mute, *compared])


def check(audited: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse what cannot be compared; the message names the option."""
    if not [name for name in names if name]:
        raise InputError("verify.addresses: empty. Name the addresses by which the host is reached.")
    for key in ("reachable", "candidates"):
        entries = audited.get(key)
        if not isinstance(entries, list):
            raise InputError(f"verify.{key}: missing. Pass what port_audit returned with mode: live.")
        for entry in entries:
            good = isinstance(entry, Mapping) and entry.get("proto") in PROTOCOLS and str(entry.get("port")).isdigit()
            if not good or (key == "reachable" and entry.get("family") not in _FAMILY.values()):
                raise InputError(f"verify.{key}: {clean(entry)} is no entry of a live audit. Pass what it returned.")


def run(audited: Mapping[str, Any], names: Iterable[str], vantage: str, timeout: float) -> Outcome:
    """Ask every candidate from here, and judge the answers."""
    wanted = list(names)
    check(audited, wanted)
    try:
        addresses = probe.addresses(wanted)
    except OSError as error:
        raise InputError(f"verify.addresses: {', '.join(wanted)}: {clean(error)}. Name addresses.") from None
    answers = probe.knock_all(targets(audited, addresses), timeout)
    return Outcome("verify", judge(audited, answers, clean(vantage)))
