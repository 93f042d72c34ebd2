# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What listens for SCTP: the kernel tells it in a table of its own, where it has SCTP at all."""

from __future__ import annotations

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import parse_address, plain
from ansible_collections.daffathan.platform.plugins.module_utils._audit.sockets import Listener, SocketError

_TABLE = "/proc/net/sctp/eps"
# SCTP_SS_LISTENING of include/net/sctp/constants.h
_LISTENING = "10"


def parse(text: str) -> list[Listener]:
    """The listening endpoints of /proc/net/sctp/eps: one per address."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if not words:
            continue
        if len(words) < 8 or not words[5].isdigit() or not words[7].isdigit():
            raise SocketError(f"{_TABLE}: {line.strip()[:80]!r} is no endpoint")
        if words[3] != _LISTENING:
            continue
        for word in words[8:]:
            address = parse_address(word)
            if address is not None:
                found.append(Listener("sctp", plain(address), int(words[5]), inode=int(words[7])))
    return found


def listeners() -> list[Listener]:
    """Every endpoint of this network namespace that takes associations."""
    try:
        with open(_TABLE, encoding="ascii", errors="replace") as handle:
            return parse(handle.read())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SocketError(f"{_TABLE}: {error}") from None
