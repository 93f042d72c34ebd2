# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose network namespaces are on a host."""

from __future__ import annotations

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import namespaces
from ansible_collections.daffathan.platform.plugins.module_utils._audit.processes import Process, namespace

TABLE = [
    Process(1, "systemd", namespace("self")),
    Process(50, "server", "net:[50]"),
    Process(51, "worker", "net:[50]"),
    Process(60, "lxc", "net:[60]"),
    Process(70, "hidden", ""),
    Process(80, "gone", "net:[80]"),
]


def test_a_namespace_is_a_containers_a_strangers_or_not_to_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "_container", {50: "a" * 64, 60: "", 80: None}.__getitem__)
    monkeypatch.setattr(namespaces, "_NAMED", "/nonexistent")
    assert namespaces.of_containers(TABLE) == {"a" * 64: "/proc/50/ns/net"}
    assert namespaces.foreign(TABLE) == {"/proc/60/ns/net": "lxc (pid 60)"}
