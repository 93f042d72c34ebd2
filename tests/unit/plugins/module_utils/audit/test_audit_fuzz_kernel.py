# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever the kernel tells: nothing crashes, and no socket of it gets lost."""

from __future__ import annotations

import contextlib
import socket
import struct

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import netlink
from ansible_collections.daffathan.platform.plugins.module_utils._audit.interfaces import parse_link
from ansible_collections.daffathan.platform.plugins.module_utils._audit.sockets import (
    Listener,
    SocketError,
    parse_diag,
    parse_proc,
)
from hypothesis import given
from hypothesis import strategies as st


@given(st.binary(max_size=200))
def test_any_datagram_is_messages_or_an_error(data: bytes) -> None:
    try:
        told = list(netlink.messages(data))
    except netlink.NetlinkError:
        return
    assert sum((16 + len(payload) + 3) & ~3 for _kind, _flags, payload in told) >= len(data)


@given(st.binary(max_size=200), st.sampled_from(["tcp", "udp"]))
def test_any_payload_is_a_socket_or_an_error(payload: bytes, proto: str) -> None:
    with contextlib.suppress(SocketError):
        parse_diag(proto, payload)
    with contextlib.suppress(netlink.NetlinkError):
        parse_link(payload)


fields = st.one_of(
    st.text(alphabet="0123456789ABCDEFx:", min_size=1, max_size=40), st.sampled_from(["0A", "0100007F:1F90"])
)


@given(st.lists(st.lists(fields, min_size=10, max_size=12), max_size=3))
def test_any_table_of_proc_is_sockets_or_an_error(lines: list[list[str]]) -> None:
    with contextlib.suppress(SocketError):
        parse_proc("tcp", "\n".join(["header", *(" ".join(words) for words in lines)]))


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
sockets = st.builds(
    Listener,
    proto=st.sampled_from(["tcp", "udp"]),
    address=addresses.filter(lambda address: getattr(address, "ipv4_mapped", None) is None),
    port=st.integers(1, 65535),
    only_v6=st.booleans(),
    inode=st.integers(1, 2**32 - 1),
    group=st.integers(1, 2**64 - 1),
)


def message(item: Listener) -> bytes:
    """A socket as the kernel tells of it."""
    family = socket.AF_INET if item.address.version == 4 else socket.AF_INET6
    payload = struct.pack("=BBBB", family, 10, 0, 0) + struct.pack(">HH", item.port, 0)
    payload += item.address.packed.ljust(16, b"\0") + bytes(16) + struct.pack("=III", 0, 1, 2) + bytes(16)
    payload += struct.pack("=I", item.inode)
    payload += struct.pack("=HHB3x", 5, 11, item.only_v6) + struct.pack("=HHQ", 12, 21, item.group)
    return struct.pack("=IHHII", 16 + len(payload), 20, 2, 1, 0) + payload


@given(st.lists(sockets, max_size=6))
def test_no_socket_gets_lost(items: list[Listener]) -> None:
    data = b"".join(map(message, items))
    told = [payload for _kind, _flags, payload in netlink.messages(data)]
    assert [parse_diag(item.proto, payload) for item, payload in zip(items, told)] == items
    assert len(told) == len(items)


@given(st.lists(sockets, min_size=1, max_size=3), st.data())
def test_a_cut_datagram_is_an_error(items: list[Listener], data: st.DataObject) -> None:
    whole = [message(item) for item in items]
    ends = {sum(map(len, whole[:count])) for count in range(len(whole) + 1)}
    cut = data.draw(st.integers(1, sum(map(len, whole)) - 1).filter(lambda length: length not in ends))
    with pytest.raises(netlink.NetlinkError):
        list(netlink.messages(b"".join(whole)[:cut]))
