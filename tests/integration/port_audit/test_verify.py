# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit of a VPS, verified from the controller and from another VPS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.ansible import Run, answer, module
from tests.support.audited import SSH, audit, firewall, listen, shell
from tests.support.lab import Host, PlayResult, up

OPEN = {"port": 9001, "reason": "a test"}


@pytest.fixture(scope="module")
def vps(bare_host: Host) -> Host:
    """9001 is open, 9002 is behind the firewall."""
    listen(bare_host, 9001, "::")
    listen(bare_host, 9002, "::")
    firewall(bare_host, "allow 9001/tcp")
    return bare_host


@pytest.fixture(scope="module")
def other() -> Iterator[Host]:
    """Another VPS, to look from."""
    host = up("it-verify-from")
    yield host
    host.down()


def verified(vps: Host, *arguments: str, **extra: Any) -> PlayResult:
    return vps.play("audit", "--tags", "verify", *arguments, **{"port_audit_expected": [SSH, OPEN], **extra})


def test_the_controller_finds_what_the_audit_says(vps: Host) -> None:
    result = verified(vps, port_audit_verify_addresses=[vps.address, vps.address6])
    assert result.rc == 0, result.output[-4000:]
    assert "reachable: 22/tcp 9001/tcp;" in result.output and "from controller: no findings" in result.output
    assert verified(vps, "--check").rc == 0


def test_without_its_tag_nobody_knocks(vps: Host) -> None:
    result = vps.play("audit", "--tags", "live", port_audit_expected=[SSH, OPEN])
    assert result.rc == 0 and "from controller:" not in result.output, result.output[-4000:]


def test_something_in_between_closes_a_port(vps: Host, other: Host) -> None:
    options = {"port_audit_verify_from": other.name}
    inventory = ("--inventory", str(other.inventory))
    # As a provider's firewall would.
    shell(other, f"iptables -A OUTPUT -p tcp -d {vps.address} --dport 9001 -j DROP")
    try:
        low = verified(vps, *inventory, **options)
        assert low.rc == 0 and f"from {other.name}: 1 low" in low.output, low.output[-4000:]
        failed = verified(vps, *inventory, port_audit_fail_on="low", **options)
        assert failed.rc != 0 and f"9001/tcp of {vps.address} does not answer {other.name}" in failed.output
    finally:
        shell(other, "iptables -F OUTPUT")


def test_a_port_that_answers_although_the_audit_says_no(vps: Host, other: Host) -> None:
    """The audit is true when it is made; a rule that comes later makes it wrong."""
    audited = audit(vps, expected=[SSH, OPEN])
    assert not audited["failed"], audited["msg"]
    vps.run("ufw", "allow", "9002/tcp")
    try:
        wanted = {key: audited[key] for key in ("reachable", "candidates")}
        options = {"mode": "verify", "verify": {"addresses": [vps.address, vps.address6], **wanted}}
        result = answer(Run("ansible", *module(other, "port_audit", options)).result())
    finally:
        vps.run("ufw", "delete", "allow", "9002/tcp")
    assert result["failed"]
    found = {(item["id"], item["severity"], item["host_ip"], item["port"]) for item in result["findings"]}
    assert found == {("verify-open", "critical", address, 9002) for address in (vps.address, vps.address6)}


def test_an_address_where_nobody_answers_is_no_proof(vps: Host) -> None:
    result = verified(vps, port_audit_verify_addresses=["10.231.0.250"])
    assert result.rc != 0 and "10.231.0.250 could not be verified" in result.output, result.output[-4000:]


def test_a_vantage_that_is_not_in_the_inventory_is_refused(vps: Host) -> None:
    result = verified(vps, port_audit_verify_from="nowhere")
    assert result.rc != 0 and "port_audit_verify_from: nowhere is not in the inventory" in result.output
