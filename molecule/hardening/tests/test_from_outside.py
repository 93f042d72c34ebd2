# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a neighbour can do on a host after role hardening alone: services that were never declared run on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import containers
from tests.support.lab import Host, PlayResult, attacker, lab, wait_until
from tests.support.scan import open_ports, udp_answer

PLAYBOOK = "molecule/hardening/converge.yml"
TOPICS = (
    *("firewall", "guard", "ssh", "sysctl", "modules", "upgrades", "journald", "declared_ports"),
    *("port_audit", "fail2ban", "time", "login", "sudo", "apparmor", "auditd"),
)
PASSWORD = "lab-only-password"
UDP_ECHO = """
import socket, sys
echo = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
echo.bind(("::", int(sys.argv[1])))
while True:
    data, peer = echo.recvfrom(64)
    echo.sendto(data, peer)
"""
# As a user types it: ssh asks a program for the password where it has no terminal.
PASSWORD_LOGIN = (
    f"printf '#!/bin/sh\\necho {PASSWORD}\\n' > /tmp/hd-askpass; chmod 755 /tmp/hd-askpass; "
    "SSH_ASKPASS=/tmp/hd-askpass SSH_ASKPASS_REQUIRE=force setsid -w ssh -F none -o StrictHostKeyChecking=no "
    "-o UserKnownHostsFile=/dev/null -o PubkeyAuthentication=no -o ConnectTimeout=10 "
    "-o PreferredAuthentications=password,keyboard-interactive -o NumberOfPasswordPrompts=1 "
    "{user}@{address} echo logged-in 2>&1"
)
KEY_LOGIN = (
    "ssh -F none -i /tmp/hd-key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes "
    "-o ConnectTimeout=10 {options} {user}@{address} {command} 2>&1"
)
# Prints how many of its attempts were answered, and how many there were. Ends when told to, or after the time given.
KNOCK = """
import os, socket, sys, time
address, port, end = sys.argv[1], int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
answered = attempts = 0
while time.monotonic() < end and not os.path.exists("/tmp/hd-stop"):
    attempts += 1
    try:
        socket.create_connection((address, port), timeout=0.1).close()
        answered += 1
    except OSError:
        time.sleep(0.02)
print(answered, attempts)
"""


@pytest.fixture(scope="module")
def services(vps: Host) -> Iterator[None]:
    """Listeners on a declared and an undeclared port, over TCP and UDP, on all addresses of both families."""
    for port in ("80", "9001"):
        vps.run("systemd-run", f"--unit=test-{port}", "--collect", "python3", "-m", "http.server", port, "--bind", "::")
    for port in ("443", "9002"):
        vps.run("systemd-run", f"--unit=test-udp-{port}", "--collect", "python3", "-c", UDP_ECHO, port)
    listening = "ss -Htln 'sport = :9001'; ss -Htln 'sport = :80'; ss -Huln 'sport = :443'; ss -Huln 'sport = :9002'"
    assert wait_until(lambda: len(vps.run("sh", "-c", listening).splitlines()) == 4, seconds=10)
    yield
    vps.run("sh", "-c", "systemctl stop 'test-*'")


@pytest.fixture(scope="module")
def logins(vps: Host) -> Iterator[None]:
    """A user and root, both with a password, and with a key that the neighbour holds."""
    attacker("sh", "-ec", "rm -f /tmp/hd-key*; ssh-keygen -q -t ed25519 -N '' -f /tmp/hd-key")
    key = attacker("cat", "/tmp/hd-key.pub").strip()
    vps.run("useradd", "--create-home", "--shell", "/bin/bash", "visitor")
    vps.run("cp", "-a", "/root/.ssh", "/root/.ssh.before")
    for user, home in (("visitor", "/home/visitor"), ("root", "/root")):
        script = f"echo {user}:{PASSWORD} | chpasswd; install -d -m 700 -o {user} {home}/.ssh; "
        script += f"echo '{key}' >> {home}/.ssh/authorized_keys; chown {user} {home}/.ssh/authorized_keys"
        vps.run("sh", "-ec", script)
    yield
    vps.run("sh", "-ec", "rm -r /root/.ssh; mv /root/.ssh.before /root/.ssh; passwd --quiet --lock root")
    vps.run("userdel", "--remove", "visitor", check=False)
    attacker("rm", "-f", "/tmp/hd-key", "/tmp/hd-key.pub", "/tmp/hd-askpass")


def test_only_declared_ports_answer_on_tcp(vps: Host, services: None) -> None:
    assert vps.run("curl", "-so", "/dev/null", "-w", "%{http_code}", "http://localhost:9001/") == "200"
    with ThreadPoolExecutor() as pool:
        four, six = pool.map(open_ports, (vps.address, vps.address6))
    assert (four, six) == ({22, 80}, {22, 80})


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_only_declared_ports_answer_on_udp(vps: Host, services: None, family: str) -> None:
    address = vps.address if family == "IPv4" else vps.address6
    assert udp_answer(address, 443) == "ping"
    assert udp_answer(address, 9002) == "silent"


@pytest.mark.parametrize("user", ["visitor", "root"])
def test_a_login_with_a_correct_password_is_refused(vps: Host, logins: None, user: str) -> None:
    told = attacker("sh", "-c", PASSWORD_LOGIN.format(user=user, address=vps.address), check=False)
    assert "logged-in" not in told
    assert "Permission denied (publickey)" in told


@pytest.mark.parametrize("user", ["visitor", "root"])
def test_a_login_with_a_key_succeeds(vps: Host, logins: None, user: str) -> None:
    told = attacker("sh", "-c", KEY_LOGIN.format(user=user, address=vps.address, options="", command="whoami"))
    assert told.splitlines()[-1] == user


def test_tunnels_go_to_the_host_and_not_back(vps: Host, logins: None, services: None) -> None:
    ask = "sh -c 'sleep 1; curl -so /dev/null -m 5 -w %{{http_code}} http://127.0.0.1:{port}/'"
    login = KEY_LOGIN.replace("{command}", "{command} & ssh=$!; {ask}; kill $ssh 2>/dev/null; wait")
    there = {"options": "-N -L 127.0.0.1:19001:127.0.0.1:9001", "command": "", "ask": ask.format(port=19001)}
    assert attacker("sh", "-c", login.format(user="visitor", address=vps.address, **there), check=False) == "200"
    back = {"options": "-N -o ExitOnForwardFailure=yes -R 127.0.0.1:19002:127.0.0.1:22", "command": ""}
    told = attacker("sh", "-c", KEY_LOGIN.format(user="visitor", address=vps.address, **back), check=False, timeout=20)
    assert "remote port forwarding failed" in told


def test_a_dry_run_on_the_converged_host_plans_nothing(vps: Host) -> None:
    result = vps.play(PLAYBOOK, "--check", "--diff")
    assert result.rc == 0, result.output[-4000:]
    assert result.changed(vps.name) == 0, result.output[-4000:]


def test_each_tag_works_alone(vps: Host) -> None:
    def run(topic: str) -> PlayResult:
        return vps.play(PLAYBOOK, "--tags", f"hardening_{topic}")

    with ThreadPoolExecutor(4) as pool:
        results = dict(zip(TOPICS, pool.map(run, TOPICS), strict=True))
    for topic, result in results.items():
        assert result.rc == 0, f"{topic}: {result.output[-4000:]}"
        assert result.changed(vps.name) == 0, f"{topic}: {result.output[-4000:]}"


@pytest.fixture(scope="module")
def container(vps: Host) -> None:
    """A container published on all addresses, started again at each boot."""
    containers.install_engine(vps)
    containers.serve(vps, "shop", "8080:3000", restart="always")
    assert wait_until(lambda: answers_inside(vps), seconds=20)


def answers_inside(vps: Host) -> bool:
    return vps.run("curl", "-so", "/dev/null", "-m", "2", "-w", "%{http_code}", "http://127.0.0.1:8080/") == "200"


def knock(vps: Host, seconds: float, port: int = 8080) -> tuple[int, int]:
    answered, attempts = attacker("python3", "-c", KNOCK, vps.address, str(port), str(seconds)).split()
    return int(answered), int(attempts)


def test_the_guard_keeps_published_ports_closed_that_were_not_declared(vps: Host, container: None) -> None:
    containers.serve(vps, "declared", "8443:3000")
    assert knock(vps, 1)[0] == knock(vps, 1, port=8443)[0] == 0
    vps.run("nft", "delete", "table", "inet", "daffathan_guard")
    assert knock(vps, 1)[0] > 0, "without the guard Docker lets it pass the firewall"
    guard = ("--tags", "hardening_guard")
    opened = vps.play(PLAYBOOK, *guard, hardening_guard_published=[{"port": 8443}])
    assert opened.rc == 0, opened.output[-4000:]
    assert knock(vps, 1)[0] == 0
    assert knock(vps, 1, port=8443)[0] > 0
    closed = vps.play(PLAYBOOK, *guard)
    assert closed.rc == 0, closed.output[-4000:]
    assert knock(vps, 1, port=8443)[0] == 0
    containers.remove(vps, "declared")


def test_a_container_reaches_the_network(vps: Host, container: None) -> None:
    assert containers.reaches_the_registry(vps, "shop")


def moment(vps: Host, unit: str, change: str) -> int:
    return int(vps.run("systemctl", "show", "--property", f"{change}TimestampMonotonic", "--value", unit))


def test_a_reboot_opens_nothing(vps: Host, container: None) -> None:
    """A neighbour knocks from before the shutdown until the container serves again."""
    attacker("rm", "-f", "/tmp/hd-stop")
    with ThreadPoolExecutor() as pool:
        knocking = pool.submit(knock, vps, 90)
        time.sleep(1)
        try:
            lab("restart", vps.name)
            assert wait_until(lambda: answers_inside(vps), seconds=60)
            time.sleep(1)
        finally:
            attacker("touch", "/tmp/hd-stop")
        answered, attempts = knocking.result()
    attacker("rm", "/tmp/hd-stop")
    assert attempts > 100
    assert answered == 0
    engine = moment(vps, "docker.service", "InactiveExit")
    assert 0 < moment(vps, "daffathan-guard.service", "ActiveEnter") < engine
    assert "hook forward" in vps.run("nft", "list", "table", "inet", "daffathan_guard")
    assert "Status: active" in vps.run("ufw", "status")
