# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What only one app of a host can have at the gateway, read from what the gateway was given.

Two apps that come at the same time do not see each other in what is remembered about them. What is about to be loaded
is compared under the gateway's lock, where one of them is the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import streams
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import PUBLIC
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import HTTP, TCP, RolloutError

_DOMAINS = re.compile(rf"^\s*listen {re.escape(PUBLIC)};\s*server_name ([^;]*);", re.MULTILINE)
_PORT = re.compile(r"^\s*listen (?:[\d.]+:)?(\d+)[ ;]", re.MULTILINE)


@dataclass(frozen=True)
class Claims:
    """Domains, and the ports of each protocol."""

    domains: frozenset[str]
    ports: Mapping[str, frozenset[int]]


def claims_of(text: str) -> Claims:
    """What a text that was rendered for an app claims."""
    http, tcp = streams.divide(text)
    domains = frozenset(domain for names in _DOMAINS.findall(http) for domain in names.split())
    return Claims(domains, {HTTP: _ports(http), TCP: _ports(tcp)})


def _ports(text: str) -> frozenset[int]:
    return frozenset(int(port) for port in _PORT.findall(text))


def check_claims(wanted: Mapping[str, str | None], others: Mapping[str, str | None]) -> None:
    """Raise where an app is about to be given what another has.

    :param wanted: the texts that the gateway is to load, by app; None where an app goes
    :param others: the texts of the apps that stay as they are
    """
    known = {app: claims_of(text) for app, text in others.items() if text is not None}
    for app, text in wanted.items():
        if text is None:
            continue
        mine = claims_of(text)
        for other, theirs in sorted(known.items()):
            for domain in sorted(mine.domains & theirs.domains):
                raise RolloutError(domain_taken(domain, other, app))
            for protocol, beside in ((HTTP, TCP), (TCP, HTTP)):
                for port in sorted(mine.ports[protocol] & theirs.ports[beside]):
                    raise RolloutError(port_taken(f"app {app}: port {port}", protocol, f"app {other}", beside))
        known[app] = mine


def domain_taken(domain: str, owner: str, app: str) -> str:
    return f"domains: {domain} already belongs to app {owner}. Remove it there first, or give {app} another domain."


def port_taken(what: str, protocol: str, who: str, beside: str) -> str:
    """A port of HTTP is bound for all apps at once, one of TCP for an app alone; the kernel does not allow both."""
    return (
        f"{what} cannot be served with `protocol: {protocol}` beside {who}, which has it with `protocol: {beside}`. "
        "Let one of them listen on another port."
    )
