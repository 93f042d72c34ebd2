# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import engine, engine_client, owners, sockets

Serve = Callable[[bytes], str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A Unix socket that answers one connection with the given bytes; empty bytes: it keeps silent."""
    servers: list[socket.socket] = []

    def start(answer: bytes) -> str:
        path = str(tmp_path / f"s{len(servers)}")
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(1)
        servers.append(server)

        def run() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                if answer:
                    connection.sendall(answer)
                else:
                    time.sleep(3)

        threading.Thread(target=run, daemon=True).start()
        return path

    yield start
    for server in servers:
        server.close()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_an_answer(serve: Serve) -> None:
    assert engine_client.get(serve(http(b'{"a": [1]}')), "/x", 2) == {"a": [1]}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n{",
        b"nonsense\r\n\r\n",
        http(b"{}", "403 Forbidden"),
        http(b"\xff\xfe"),
        b"HTTP/1.1 ",
    ]
    + [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"],
)
def test_answers_that_are_none(serve: Serve, answer: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(engine_client.EngineError):
        engine_client.get(serve(answer), "/x", 0.5)
    assert time.monotonic() - started < 2


def test_no_socket(tmp_path: Path) -> None:
    with pytest.raises(engine_client.EngineError):
        engine_client.get(str(tmp_path / "none"), "/x", 1)


def test_a_running_container() -> None:
    container = engine.parse_container(
        {
            **{"Id": "f" * 64, "Names": ["/shop"], "State": "running", "HostConfig": {"NetworkMode": "shop_default"}},
            "Ports": [
                {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                {"PrivatePort": 443, "Type": "tcp"},
            ],
            "NetworkSettings": {"Networks": {"shop_default": {"IPAddress": "172.18.0.2", "GlobalIPv6Address": ""}}},
            "Mounts": [{"Type": "bind", "Source": "/run"}, {"Type": "volume", "Name": "x"}],
        }
    )
    assert container.running and container.name == "shop" and not container.host_network
    assert [(b.host_ip, b.port) for b in container.bindings] == [("0.0.0.0", 8080), ("::", 8080)]
    assert container.addresses == ("172.18.0.2",) and container.mounts == ("/run", "")


@pytest.mark.parametrize(
    "item",
    [None, [], {}, {"Id": "a", "Ports": {}}, {"Id": "a", "Ports": [{"PublicPort": "x"}]}, {"Id": "a", "Ports": [None]}]
    + [{"Id": "a", "Ports": [{"PublicPort": 99999}]}, {"Id": "a", "NetworkSettings": []}, {"Id": "a", "Mounts": "x"}],
)
def test_odd_containers_are_errors(item: Any) -> None:
    with pytest.raises(engine_client.EngineError):
        engine.parse_container(item)


@pytest.mark.parametrize("default", ["", "127.0.0.1"])
def test_a_stopped_container_takes_the_default_address_of_its_network(default: str) -> None:
    network = engine.Network("bridge", "bridge", host_binding=default)
    stopped = engine.parse_stopped(
        engine.Container("a" * 64, "x", False),
        {
            "HostConfig": {
                **{"NetworkMode": "default", "RestartPolicy": {"Name": "always"}},
                "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81/tcp": None},
            }
        },
        {"bridge": network},
    )
    assert stopped.starts_at_boot == "always"
    assert [(b.host_ip, b.port, b.proto) for b in stopped.bindings] == [(default, 8080, "tcp")]


def test_the_listeners_of_this_machine() -> None:
    with socket.socket() as four, socket.socket(socket.AF_INET6) as six, socket.socket(type=socket.SOCK_DGRAM) as udp:
        four.bind(("127.0.0.1", 0))
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.bind(("::1", 0))
        udp.bind(("127.0.0.1", 0))
        four.listen()
        six.listen()
        found = {(item.proto, str(item.address), item.port): item for item in sockets.listeners()}
        assert ("tcp", "127.0.0.1", four.getsockname()[1]) in found
        assert ("udp", "127.0.0.1", udp.getsockname()[1]) in found
        item = found["tcp", "::1", six.getsockname()[1]]
        assert item.only_v6
        owner = owners.Owners().of(item.inode)
        assert owner.pid == os.getpid()
    gone = {(item.proto, str(item.address), item.port) for item in sockets.listeners()}
    assert ("tcp", "::1", item.port) not in gone


def test_the_table_of_proc() -> None:
    text = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1\n"
        "   1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 78 1\n"
        "   2: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 79 1\n"
    )
    found = [(str(item.address), item.port, item.inode) for item in sockets.parse_proc("tcp", text)]
    assert found == [("127.0.0.1", 8080, 77), ("::1", 22, 79)]


@pytest.mark.parametrize("length", [0, 1, 40, 71])
def test_a_cut_answer_of_the_kernel_is_an_error(length: int) -> None:
    with pytest.raises(sockets.SocketError):
        sockets.parse_diag("tcp", bytes(length))


def test_a_message_of_the_kernel() -> None:
    payload = struct.pack("=BBBB", socket.AF_INET6, 10, 0, 0) + struct.pack(">HH", 443, 0) + bytes(32)
    payload += struct.pack("=III", 0, 1, 2) + bytes(16) + struct.pack("=I", 99) + struct.pack("=HHB3x", 5, 11, 1)
    item = sockets.parse_diag("tcp", payload)
    assert item is not None and (item.port, item.inode, item.only_v6) == (443, 99, True)


def test_owners_that_vanish_or_are_hidden(tmp_path: Path) -> None:
    (tmp_path / "10" / "fd").mkdir(parents=True)
    (tmp_path / "10" / "fd" / "3").symlink_to("socket:[55]")
    (tmp_path / "11").mkdir()
    known = owners.Owners(root=str(tmp_path))
    assert known.of(55) == owners.Owner("", 10) and known.of(56).process == "[kernel]"


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        ("0::/system.slice/docker-" + "a" * 64 + ".scope\n", "a" * 64),
        ("12:pids:/docker/" + "b" * 64 + "\n0::/x\n", "b" * 64),
        ("0::/machine.slice/libpod-" + "c" * 64 + ".scope/container\n", "c" * 64),
        ("0::/system.slice/ssh.service\n", ""),
        ("", ""),
    ],
)
def test_containers_by_control_group(cgroup: str, container: str) -> None:
    assert owners.container_of(cgroup) == container


def test_the_answers_are_json_safe() -> None:
    assert json.dumps(engine.parse_network({"Id": "a" * 64, "Name": "x", "Driver": "bridge"}).__dict__)
