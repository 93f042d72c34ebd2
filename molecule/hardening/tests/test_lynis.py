# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Lynis finds on a host after role hardening alone is in docs/hardening.md, with the reason why it stays."""

from __future__ import annotations

from tests.support.lab import Host
from tests.support.scanners import explained, lynis


def test_lynis_finds_nothing_that_is_not_explained(vps: Host) -> None:
    audit = lynis(vps)
    assert audit.tests > 200, "the audit ran to its end"
    assert audit.findings - explained() == set()
