# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Never locked out, never open: whoever is killed or restarted in the middle of a change."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.firewall import (
    DENIED,
    OPEN,
    RULES,
    applied,
    command,
    connects,
    policy,
    shell,
    state,
    without_times,
)
from tests.support.lab import PROJECT, Host, lab, wait_until
from tests.support.neighbour import listen

# The port of SSH is missing: nobody can confirm this policy.
LOCKOUT: dict[str, Any] = {"rules": RULES[1:], "ssh_guard": False}
CHANGED: dict[str, Any] = {
    "rules": [*RULES, {"action": "allow", "port": "9010", "proto": "tcp"}],
    "defaults": {"incoming": "reject"},
}
PENDING = "/var/lib/daffathan/ufw-rollback/plan.json"
KILLED = "/usr/local/bin/killed"
# Kills the module as it enters the system call that would put the given file (counted from 1) in its place.
KILLER = """#!/bin/sh
exec strace -f -qq -o /dev/null -e trace=rename -e inject=rename:signal=KILL:when={when} /usr/bin/python3 "$@"
"""


def nothing_pending(host: Host) -> bool:
    """No file of the rollback is left, and no timer."""
    return not shell(
        host,
        "find /var/lib/daffathan /etc/systemd/system -name '*ufw-rollback*' 2> /dev/null || true; "
        "find /etc/ufw /etc/default -name '.*.new'; "
        "systemctl list-timers --all --no-legend 'daffathan-ufw-*'",
    ).strip()


def reboot(host: Host) -> None:
    lab("restart", host.name)
    listen(host, OPEN, DENIED)


@contextmanager
def waiting_for_a_connection(host: Host, seconds: int) -> Iterator[None]:
    """A controller that has sent a policy nobody can confirm; it is killed at the end."""
    # In a PID namespace, so that no ssh of it lives on, connects after all and confirms.
    argv = ["unshare", "--pid", "--fork", "--kill-child", *command(host, **LOCKOUT, rollback_timeout=seconds)]
    controller = subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.DEVNULL)
    try:
        shut = "test -e " + PENDING + " && ! iptables -S ufw-user-input | grep -q 'dport 22 '"
        assert wait_until(lambda: host.rc("bash", "-c", shut) == 0, seconds=30)
        yield
    finally:
        controller.kill()
        controller.wait()


def test_a_confirmed_policy_leaves_nothing_behind(host: Host) -> None:
    answer = applied(host, **CHANGED)
    assert answer.result["rollback"] == {"confirmed": True, "timeout": 60}
    assert nothing_pending(host)
    assert applied(host, **CHANGED).result["rollback"] == {}


def test_without_a_timeout_nothing_is_waited_for(host: Host) -> None:
    answer = applied(host, rollback_timeout=0, **CHANGED)
    assert answer.result["rollback"] == {"confirmed": False, "timeout": 0}
    assert nothing_pending(host)


def test_a_policy_that_lets_no_new_connection_through_is_taken_back(host: Host) -> None:
    before = without_times(state(host))
    answer = policy(host, rollback_timeout=6, **LOCKOUT)
    assert answer.failed and "rollback_timeout=6" in answer.result["msg"], answer.result["msg"]
    assert without_times(state(host)) == before and nothing_pending(host)
    assert not applied(host).changed


def test_the_first_policy_of_a_host_is_taken_back_as_well(host: Host) -> None:
    applied(host, state="disabled")
    answer = policy(host, rollback_timeout=6, **LOCKOUT)
    assert answer.failed and "rollback_timeout=6" in answer.result["msg"], answer.result["msg"]
    assert "Status: inactive" in host.run("ufw", "status") and connects(host, DENIED)
    assert nothing_pending(host)


def test_a_controller_that_dies_does_not_leave_the_host_shut(host: Host) -> None:
    before = without_times(state(host))
    with waiting_for_a_connection(host, 10):
        assert not connects(host, 22)
    assert wait_until(lambda: nothing_pending(host), seconds=30)
    assert without_times(state(host)) == before and connects(host, 22)


def test_a_restart_meanwhile_does_not_leave_the_host_shut(host: Host) -> None:
    before = without_times(state(host))
    with waiting_for_a_connection(host, 600):
        assert not connects(host, 22)
    reboot(host)
    assert without_times(state(host)) == before and nothing_pending(host)
    assert connects(host, 22) and connects(host, OPEN) and not connects(host, DENIED)


def test_the_next_run_keeps_the_way_back_of_the_one_that_was_killed(host: Host) -> None:
    """The state to go back to is the last one that was confirmed, not the one that was being tried."""
    before = without_times(state(host))
    with waiting_for_a_connection(host, 600):
        pass
    # Another way in, as an operator at the console makes it.
    for program, ufw in (("iptables", "ufw"), ("ip6tables", "ufw6")):
        host.run(program, "-I", f"{ufw}-user-input", "-p", "tcp", "--dport", "22", "-j", "ACCEPT")
    answer = policy(host, rollback_timeout=6, rules=RULES[2:], ssh_guard=False)
    assert answer.failed and "rollback_timeout=6" in answer.result["msg"], answer.result["msg"]
    assert without_times(state(host)) == before and nothing_pending(host)


def test_a_change_that_fails_half_way_is_taken_back_at_once(host: Host) -> None:
    """IPv4 is loaded, IPv6 fails in the kernel of the host: a fault that only a program in its place can produce."""
    before = without_times(state(host))
    shell(
        host,
        "printf '%s\\n' '#!/bin/sh' 'test \"$(readlink /proc/self/ns/net)\" = \"$(readlink /proc/1/ns/net)\" &&"
        " test ! -e /tmp/failed && touch /tmp/failed && exit 1' 'exec /usr/sbin/ip6tables-restore \"$@\"'"
        " > /usr/local/sbin/ip6tables-restore; chmod 755 /usr/local/sbin/ip6tables-restore",
    )
    try:
        answer = policy(host, **CHANGED)
    finally:
        shell(host, "rm -f /usr/local/sbin/ip6tables-restore /tmp/failed")
    assert answer.failed and "the firewall is as it was" in answer.result["msg"], answer.result["msg"]
    assert without_times(state(host)) == before and nothing_pending(host)


@contextmanager
def killed_before_write(host: Host, when: int) -> Iterator[str]:
    """An interpreter for the module that dies as it is about to put the given file in its place."""
    shell(host, f"cat > {KILLED} <<'END'\n{KILLER.format(when=when)}END\nchmod 755 {KILLED}")
    yield KILLED
    host.run("rm", KILLED)


@pytest.fixture(scope="module")
def strace(vps: Host) -> None:
    shell(vps, "apt-get -q update; apt-get -qy install --no-install-recommends strace")


def test_killed_at_every_write_then_restarted(host: Host, strace: None) -> None:
    """The host lets its administrator in and keeps its ports shut, restarted or not; the next run ends the work."""
    policies: list[dict[str, Any]] = [{}, CHANGED]
    good: list[list[str]] = []
    for options in reversed(policies):
        applied(host, **options)
        good.insert(0, without_times(state(host)))
    for when in range(1, 20):
        options = policies[when % 2]
        with killed_before_write(host, when) as interpreter:
            answer = policy(host, interpreter=interpreter, **options)
        if not answer.failed:
            break
        assert connects(host, 22) and not connects(host, DENIED), f"killed before write {when}"
        reboot(host)
        assert connects(host, 22) and connects(host, OPEN) and not connects(host, DENIED), f"restarted, write {when}"
        applied(host, **options)
        assert without_times(state(host)) == good[when % 2] and nothing_pending(host), f"completed, write {when}"
    # Three files of the rollback, three of UFW: nothing in ufw.conf is changed.
    assert when == 7


def test_the_first_policy_killed_at_every_write_then_restarted(host: Host, strace: None, as_installed: str) -> None:
    """A host without a firewall is never shut, wherever the module that sets one up is cut short."""
    for when in range(1, 20):
        shell(host, as_installed)
        with killed_before_write(host, when) as interpreter:
            answer = policy(host, interpreter=interpreter)
        if not answer.failed:
            break
        assert connects(host, 22), f"killed before write {when}"
        reboot(host)
        assert connects(host, 22), f"restarted, write {when}"
        assert applied(host).changed, f"completed, write {when}"
        assert connects(host, OPEN) and not connects(host, DENIED) and nothing_pending(host)
    # Three files of the rollback, three of UFW: the default policies are those of the package.
    assert when == 7


@pytest.fixture(scope="module", autouse=True)
def as_installed(vps: Host) -> str:
    """The script that makes UFW what it was when its package had just been installed."""
    shell(vps, "tar -C /etc -cf /root/as-installed.tar ufw default/ufw")
    return (
        "/usr/lib/ufw/ufw-init force-stop; systemctl disable --now ufw; "
        "for t in iptables ip6tables; do $t -F; $t -X; done; "
        "rm -r /etc/ufw; tar -C /etc -xf /root/as-installed.tar"
    )
