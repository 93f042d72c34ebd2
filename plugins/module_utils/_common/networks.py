# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Addresses and networks, as a person writes them."""

from __future__ import annotations

import ipaddress


def parse_network(text: str, more: str = "") -> str:
    """As everybody reads it, with the length of its prefix.

    ValueError with what to write instead where it is neither. :param more: what else there is to write
    """
    example = f"Write one like 203.0.113.7, 203.0.113.0/24, 2001:db8::/32{more}"
    if "%" in text:
        raise ValueError(f"{text} has a zone, which means something on one machine only. {example}.")
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        try:
            better = f"Write {ipaddress.ip_network(text, strict=False)} for the whole network, or the address alone"
        except ValueError:
            better = example
        raise ValueError(f"{text} is not an address or a network. {better}.") from None
