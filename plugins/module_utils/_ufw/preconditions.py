# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What a host must have for this module, judged from text: each sentence names the cause and the remedy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

NET_ADMIN, SYS_ADMIN = 12, 21
_GLOBAL, _SITE = "00", "40"


def missing_capability(status: str) -> str:
    """The sentence on a root that may not administer the network; empty if it may.

    :param status: the text of /proc/self/status.
    """
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    held = int(found[1], 16) if found else -1
    for bit, name, need in (
        (NET_ADMIN, "NET_ADMIN", "read or change the packet filter"),
        (SYS_ADMIN, "SYS_ADMIN", "try the policy in a network namespace of its own"),
    ):
        if not held >> bit & 1:
            return (
                f"this process lacks the capability {name} and cannot {need}. Is the host a container? "
                f"Start it with {name}, or run the task on the machine that it runs on. Nothing was changed."
            )
    return ""


def missing_ufw(path: str, *, snap: bool) -> str:
    """The sentence on a file of UFW that is not there."""
    if snap:
        return (
            f"{path} is missing: UFW is installed as a snap (/snap/bin/ufw), which keeps its files elsewhere and "
            "starts its own way. Remove it (`snap remove ufw`) and install the package (`apt-get install ufw`)."
        )
    return f"{path} is missing. Install UFW (`apt-get install ufw`), or reinstall it."


def ipv6_addresses(if_inet6: str) -> list[tuple[str, str]]:
    """(interface, address) of each global or site-local address in /proc/net/if_inet6."""
    found = []
    for fields in (line.split() for line in if_inet6.splitlines()):
        if len(fields) == 6 and fields[3] in (_GLOBAL, _SITE):
            found.append((fields[5], str(ipaddress.IPv6Address(int(fields[0], 16)))))
    return found


def wrong_ipv6(wanted: bool, *, available: bool, addresses: Collection[tuple[str, str]]) -> str:
    """The sentence on `ipv6` that does not fit the host; empty if it does.

    :param available: the kernel has IPv6.
    :param addresses: those of interfaces that are up.
    """
    if wanted and not available:
        return (
            "ipv6: true, but the kernel of this host has no IPv6 (there is no /proc/net/if_inet6). Set `ipv6: false`, "
            "or start the kernel without `ipv6.disable=1`. Nothing was changed."
        )
    if not wanted and addresses:
        named = ", ".join(f"{address} on {name}" for name, address in addresses)
        return (
            f"ipv6: false would close IPv6, and this host uses it ({named}). Set `ipv6: true`; or take IPv6 away first "
            "(`net.ipv6.conf.all.disable_ipv6=1` in /etc/sysctl.d). Nothing was changed."
        )
    return ""


def legacy_beside_nft(version: str, saved: str) -> str:
    """The warning of rules in iptables' legacy tables, while iptables is the one for nftables.

    :param version: what `iptables-save --version` prints.
    :param saved: what `iptables-legacy-save` or its twin for IPv6 prints.
    """
    closed = re.search(r"^:\S+ (DROP|REJECT) ", saved, re.MULTILINE)
    rules = re.findall(r"^-A .*", saved, re.MULTILINE)
    if "nf_tables" not in version or not (rules or closed):
        return ""
    return (
        f"the kernel also holds rules of iptables-legacy ({len(rules)}), which UFW and this module do not see, while "
        "iptables is the one for nftables: a packet has to pass both. See `iptables-legacy-save` and "
        "`ip6tables-legacy-save`, and let the program that makes these rules use nftables "
        "(`update-alternatives --display iptables`)."
    )
