# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What a site is that Caddy serves, and what an input is that cannot be served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class InputError(Exception):
    """A value that cannot be served: the variable, the value and the remedy, for a person to read."""


@dataclass(frozen=True)
class Access:
    """Who may reach some paths. Empty `allow`: from everywhere; empty `users`: without a login."""

    paths: tuple[str, ...]
    allow: tuple[str, ...]
    users: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Certificate:
    """A certificate with its chain and its key, as the one file that Caddy reads; its name changes with its content."""

    name: str
    pem: str = field(repr=False)
    # The host names that it is for.
    covers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Site:
    """One site block, and the names that are redirected to it.

    One of `app`, `proxy_to` and `redirect_to` answers, or `directives` do.
    """

    # Where the site stands in the inventory, for messages and for comments.
    where: str
    domains: tuple[str, ...]
    app: bool
    redirect_from: tuple[str, ...] = ()
    # The domain that `redirect_from` leads to.
    canonical: str = ""
    redirect_to: str = ""
    redirect_status: int = 308
    proxy_to: tuple[str, ...] = ()
    directives: str = ""
    # acme, internal, or own with the name of the certificate.
    tls: str = "acme"
    certificate: str = ""
    hsts: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    compression: bool = True
    access_rules: tuple[Access, ...] = ()
