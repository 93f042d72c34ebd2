# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from tests.support.firewall import DENIED, OPEN, OPEN4, applied
from tests.support.lab import Host
from tests.support.neighbour import listen


@pytest.fixture(scope="module")
def vps(bare_host: Host) -> Host:
    listen(bare_host, OPEN, DENIED, OPEN4)
    return bare_host


@pytest.fixture
def host(vps: Host) -> Host:
    """The VPS with the policy of these tests in force and confirmed."""
    applied(vps)
    return vps
