# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In every situation the audit's reachable ports are those that a neighbour's sweep finds: no more and no less.

All 65 535 TCP and all 65 535 UDP ports are tried, over IPv4 and IPv6. DAFFATHAN_TEST_ENGINES names the engines (26).

Not here: ipvlan and SCTP, whose modules the kernel of a lab may lack; macvlan passes the host by as ipvlan does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support import truth
from tests.support.lab import Host
from tests.support.situations import ENGINES, SITUATIONS, Situation

WANTED = os.environ.get("DAFFATHAN_TEST_ENGINES", "26").split()
CASES = [
    pytest.param(engine, situation, id=f"{engine}-{situation.name}")
    for engine in WANTED
    for situation in SITUATIONS
    if engine in situation.engines
]
# The audit could not look: then an equal set would be luck.
BLIND = {"sockets-not-examined", "rules-not-examined", "engine-not-examined", "port-not-evaluated"}


@pytest.fixture(scope="module")
def vps(request: pytest.FixtureRequest) -> Iterator[Host]:
    host = truth.prepared(request.param)
    with truth.second_address():
        yield host
    host.down()


def test_there_are_enough_situations() -> None:
    assert set(WANTED) <= set(ENGINES)
    assert len({situation.name for situation in SITUATIONS}) == len(SITUATIONS) >= 30


@pytest.mark.parametrize(("vps", "situation"), CASES, indirect=["vps"], scope="module")
def test_the_audit_tells_what_a_neighbour_reaches(vps: Host, situation: Situation) -> None:
    reached, told, result = truth.compared(vps, situation)
    overlooked, invented = sorted(reached - told), sorted(told - reached)
    assert not overlooked and not invented, f"overlooked {overlooked}, invented {invented}: {result['reachable']}"
    assert not BLIND & {finding["id"] for finding in result["findings"]}
