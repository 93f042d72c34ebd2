# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.audited import clean, install_docker
from tests.support.lab import Host


@pytest.fixture(scope="module")
def docker_host(bare_host: Host) -> Host:
    """A VPS of one test module with Docker."""
    install_docker(bare_host)
    return bare_host


@pytest.fixture
def vps(docker_host: Host) -> Iterator[Host]:
    """The same VPS for each test, without what the one before it set up."""
    yield docker_host
    clean(docker_host)
