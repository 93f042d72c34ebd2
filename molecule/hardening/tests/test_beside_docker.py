# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The firewall changes, and the engine notices nothing: its rules, its containers' traffic, its closed ports."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support import containers
from tests.support.firewall import SSH, applied
from tests.support.lab import Host, wait_until
from tests.support.neighbour import listen, outcomes, probe

PLAYBOOK = "molecule/hardening/converge.yml"
LOOPBACK, PUBLIC, DECLARED = 8085, 8086, 80
WEB = {"action": "allow", "port": str(DECLARED), "proto": "tcp"}
# Some fifty requests a second, until told to end: how many were answered, and how many were not.
ASK = f"""
import os, time, urllib.request
answered = failed = 0
while not os.path.exists("/tmp/stop-asking"):
    try:
        answered += urllib.request.urlopen("http://127.0.0.1:{LOOPBACK}/", timeout=5).status == 200
    except OSError:
        failed += 1
    time.sleep(0.02)
os.unlink("/tmp/stop-asking")
open("/tmp/asked", "w").write(f"{{answered}} {{failed}}")
"""


@pytest.fixture(scope="module")
def beside(vps: Host) -> Iterator[Host]:
    """A container for the host alone, one that Docker publishes to everybody; then the policy of the role again."""
    containers.install_engine(vps)
    containers.serve(vps, "inner", f"127.0.0.1:{LOOPBACK}:3000")
    containers.serve(vps, "outer", f"{PUBLIC}:3000", restart="always")
    if not vps.run("ss", "-Htln", f"sport = :{DECLARED}"):
        listen(vps, DECLARED)
    yield vps
    vps.run("systemctl", "stop", "test-listen.service", check=False)
    for name in ("inner", "outer"):
        containers.remove(vps, name)
    restored = vps.play(PLAYBOOK, "--tags", "hardening_firewall")
    assert restored.rc == 0, restored.output[-4000:]


def rules_of_the_engine(host: Host) -> list[str]:
    """All of the packet filter and the address translation that is not ufw's."""
    saved = host.run("sh", "-ec", "iptables-save; ip6tables-save; nft list tables")
    plain = (re.sub(r"\[\d+:\d+\]", "", line) for line in saved.splitlines() if not line.startswith("#"))
    return [line for line in plain if "ufw" not in line and not re.match(":(INPUT|FORWARD|OUTPUT) ", line)]


def test_changes_of_the_policy_leave_the_engine_alone(beside: Host) -> None:
    before = rules_of_the_engine(beside)
    assert any("DOCKER" in line for line in before)
    beside.run("systemd-run", "--unit=asking", "--collect", "python3", "-c", ASK)
    with probe(beside.address, denied=PUBLIC, allowed=DECLARED) as probed:
        applied(beside, rules=[SSH, WEB], defaults={"incoming": "reject", "routed": "reject"}, logging="full")
        applied(beside, rules=[SSH, WEB, {"action": "allow", "port": "9000"}], defaults={"routed": "allow"})
        applied(beside, rules=[SSH, WEB])
        assert not applied(beside, rules=[SSH, WEB]).changed
        assert containers.reaches_the_registry(beside, "inner")
    counts = probed.result()
    assert counts["denied"]["sent"] > 1000 and counts["denied"]["connected"] == 0
    assert counts["allowed"]["connected"] == counts["allowed"]["sent"] > 200
    beside.run("sh", "-c", "touch /tmp/stop-asking; while systemctl -q is-active asking; do sleep 0.1; done")
    answered, failed = map(int, beside.run("cat", "/tmp/asked").split())
    assert answered > 100 and failed == 0
    assert rules_of_the_engine(beside) == before


def test_the_engine_may_restart_without_the_policy_being_drift(beside: Host) -> None:
    applied(beside, rules=[SSH, WEB])
    beside.run("systemctl", "restart", "docker.service")
    published = ("curl", "-so", "/dev/null", "-m", "2", f"http://127.0.0.1:{PUBLIC}/")
    assert wait_until(lambda: beside.rc(*published) == 0, seconds=20), "the container is back"
    assert not applied(beside, rules=[SSH, WEB]).changed
    assert outcomes([("10.231.0.6", beside.address, PUBLIC)]) == ["silent"]
