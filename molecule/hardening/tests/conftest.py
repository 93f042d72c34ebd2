# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from testinfra.host import Host as Inside

from tests.support.lab import Host, running


@pytest.fixture(scope="module")
def vps(host: Inside) -> Host:
    """The lab host that the verifier looks into, which need not be this scenario's own."""
    return running(host.check_output("hostname"))
