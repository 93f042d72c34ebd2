# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.support.converged import converged
from tests.support.lab import Host, up


@pytest.fixture(scope="module")
def bare_host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A new VPS for one test module, with the Debian release that DAFFATHAN_TEST_SUITE names (trixie)."""
    name = f"it-{request.module.__name__.rpartition('.')[2].removeprefix('test_').replace('_', '-')}"
    host = up(name, suite=os.environ.get("DAFFATHAN_TEST_SUITE", "trixie"))
    yield host
    host.down()


@pytest.fixture(scope="module")
def platform_host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A VPS on which site.yml has run, for one test module."""
    name = f"it-{request.module.__name__.rpartition('.')[2].removeprefix('test_').replace('_', '-')}"
    host = converged(name)
    yield host
    host.down()


@pytest.fixture(scope="module")
def platform_pair(request: pytest.FixtureRequest) -> Iterator[tuple[Host, Host]]:
    """Two VPSes on which site.yml has run, for one test module."""
    name = f"it-{request.module.__name__.rpartition('.')[2].removeprefix('test_').replace('_', '-')}"
    first = converged(f"{name}-a")
    second = converged(f"{name}-b")
    yield first, second
    for host in (first, second):
        host.down()


@pytest.fixture
def extra_host() -> Iterator[Callable[[str], Host]]:
    """More bare VPSes for one test, taken down afterwards."""
    hosts: list[Host] = []

    def start(name: str) -> Host:
        hosts.append(up(name))
        return hosts[-1]

    yield start
    for host in hosts:
        host.down()
