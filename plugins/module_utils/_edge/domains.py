# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Host names: which ones a site can have, and which site each belongs to."""

from __future__ import annotations

import ipaddress

from ansible_collections.daffathan.platform.plugins.module_utils._edge.model import InputError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import DOMAIN


def parse_domain(where: str, value: object) -> str:
    """The host name in lower case."""
    text = str(value).strip() if isinstance(value, str) else ""
    name = text.lower()
    if DOMAIN.fullmatch(name) and len(name) <= 253:
        if name.startswith("*.") and name.count(".") < 2:
            raise InputError(f"{where}: {value} is a whole top-level domain. Write a wildcard as *.example.com.")
        return name
    for wrong, remedy, better in (
        ("://" in name, "is a URL", name.partition("://")[2].partition("/")[0]),
        ("/" in name, "has a path", name.partition("/")[0]),
        (name.rpartition(":")[2].isdigit(), "names a port; Caddy listens on 80 and 443", name.rpartition(":")[0]),
        (name.endswith("."), "ends with a dot", name.rstrip(".")),
        (not name.isascii(), "is not in the form that DNS knows", _ascii(name)),
    ):
        if wrong:
            advice = f"Write {better}." if DOMAIN.fullmatch(better) else "Write a host name like www.example.com."
            raise InputError(f"{where}: {value} {remedy}. {advice}")
    if "*" in name:
        raise InputError(f"{where}: {value} is no wildcard: `*` stands for the whole first label, as in *.example.com.")
    raise InputError(
        f"{where}: {value!r} is not a host name. Write one like www.example.com: letters, digits and hyphens between "
        "dots, at most 63 characters each."
    )


def _ascii(name: str) -> str:
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return ""


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Owners:
    """Which variable each host name was seen in first."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}

    def claim(self, where: str, name: str) -> None:
        """:raises InputError: another site has the name, or this one has it twice."""
        owner = self._owners.get(name)
        if owner is not None:
            twice = "is there twice" if owner == where else f"is in {owner} too"
            raise InputError(f"{where}: {name} {twice}. A request can go to one place only: remove one of them.")
        self._owners[name] = where
