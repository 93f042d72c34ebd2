# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from vpslab.config import FIRST_FREE, LAST_FREE, LabError, allocate, check_host, check_snapshot, from_environment


def test_the_default_lab_has_the_documented_names_and_addresses() -> None:
    lab = from_environment({})
    assert str(lab.home) == "/var/lib/daffathan-lab"
    assert lab.name == "daffathan-lab"
    assert lab.container("demo") == "daffathan-lab-demo"
    assert lab.label == "daffathan.lab=1"
    assert str(lab.network6) == "fd00:231::/64"
    assert (lab.address(20).v4, lab.address(20).v6) == ("10.231.0.20", "fd00:231::20")
    assert lab.unreachable == ("10.231.0.0/16", "fd00:231::/32")


def test_a_second_lab_shares_no_name_and_no_range_with_the_first() -> None:
    first = from_environment({})
    second = from_environment({"DAFFATHAN_LAB_HOME": "/tmp/two", "DAFFATHAN_LAB_NETWORK": "10.232.7.0/24"})
    assert second.address(5).v6 == "fd00:232:7::5"
    assert not second.network.overlaps(first.network)
    assert not second.network6.overlaps(first.network6)
    for attribute in ("name", "bridge", "label", "known_hosts"):
        assert getattr(first, attribute) != getattr(second, attribute)
    assert not second.image("vps").startswith(first.image(""))
    assert len(second.bridge) <= 15, "the kernel takes no longer interface name"


@pytest.mark.parametrize("text", ["10.232.0.0/16", "192.0.2.0/24", "10.232.0.1/24", "8.8.8.0/24", "nonsense", ""])
def test_a_network_that_is_no_private_24_is_refused(text: str) -> None:
    with pytest.raises(LabError, match=r"DAFFATHAN_LAB_NETWORK=.*use a"):
        from_environment({"DAFFATHAN_LAB_NETWORK": text})


@pytest.mark.parametrize("home", ["lab", "/", "/tmp/a b", "/tmp/a:b"])
def test_a_home_that_cannot_be_mounted_or_deleted_safely_is_refused(home: str) -> None:
    with pytest.raises(LabError, match="DAFFATHAN_LAB_HOME"):
        from_environment({"DAFFATHAN_LAB_HOME": home})


def test_hosts_get_the_lowest_free_address_and_demo_its_own() -> None:
    assert allocate("one", []) == FIRST_FREE
    assert allocate("three", [FIRST_FREE, FIRST_FREE + 2]) == FIRST_FREE + 1
    assert allocate("demo", [FIRST_FREE]) == 10


def test_a_full_network_is_an_error() -> None:
    with pytest.raises(LabError, match="no address left"):
        allocate("one", range(FIRST_FREE, LAST_FREE + 1))


@pytest.mark.parametrize("name", ["registry", "attacker", "Demo", "a_b", "-a", "", "a" * 32, "a;b"])
def test_unusable_host_names_are_refused(name: str) -> None:
    with pytest.raises(LabError, match="host"):
        check_host(name)


@pytest.mark.parametrize("name", ["A", "", "a/b", ".hidden", "a:b"])
def test_unusable_snapshot_names_are_refused(name: str) -> None:
    with pytest.raises(LabError, match="snapshot"):
        check_snapshot(name)


def test_usable_names_pass() -> None:
    assert check_host("web-1") == "web-1"
    assert check_snapshot("after.site_1") == "after.site_1"
