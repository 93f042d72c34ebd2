# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ssh-audit says of the sshd of a hardened host, from a neighbour."""

from __future__ import annotations

from tests.support.lab import Host
from tests.support.scanners import ssh_audit


def test_ssh_audit_neither_fails_nor_warns(vps: Host) -> None:
    assert ssh_audit(vps.address) == set()
