# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Purge, tags, profiles, IPv6 off, the guard of SSH sessions, and hosts on which the module cannot work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.firewall import (
    DENIED,
    OPEN,
    RULES,
    SSH,
    applied,
    connects,
    policy,
    shell,
    state,
    without_times,
)
from tests.support.lab import Host, attacker
from tests.support.neighbour import reaches

ALLOW_DENIED = {"action": "allow", "port": str(DENIED), "proto": "tcp"}
ALLOW_OPEN = {"action": "allow", "port": str(OPEN), "proto": "tcp"}


def added(host: Host) -> list[str]:
    """The rules that ufw itself knows, in order."""
    return [line for line in host.run("ufw", "show", "added").splitlines() if line.startswith("ufw ")]


def test_each_tag_is_purged_alone(host: Host) -> None:
    host.run("ufw", "allow", "7777/tcp")
    first: dict[str, Any] = {"rules": [SSH, ALLOW_OPEN], "purge": "tagged", "tag": "base"}
    second: dict[str, Any] = {"rules": [ALLOW_DENIED], "purge": "tagged", "tag": "app"}
    assert applied(host, **first).changed and applied(host, **second).changed
    assert set(added(host)) >= {
        "ufw allow 7777/tcp",
        "ufw allow 22/tcp comment 'base: ssh'",
        f"ufw allow {OPEN}/tcp comment 'base'",
        f"ufw allow {DENIED}/tcp comment 'app'",
    }
    # Neither moves what the other one owns.
    assert not applied(host, **first).changed and not applied(host, **second).changed
    assert connects(host, OPEN) and connects(host, DENIED)
    gone = applied(host, **{**second, "rules": []})
    assert gone.changed and f"-ufw allow {DENIED}/tcp comment 'app'" in gone.diff
    assert connects(host, OPEN) and not connects(host, DENIED)
    assert "ufw allow 7777/tcp" in added(host)


def test_a_ban_stays_in_front_and_bans(host: Host) -> None:
    source = attacker("hostname", "-I").split()[0]
    comment = "by Fail2Ban after 5 attempts against sshd"
    host.run("ufw", "prepend", "reject", "from", source, "to", "any", "comment", comment)
    keep: dict[str, Any] = {"purge_keep": ["by Fail2Ban*"]}
    assert not applied(host, **keep).changed
    host.run("ufw", "allow", "7777/tcp")
    purged = applied(host, logging="medium", **keep)
    assert "-ufw allow 7777/tcp" in purged.diff and added(host)[0] == f"ufw reject from {source} comment '{comment}'"
    assert not reaches(host.address, OPEN) and reaches(host.address6, OPEN)
    assert f"-ufw reject from {source}" in applied(host).diff and reaches(host.address, OPEN)


def test_source_profiles_are_the_rules_that_ufw_makes_of_them(host: Host) -> None:
    entries = [
        SSH,
        {"action": "allow", "from_app": "DNS"},
        {"action": "allow", "app": "WWW Full", "from_app": "WWW Full"},
        {"action": "deny", "app": "DNS", "from_app": "WWW Secure", "from": "192.0.2.0/24"},
        {"action": "allow", "from_app": "WWW", "to": "2001:db8::1", "port": "1024"},
    ]
    assert applied(host, rules=entries).changed
    before = state(host)
    for words in (
        "allow from any app DNS",
        "allow from any app 'WWW Full' to any app 'WWW Full'",
        "deny from 192.0.2.0/24 app 'WWW Secure' to any app DNS",
        "allow from any app WWW to 2001:db8::1 port 1024",
    ):
        said = shell(host, f"ufw {words}").splitlines()
        assert said and all(line.startswith("Skipping adding existing rule") for line in said), said
    assert state(host) == before and not applied(host, rules=entries).changed


def test_a_declared_rule_takes_the_place_of_another(host: Host) -> None:
    host.run("ufw", "deny", f"{DENIED}/tcp", "comment", "by hand")
    answer = applied(host, rules=[*RULES, ALLOW_DENIED], purge="none")
    assert answer.changed and connects(host, DENIED) and not any("by hand" in line for line in added(host))


def test_ipv6_off_is_refused_while_it_is_used(vps: Host) -> None:
    before = state(vps)
    answer = policy(vps, ipv6=False, rules=[SSH])
    assert (
        answer.failed and f"{vps.address6} on eth0" in answer.result["msg"] and "`ipv6: true`" in answer.result["msg"]
    )
    assert state(vps) == before


@contextmanager
def without_global_ipv6(host: Host) -> Iterator[None]:
    address = host.run("ip", "-6", "-oneline", "address", "show", "dev", "eth0", "scope", "global").split()[3]
    host.run("ip", "address", "del", address, "dev", "eth0")
    try:
        yield
    finally:
        host.run("ip", "address", "add", address, "dev", "eth0", "nodad")


def test_ipv6_off_closes_it_and_leaves_others_alone(host: Host) -> None:
    docker = "ip6tables -N DOCKER-USER; ip6tables -A DOCKER-USER -j RETURN; ip6tables -I FORWARD -j DOCKER-USER"
    shell(host, docker)
    rules6 = host.run("cat", "/etc/ufw/user6.rules")
    with without_global_ipv6(host):
        dry = policy(host, ipv6=False, rules=[SSH, ALLOW_OPEN], check=True)
        answer = applied(host, ipv6=False, rules=[SSH, ALLOW_OPEN])
        assert answer.diff == dry.diff and "+IPv6: off" in answer.diff
        assert host.run("cat", "/etc/ufw/user6.rules") == rules6
        assert not applied(host, ipv6=False, rules=[SSH, ALLOW_OPEN]).changed
        shell(host, "ip6tables -P INPUT ACCEPT; ip6tables -D OUTPUT -o lo -j ACCEPT")
        drift = applied(host, ipv6=False, rules=[SSH, ALLOW_OPEN]).result["drift"]["kernel"]
        assert drift == [
            "IPv6: policy of INPUT is ACCEPT, not DROP",
            "IPv6: chain OUTPUT misses `-A OUTPUT -o lo -j ACCEPT`",
        ]
    table = host.run("ip6tables-save", "-t", "filter")
    assert "-A FORWARD -j DOCKER-USER" in table and "-A DOCKER-USER -j RETURN" in table
    assert not [line for line in table.splitlines() if line.startswith("-A ufw6")]
    assert "Status: active" in host.run("ufw", "status") and "(v6)" not in host.run("ufw", "status")
    # The address is back, and nothing gets in by it; the host itself is reached as before.
    assert reaches(host.address, OPEN) and not reaches(host.address6, OPEN)
    shell(host, "python3 -c 'import socket; socket.create_connection((\"::1\", 22), 2)'")
    with without_global_ipv6(host):
        host.run("ufw", "reload")
        assert not applied(host, ipv6=False, rules=[SSH, ALLOW_OPEN]).changed
        # The way back leads to IPv6 off as well.
        before = without_times(state(host))
        assert policy(host, rules=[ALLOW_OPEN], ssh_guard=False, rollback_timeout=5).failed
        assert without_times(state(host)) == before
    assert applied(host).changed and connects(host, OPEN) and not reaches(host.address6, DENIED)


SOCKET = """cat > /etc/systemd/system/other-ssh.socket <<'END'
[Socket]
ListenStream=2222
Accept=yes
END
cat > /etc/systemd/system/other-ssh@.service <<'END'
[Service]
ExecStart=/usr/sbin/sshd -i
StandardInput=socket
END
systemctl daemon-reload; systemctl start other-ssh.socket"""


def test_guard_of_a_session_on_another_port_by_socket_activation(host: Host) -> None:
    other = {"action": "allow", "port": "2222", "proto": "tcp"}
    shell(host, SOCKET)
    try:
        assert applied(host, rules=[*RULES, other]).changed
        before = state(host)
        refused = policy(host, ssh_port=2222)
        assert refused.failed and "connected to port 2222" in refused.result["msg"] and state(host) == before
        # The session on port 22 is that of others now, if there is one, and no reason to refuse.
        assert applied(host, ssh_port=2222, rules=[other], check=True).changed
    finally:
        # With the connections that Ansible keeps open.
        shell(host, "systemctl stop other-ssh.socket 'other-ssh@*.service'; rm /etc/systemd/system/other-ssh*")


# In place of the interpreter: the module as a unit of systemd, with no session among its ancestors.
DETACHED = '#!/bin/sh\nexec systemd-run --quiet --collect --pipe --wait /usr/bin/python3 "$@"\n'
# A session from an address of its own, over a link that has no other use.
NEIGHBOUR = """ip netns add guest; ip link add guest0 type veth peer name eth0 netns guest
ip address add 192.0.2.1/30 dev guest0; ip link set guest0 up
ip -n guest address add 192.0.2.2/30 dev eth0; ip -n guest link set eth0 up
test -e /root/.ssh/guest || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/guest
cat /root/.ssh/guest.pub >> /root/.ssh/authorized_keys
systemd-run --quiet --unit=guest --collect ip netns exec guest ssh -i /root/.ssh/guest -o BatchMode=yes \
    -o StrictHostKeyChecking=no root@192.0.2.1 sleep 300
for n in $(seq 50); do ss -Htn state established '( sport = :22 )' dst 192.0.2.2 | grep -q . && break; sleep 0.1; done
sleep 1"""


@contextmanager
def session_of_a_neighbour(host: Host) -> Iterator[None]:
    shell(host, "mkdir -p -m 700 /root/.ssh\n" + NEIGHBOUR)
    try:
        yield
    finally:
        shell(host, "systemctl stop guest || true; ip netns del guest; rm -f /root/.ssh/guest*")


@contextmanager
def interpreter(host: Host, script: str) -> Iterator[str]:
    path = "/usr/local/bin/test-python"
    shell(host, f"cat > {path} <<'END'\n{script}END\nchmod 755 {path}")
    try:
        yield path
    finally:
        host.run("rm", path)


def test_guard_of_other_sessions_and_of_all_when_detached(host: Host) -> None:
    controller = applied(host).result["ssh_peers"][0]
    only_me = [{**SSH, "from": controller}, {"action": "deny", "port": "22", "proto": "tcp"}]
    with session_of_a_neighbour(host), interpreter(host, DETACHED) as detached:
        warned = applied(host, rules=only_me, check=True)
        assert warned.result["ssh_peers"] == [controller]
        assert "192.0.2.2 has an SSH session on port 22" in warned.warnings
        refused = policy(host, rules=only_me, check=True, interpreter=detached)
        assert refused.failed and "would shut out 192.0.2.2" in refused.result["msg"]
        both = applied(host, check=True, interpreter=detached)
        assert "192.0.2.2" in both.result["ssh_peers"] and "SSH session" not in both.warnings


def test_warnings(vps: Host) -> None:
    quiet = applied(vps, check=True)
    assert "[WARNING]" not in quiet.warnings
    rules = [{**SSH, "action": "limit"}, {"action": "deny"}, ALLOW_OPEN]
    loud = applied(vps, check=True, rules=rules)
    assert "rules[2] can never match" in loud.warnings and "rules[1] (`deny to any`)" in loud.warnings
    assert "five times in 30 seconds" in loud.warnings and "ControlPersist" in loud.warnings


def test_an_empty_list_needs_to_be_meant(vps: Host) -> None:
    before = state(vps)
    answer = policy(vps, rules=[])
    assert answer.failed and "`allow_empty: true`" in answer.result["msg"] and state(vps) == before
    assert applied(vps, rules=[], allow_empty=True, defaults={"incoming": "allow"}).changed
    assert added(vps) == [] and reaches(vps.address, DENIED)


WITHOUT_NET_ADMIN = """#!/bin/sh
exec setpriv --inh-caps=-net_admin --bounding-set=-net_admin /usr/bin/python3 "$@"
"""
READ_ONLY = """#!/bin/sh
exec unshare --mount sh -c 'mount --bind /etc /etc && mount -o remount,bind,ro /etc && exec python3 "$@"' sh "$@"
"""
SNAP = """#!/bin/sh
exec unshare --mount sh -c 'mount -t tmpfs none /etc/ufw && mkdir -p /snap/bin && mount -t tmpfs none /snap/bin &&
    ln -s /usr/sbin/ufw /snap/bin/ufw && exec python3 "$@"' sh "$@"
"""
NO_IPV6 = """#!/bin/sh
exec sh -c 'unshare --mount sh -c "mount -t tmpfs none /proc/\\$\\$/net && exec python3 \\"\\$@\\"" sh "$@"' sh "$@"
"""


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (WITHOUT_NET_ADMIN, ["lacks the capability NET_ADMIN", "Start it with NET_ADMIN"]),
        (READ_ONLY, ["/etc/ufw cannot be written", "mount -o remount,rw"]),
        (SNAP, ["installed as a snap", "snap remove ufw", "apt-get install ufw"]),
        (NO_IPV6, ["no IPv6", "`ipv6: false`"]),
    ],
    ids=["NET_ADMIN", "read-only", "snap", "IPv6"],
)
def test_a_host_that_cannot_do_it(vps: Host, script: str, words: list[str]) -> None:
    before = state(vps)
    with interpreter(vps, script) as weak:
        answer = policy(vps, interpreter=weak, logging="full")
    assert answer.failed and all(word in answer.result["msg"] for word in words), answer.result["msg"]
    assert state(vps) == before


def test_a_module_that_the_kernel_lacks_is_named(vps: Host) -> None:
    line = "-A ufw-after-input -m ipvs --ipvs"
    shell(vps, f"cp -p /etc/ufw/after.rules /root/; sed -i 's/^COMMIT/{line}\\n&/' /etc/ufw/after.rules")
    try:
        answer = policy(vps, logging="medium")
        assert answer.failed and "kernel has no `ipvs`" in answer.result["msg"], answer.result["msg"]
        assert line in answer.result["msg"] and "/etc/ufw/after.rules" in answer.result["msg"]
    finally:
        shell(vps, "mv /root/after.rules /etc/ufw/after.rules")


def test_another_language_changes_nothing(host: Host) -> None:
    shell(host, "printf '# gr\\xc3\\xbcn\\n' >> /etc/default/ufw")
    german = '#!/bin/sh\nexec env LANG=de_DE.UTF-8 LANGUAGE=de LC_ALL=de_DE.UTF-8 /usr/bin/python3 "$@"\n'
    with interpreter(host, german) as wrapped:
        assert not applied(host, interpreter=wrapped).changed
    shell(host, "printf '# gr\\xfcn\\n' >> /etc/default/ufw")
    answer = policy(host)
    assert answer.failed and "/etc/default/ufw" in answer.result["msg"] and "is not UTF-8" in answer.result["msg"]
    shell(host, "sed -i '/^# gr/d' /etc/default/ufw")


def test_rules_of_iptables_legacy_are_warned_of(vps: Host) -> None:
    if shell(vps, "iptables-legacy -A INPUT -p tcp --dport 1 -j DROP && echo yes || true").strip() != "yes":
        pytest.skip("this kernel has no legacy tables")
    try:
        assert "iptables-legacy (1)" in applied(vps, check=True).warnings
    finally:
        vps.run("iptables-legacy", "-F")
    assert "iptables-legacy" not in applied(vps, check=True).warnings
