# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When the connections to a release are looked for, and when nobody asks it any more.

Time, and what the kernel says, are scripted: a walk through its sockets that finds another thing each time cannot be
had otherwise.
"""

from __future__ import annotations

import contextlib
import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._docker import drain
from ansible_collections.daffathan.platform.plugins.module_utils._docker.process import Process

GATEWAY, OTHER = "10.0.0.1", "10.0.0.9"
GONE = Process(0, "never")


def own_address(family: socket.AddressFamily) -> str | None:
    """An address of this machine that others could reach; nothing is sent to find it."""
    elsewhere = "192.0.2.1" if family == socket.AF_INET else "2001:db8::1"
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as one:
        one.connect((elsewhere, 9))
        return str(one.getsockname()[0])
    return None


class Kernel:
    """Says at each time what the script has for it: how many sockets, and who holds connections."""

    def __init__(self, *script: tuple[float, int | None, list[str]]) -> None:
        self.script, self.now, self.walks = script, 0.0, []

    def _at(self) -> tuple[float, int | None, list[str]]:
        return [entry for entry in self.script if entry[0] <= self.now + 1e-9][-1]

    def in_use(self, _pid: int) -> int | None:
        return self._at()[1]

    def holders(self, _pid: int, _port: int) -> list[str]:
        self.walks.append(round(self.now, 1))
        return self._at()[2]

    def sleep(self, seconds: float) -> None:
        self.now = round(self.now + seconds, 6)


def drained(
    monkeypatch: pytest.MonkeyPatch,
    kernel: Kernel,
    *,
    limit: float = 30,
    workers: Any = (),
    since: float | None = None,
) -> dict[str, Any]:
    monkeypatch.setattr(drain, "in_use", kernel.in_use)
    monkeypatch.setattr(drain, "holders", kernel.holders)
    monkeypatch.setattr(drain, "time", SimpleNamespace(monotonic=lambda: kernel.now, sleep=kernel.sleep))
    container = SimpleNamespace(labels={f"{drain.LABEL}.service": "api"}, attrs={"State": {"Running": True, "Pid": 7}})
    release = SimpleNamespace(services={"api": SimpleNamespace(drain_timeout=limit, port=3000)})
    names = {GATEWAY: "the gateway"}
    return dict(drain.wait_drained([container], release, workers, names, since=since))  # type: ignore[arg-type]


def test_nobody_looks_while_the_gateway_turns_to_the_other_release(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel((0, 1, []))
    assert drained(monkeypatch, kernel)["by"] == "connections"
    # Once to find none, and once to be sure.
    assert kernel.walks == [1.0, 1.5]


@pytest.mark.parametrize(("since", "walks"), [(-0.4, [0.6, 1.1]), (-1.0, [0.0, 0.5]), (-90.0, [0.0, 0.5])])
def test_the_time_since_the_switch_counts(monkeypatch: pytest.MonkeyPatch, since: float, walks: list[float]) -> None:
    kernel = Kernel((0, 1, []))
    assert drained(monkeypatch, kernel, since=since)["by"] == "connections"
    assert kernel.walks == walks


@pytest.mark.parametrize(("gone", "waited"), [(0.0, 0.0), (0.25, 0.3), (9.0, 1.0)])
def test_the_engine_is_left_alone_until_the_old_workers_are_gone(
    monkeypatch: pytest.MonkeyPatch, gone: float, waited: float
) -> None:
    kernel = Kernel((0, 1, []))
    monkeypatch.setattr(drain, "time", SimpleNamespace(monotonic=lambda: kernel.now, sleep=kernel.sleep))
    monkeypatch.setattr(drain, "alive", lambda workers: list(workers) if kernel.now < gone else [])
    drain.settle([GONE], 0.0)
    assert kernel.now == waited


def test_connections_are_looked_for_when_their_number_may_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel((0, 3, [GATEWAY, GATEWAY]), (1.8, 2, [GATEWAY]), (2.0, 1, []))
    found = drained(monkeypatch, kernel)
    assert found == {"by": "connections", "ms": found["ms"], "open": 0, "forced": False}
    assert kernel.walks == [1.0, 1.8, 2.0, 2.5]


def test_an_end_and_a_begin_at_once_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    # The gateway's connection ends in the moment in which the service opens one of its own: as many as before.
    kernel = Kernel((0, 2, [GATEWAY]), (1.8, 2, []))
    assert drained(monkeypatch, kernel)["by"] == "connections"
    assert kernel.walks == [1.0, 3.0, 3.5]


def test_a_connection_that_came_unnoticed_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel((0, 2, []), (1.2, 2, [OTHER]), (2.1, 1, []))
    assert drained(monkeypatch, kernel)["by"] == "connections"
    assert kernel.walks == [1.0, 1.5, 2.1, 2.6]


def test_where_the_kernel_does_not_count_each_time_is_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel((0, None, []))
    assert drained(monkeypatch, kernel)["by"] == "connections"
    assert kernel.walks == [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]


@pytest.mark.parametrize("limit", [0, 0.3, 5])
def test_what_is_held_when_the_time_is_over_is_told(monkeypatch: pytest.MonkeyPatch, limit: float) -> None:
    found = drained(monkeypatch, Kernel((0, 3, [GATEWAY, OTHER])), limit=limit)
    assert found == {"by": "timeout", "ms": found["ms"], "open": 2, "forced": True}
    assert limit * 1000 <= found["ms"] <= limit * 1000 + 100


def test_workers_that_are_gone_end_the_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = drained(monkeypatch, Kernel((0, 2, [OTHER])), workers=[GONE])
    assert (found["by"], found["ms"], found["open"]) == ("workers", 0, 1)


def test_the_kernel_counts_the_sockets_of_both_families() -> None:
    # Of this machine's own network: others may come and go meanwhile, but not a hundred.
    before = drain.in_use(os.getpid())
    families = (socket.AF_INET, socket.AF_INET6) if socket.has_ipv6 else (socket.AF_INET,)
    for family in families:
        opened = [socket.create_server(("", 0), family=family) for _ in range(200)]
        found = drain.in_use(os.getpid())
        for entry in opened:
            entry.close()
        assert before is not None and found is not None and found - before > 100


def test_a_family_without_sockets_is_not_walked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[str] = []
    monkeypatch.setattr(drain, "_in_use", lambda _pid, family: {"tcp": 0, "tcp6": 2}[family])
    monkeypatch.setattr(drain, "_sockets", lambda path: walked.append(path) or iter(()))
    drain.holders(7, 3000)
    assert walked == ["/proc/7/net/tcp6"]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_connection_from_elsewhere_is_found_in_its_family(family: socket.AddressFamily) -> None:
    address = own_address(family)
    if address is None:
        pytest.skip("this machine has no address of the family but the loopback's")
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        assert drain.holders(os.getpid(), port) == []
        with socket.create_connection((address, port)):
            assert drain.holders(os.getpid(), port) == [address]


def test_a_process_that_ended_has_no_sockets() -> None:
    assert drain.in_use(2**22 + 1) is None
    assert drain.holders(2**22 + 1, 3000) == []
