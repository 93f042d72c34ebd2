# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where load may go: loopback and the networks of the lab, nothing else. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union
from urllib.parse import urlsplit

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

ALLOWED = ("127.0.0.0/8", "::1/128", "10.231.0.0/16", "fd00:231::/32")
LAB_NETWORK = "DAFFATHAN_LAB_NETWORK"


class UsageError(Exception):
    """An option that cannot be used; the message names it, its value and the remedy."""


@dataclass(frozen=True)
class Target:
    """A site: its origin without a path, and the one address that its name stands for."""

    origin: str
    scheme: str
    host: str
    address: str
    port: int


def networks(environ: Mapping[str, str]) -> list[Network]:
    """The networks that may be loaded: the fixed ones and that of a second lab."""
    found: list[Network] = [ipaddress.ip_network(text) for text in ALLOWED]
    if environ.get(LAB_NETWORK):
        try:
            lab = ipaddress.IPv4Network(environ[LAB_NETWORK])
        except ValueError as error:
            raise UsageError(f"{LAB_NETWORK}={environ[LAB_NETWORK]}: {error}") from None
        if not lab.subnet_of(ipaddress.IPv4Network("10.0.0.0/8")) or lab.prefixlen < 16:
            raise UsageError(f"{LAB_NETWORK}={lab}: use a network inside 10.0.0.0/8 of at most 16 host bits")
        first, second = lab.network_address.packed[1:3]
        found += [lab, ipaddress.IPv6Network(f"fd00:{first}:{second}::/64")]
    return found


def parse(url: str, address: str | None, environ: Mapping[str, str]) -> Target:
    """Check a URL and the address behind it; names are never looked up."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--url {url}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise UsageError(f"--url {url}: must be like https://labs.example.test or http://127.0.0.1:3000")
    if parts.path not in ("", "/"):
        raise UsageError(f"--url {url}: has a path; name path prefixes with --prefix")
    literal = _ip(parts.hostname)
    if address is None:
        if literal is None:
            raise UsageError(f"--url {url}: names are not looked up; say which address it is with --address")
        found = literal
    else:
        parsed = _ip(address)
        if parsed is None:
            raise UsageError(f"--address {address}: not an IP address")
        if literal is not None and literal != parsed:
            raise UsageError(f"--address {address}: --url {url} already is an address; leave one out")
        found = parsed
    if not any(found in network for network in networks(environ)):
        raise UsageError(
            f"target address {found}: load goes only to loopback and lab networks ({', '.join(ALLOWED)}); "
            f"set {LAB_NETWORK} for a lab with another network"
        )
    shown = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    origin = f"{parts.scheme}://{shown}" + (f":{port}" if port else "")
    return Target(origin, parts.scheme, parts.hostname, str(found), port or (443 if parts.scheme == "https" else 80))


def parse_prefix(text: str) -> str:
    """A path prefix without its last slash; the root is the empty one."""
    prefix = text.rstrip("/")
    if prefix and not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", prefix):
        raise UsageError(f"--prefix {text}: must be a path like / or /api/")
    return prefix


def _ip(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
