# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SSH sessions in the text of /proc: samples of hosts with sshd and dropbear, and this kernel's own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import sessions
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.guard import Peer
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.sessions import Holder, Process, Socket
from hypothesis import given
from hypothesis import strategies as st

INTERFACES = [("lo", "127.0.0.1"), ("lo", "::1"), ("eth0", "198.51.100.1"), ("eth0", "2001:db8:1::1")]
LISTENER = Socket(900, "0.0.0.0", 22, "0.0.0.0", True)
MINE, THEIRS, GUESSER = (
    Socket(901 + number, "198.51.100.1", 22, f"192.0.2.{number + 7}", False) for number in range(3)
)
PEERS = [Peer(connection.remote, 22, "198.51.100.1", "eth0") for connection in (MINE, THEIRS, GUESSER)]


@pytest.mark.parametrize(
    ("text", "process"),
    [
        ("812 (sshd) S 1 812 812 0 -1 4194560 1423", Process("sshd", 1)),
        ("4711 (sshd-session) S 812 4711 4711 0 -1", Process("sshd-session", 812)),
        ("99 (a) b (c d)) R 98 99 99 0 -1", Process("a) b (c d)", 98)),
        ("", None),
        ("12 (x) S", None),
    ],
)
def test_stat(text: str, process: Process | None) -> None:
    assert sessions.parse_stat(text) == process


def test_stat_of_this_process() -> None:
    process = sessions.parse_stat(Path("/proc/self/stat").read_text())
    assert process is not None and process.parent == os.getppid()
    assert process.name == Path("/proc/self/comm").read_text().strip()


@pytest.mark.parametrize(
    ("family", "address", "plain"),
    [(socket.AF_INET, "127.0.0.1", "127.0.0.1"), (socket.AF_INET6, "::1", "::1"), (socket.AF_INET6, "", "127.0.0.1")],
)
def test_connections_of_this_kernel(family: socket.AddressFamily, address: str, plain: str) -> None:
    with socket.create_server((address, 0), family=family, dualstack_ipv6=not address) as server:
        port = server.getsockname()[1]
        with socket.create_connection((plain, port)), server.accept()[0] as accepted:
            text = Path(f"/proc/net/tcp{'6' if family == socket.AF_INET6 else ''}").read_text()
            found = {entry.inode: entry for entry in sessions.parse_tcp(text)}
            inode = os.stat(accepted.fileno()).st_ino
            assert found[inode] == Socket(inode, plain, port, plain, False)
            listener = found[os.stat(server.fileno()).st_ino]
            assert listener.listens and listener.port == port


@given(st.ip_addresses(), st.integers(1, 65535), st.integers(0, 2**32 - 1))
def test_endpoints_are_words_in_the_order_of_the_machine(address: object, port: int, inode: int) -> None:
    packed = address.packed  # type: ignore[attr-defined]
    words = [int.from_bytes(packed[start : start + 4], "little") for start in range(0, len(packed), 4)]
    end = "".join(f"{word:08X}" for word in words) + f":{port:04X}"
    line = (
        f"  12: {end} {end} 01 00000000:00000000 02:000A7F1C 00000000  1000        0 {inode} 2 00000000a1b2c3d4 20 4 1"
    )
    found = sessions.parse_tcp(f"  sl  local_address rem_address   st\n{line}\n")
    plain = str(getattr(address, "ipv4_mapped", None) or address)
    assert found == [Socket(inode, plain, port, plain, False)]


# A VPS as the module sees it: 40 is the module, under sudo and sh, in a session of sshd that forked twice.
def host(daemon: str = "sshd") -> tuple[dict[int, Process], dict[int, Holder]]:
    session = {"sshd": "sshd", "sshd-session": "sshd-session"}.get(daemon, daemon)
    processes = {
        1: Process("systemd", 0),
        10: Process(daemon if daemon != "sshd-session" else "sshd", 1),
        20: Process(session, 10),
        21: Process(session, 20),
        22: Process("sh", 21),
        23: Process("sudo", 22),
        40: Process("python3", 23),
        30: Process(session, 10),
        31: Process(session, 30),
        32: Process("bash", 31),
        50: Process(session, 10),
        51: Process(session, 50),
        60: Process("cron", 1),
        61: Process("python3", 60),
    }
    holders = {
        10: Holder(frozenset({LISTENER.inode}), f"{daemon}: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"),
        20: Holder(frozenset({MINE.inode}), f"{session}: deploy [priv]"),
        21: Holder(frozenset({MINE.inode}), f"{session}: deploy@notty"),
        30: Holder(frozenset({THEIRS.inode}), f"{session}: alice [priv]"),
        31: Holder(frozenset({THEIRS.inode}), f"{session}: alice@pts/0"),
        50: Holder(frozenset({GUESSER.inode}), f"{session}: root [priv]"),
        51: Holder(frozenset({GUESSER.inode}), f"{session}: root [net]"),
    }
    return processes, holders


SOCKETS = [LISTENER, MINE, THEIRS, GUESSER]


@pytest.mark.parametrize("daemon", ["sshd", "sshd-session"])
def test_the_session_is_that_of_an_ancestor(daemon: str) -> None:
    processes, holders = host(daemon)
    assert sessions.find(processes, 40, holders, SOCKETS, INTERFACES) == ([PEERS[0]], [PEERS[1]])


def test_any_server_that_an_ancestor_is_will_do() -> None:
    processes, holders = host("teleport")
    holders = {pid: Holder(holder.inodes) for pid, holder in holders.items()}
    assert sessions.find(processes, 40, holders, SOCKETS, INTERFACES) == ([PEERS[0]], [])


def test_detached_each_session_counts_but_no_guess_of_a_password() -> None:
    processes, holders = host()
    assert sessions.find(processes, 61, holders, SOCKETS, INTERFACES) == (PEERS[:2], [])


@pytest.mark.parametrize(
    ("title", "logged_in"),
    [
        ("sshd: alice@pts/0", True),
        ("sshd: alice@pts/0,pts/1", True),
        ("sshd-session: alice@notty", True),
        # A session that only forwards ports.
        ("sshd: alice", True),
        ("sshd: alice [priv]", False),
        ("sshd-session: alice [net]", False),
        ("sshd: [accepted]", False),
        ("sshd: /usr/sbin/sshd -D [listener] 1 of 10-100 startups", False),
        ("/usr/sbin/sshd -D", False),
        ("", False),
    ],
)
def test_who_is_logged_in(title: str, logged_in: bool) -> None:
    processes = {7: Process("sshd", 1), 61: Process("python3", 1)}
    holders = {7: Holder(frozenset({MINE.inode}), title)}
    assert sessions.find(processes, 61, holders, SOCKETS, INTERFACES) == ([PEERS[0]] if logged_in else [], [])


def test_dropbear_has_no_titles_but_children() -> None:
    processes = {7: Process("dropbear", 1), 8: Process("dropbear", 7), 9: Process("ash", 8), 61: Process("python3", 1)}
    holders = {
        7: Holder(frozenset({LISTENER.inode}), "/usr/sbin/dropbear -p 22"),
        8: Holder(frozenset({MINE.inode}), "/usr/sbin/dropbear -p 22"),
    }
    assert sessions.find(processes, 61, holders, SOCKETS, INTERFACES) == ([PEERS[0]], [])
    del processes[9]
    assert sessions.find(processes, 61, holders, SOCKETS, INTERFACES) == ([], [])


def test_forwarded_ports_are_no_sessions() -> None:
    processes, holders = host()
    # ssh -L: our sshd connects to a database. ssh -R: it listens, and somebody has connected to it.
    out = Socket(920, "198.51.100.1", 41234, "203.0.113.9", False)
    listener, connected = (
        Socket(921, "0.0.0.0", 9000, "0.0.0.0", True),
        Socket(922, "198.51.100.1", 9000, "203.0.113.9", False),
    )
    holders[21] = Holder(frozenset({MINE.inode, 920, 921, 922}), "sshd: deploy@notty")
    found = sessions.find(processes, 40, holders, [*SOCKETS, out, listener, connected], INTERFACES)
    assert found == ([PEERS[0]], [PEERS[1]])


def test_a_server_in_one_process_holds_listener_and_session() -> None:
    processes = {7: Process("tinyssh", 1), 40: Process("python3", 7)}
    holders = {7: Holder(frozenset({LISTENER.inode, MINE.inode}))}
    assert sessions.find(processes, 40, holders, SOCKETS, INTERFACES) == ([PEERS[0]], [])


def test_the_environment_of_an_ancestor_counts_as_well() -> None:
    """A server that another program listens for, on an address that is translated on the way."""
    processes, holders = {5: Process("login", 1), 40: Process("python3", 5)}, {}
    holders[5] = Holder(connection="192.0.2.7 50000 203.0.113.1 2222")
    assert sessions.find(processes, 40, holders, SOCKETS, INTERFACES) == ([Peer("192.0.2.7", 2222, "203.0.113.1")], [])


def test_the_first_process_of_the_host_is_nobodys_session() -> None:
    processes = {1: Process("systemd", 0), 40: Process("python3", 1)}
    assert sessions.ancestors(processes, 40) == [40]
    assert sessions.find(processes, 40, {1: Holder(frozenset({MINE.inode}))}, SOCKETS, INTERFACES) == ([], [])


def test_processes_that_end_meanwhile_end_the_search() -> None:
    assert sessions.ancestors({40: Process("python3", 39)}, 40) == [40]
    assert sessions.ancestors({40: Process("a", 41), 41: Process("b", 40)}, 40) == [40, 41]
