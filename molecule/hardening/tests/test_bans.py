# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What failed logins cost the address they come from: the host and its containers, until the ban ends."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support import containers
from tests.support.lab import Host, attacker, wait_until
from tests.support.neighbour import reaches, reaches_none

PLAYBOOK = "molecule/hardening/converge.yml"
SSH = (
    *("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"),
    *("-o", "UserKnownHostsFile=/dev/null", "-o", "IdentityAgent=none", "-o", "ConnectTimeout=2", "-l", "nobody-here"),
)
NEIGHBOUR = {"IPv4": "10.231.0.6", "IPv6": "fd00:231::6"}


@pytest.fixture(scope="module")
def published(vps: Host) -> Iterator[int]:
    """A container that is published to everybody: for the time of the tests the guard and UFW let its port pass."""
    containers.install_engine(vps)
    containers.serve(vps, "banned", "0.0.0.0:8444:3000", "[::]:8444:3000")
    passing = "insert rule inet daffathan_guard forwarded meta l4proto tcp ct original proto-dst 8444 accept"
    vps.run("nft", passing)
    # Over IPv6 the engine's proxy answers, a process of the host.
    vps.run("ip6tables", "-I", "INPUT", "-p", "tcp", "--dport", "8444", "-j", "ACCEPT")
    yield 8444
    vps.run("ip6tables", "-D", "INPUT", "-p", "tcp", "--dport", "8444", "-j", "ACCEPT")
    vps.run("systemctl", "restart", "daffathan-guard.service")
    containers.remove(vps, "banned")


@pytest.fixture
def pardoned(vps: Host) -> Iterator[None]:
    vps.run("fail2ban-client", "unban", "--all")
    yield
    vps.run("fail2ban-client", "unban", "--all")


def banned(vps: Host) -> list[str]:
    return vps.run("fail2ban-client", "get", "sshd", "banip").split()


def fail_to_log_in(address: str) -> None:
    # A ban in the middle of the login leaves ssh waiting for an answer.
    attacker("timeout", "5", *SSH, address, "true", check=False)


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_failed_logins_cost_host_and_containers(vps: Host, published: int, pardoned: None, family: str) -> None:
    address = vps.address if family == "IPv4" else vps.address6
    ports = (22, published)
    assert wait_until(lambda: reaches(address, *ports), seconds=20)

    def fails() -> bool:
        fail_to_log_in(address)
        return NEIGHBOUR[family] in banned(vps)

    # sshd itself makes a source wait after some failures, from OpenSSH 9.8 on.
    assert wait_until(fails, seconds=120)
    assert wait_until(lambda: reaches_none(address, *ports), seconds=5)
    vps.run("ufw", "reload")
    assert reaches_none(address, *ports), "bans survive a reload of the firewall"
    vps.run("systemctl", "restart", "fail2ban.service")
    assert wait_until(lambda: reaches_none(address, *ports), seconds=10), "bans survive a restart"
    other = vps.address6 if family == "IPv4" else vps.address
    assert reaches(other, 22), "the other address of the same neighbour has done nothing"
    vps.run("fail2ban-client", "set", "sshd", "unbanip", NEIGHBOUR[family])
    assert wait_until(lambda: reaches(address, *ports), seconds=5)


def test_a_few_failures_cost_nothing(vps: Host, pardoned: None) -> None:
    for _ in range(2):
        fail_to_log_in(vps.address)
    # What fail2ban has read of the journal by now holds both.
    assert wait_until(lambda: "Currently failed:\t1" in vps.run("fail2ban-client", "status", "sshd"), seconds=20)
    assert banned(vps) == []


# The journal learns the name of a process only while it lives: it is fed until all it said was filed.
SAY = """
filed() { [ "$(journalctl --quiet _COMM=sshd --output cat | grep -cF "x from $address port")" -ge "$times" ]; }
cp /usr/bin/logger /tmp/sshd
address=$1 times=$2; shift 2
{
    for number in $(seq "$times"); do echo "Invalid user x from $address port $((40000 + number))"; done
    for attempt in $(seq 100); do filed && break; sleep 0.2; done
} | "$@" /tmp/sshd --tag sshd
rm /tmp/sshd
filed
"""


def say(vps: Host, address: str, times: int, *prefix: str) -> None:
    """Write failures of an address to the journal with the name of sshd, as root or as the prefix says."""
    vps.run("sh", "-euc", SAY, "say", address, str(times), *prefix)


def test_a_user_of_the_host_cannot_ban_others_by_faked_messages(vps: Host, pardoned: None) -> None:
    """Same name of the program, same words; but the journal knows who sent them."""
    say(vps, "198.51.100.9", 8, "setpriv", "--reuid", "65534", "--clear-groups")
    say(vps, "198.51.100.8", 8)
    assert wait_until(lambda: banned(vps), seconds=20)
    assert banned(vps) == ["198.51.100.8"], "root's are read, a user's are not"


def test_the_address_of_a_run_is_not_banned_by_what_was_before(vps: Host, pardoned: None) -> None:
    """Failures that fail2ban reads back when the role starts it."""
    vps.run("systemctl", "stop", "fail2ban.service")
    vps.run("rm", "-f", "/run/daffathan-fail2ban-peer")
    subprocess.run([*SSH, vps.address, "true"], capture_output=True, timeout=20, check=False)
    own = vps.run("journalctl", "--grep", "Invalid user nobody-here", "--output", "cat").split()[-3]
    assert own not in NEIGHBOUR.values()
    # In the words of sshd, which itself makes a source wait after some real failures.
    say(vps, own, 8)
    say(vps, "198.51.100.7", 8)
    result = vps.play(PLAYBOOK, "--tags", "hardening_fail2ban")
    assert result.rc == 0, result.output[-4000:]
    assert wait_until(lambda: "198.51.100.7" in banned(vps), seconds=20), "the others' failures were read back"
    # Those of the test before may be among what is read back; nobody else is.
    assert set(banned(vps)) <= {"198.51.100.7", "198.51.100.8"}
    assert vps.run("cat", "/run/daffathan-fail2ban-peer").strip() == own
    again = vps.play(PLAYBOOK, "--tags", "hardening_fail2ban")
    assert (again.rc, again.changed(vps.name)) == (0, 0), again.output[-4000:]
