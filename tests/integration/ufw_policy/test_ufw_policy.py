# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module on a real VPS, judged by what a neighbour reaches, by the kernel, and by ufw itself."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.firewall import (
    DENIED,
    OPEN,
    OPEN4,
    RULES,
    SSH,
    applied,
    connects,
    policy,
    shell,
    state,
    without_times,
)
from tests.support.lab import Host, up, wait_until
from tests.support.neighbour import listen, probe
from tests.support.scan import open_ports

# One of every kind; all of them must be known to the kernel and to ufw.
MANY = [
    SSH,
    {"action": "limit", "port": "2222", "proto": "tcp", "log": "new"},
    {"action": "allow", "port": "80,443,8000:8010", "proto": "tcp", "comment": "gr\u00fcn \u2713"},
    {"action": "reject", "port": "79", "log": "all"},
    {"action": "deny", "port": "25", "proto": "tcp", "direction": "out"},
    {"action": "allow", "from": "192.0.2.0/24", "port": "5432", "proto": "tcp", "interface_in": "eth0"},
    {"action": "deny", "from": "2001:db8::/32", "from_port": "1024:65535", "proto": "udp"},
    {"action": "allow", "app": "WWW Full", "log": "new"},
    {"action": "allow", "app": "DNS", "direction": "out"},
    {"action": "allow", "proto": "esp", "from": "192.0.2.7"},
    {"action": "allow", "proto": "igmp"},
    {"action": "allow", "proto": "vrrp"},
    {"action": "allow", "route": True, "interface_in": "wg0", "interface_out": "docker0", "to": "172.17.0.2"},
    {"action": "reject", "route": True, "interface_out": "eth+", "port": "8443", "proto": "tcp", "log": "new"},
]


def test_fresh_host_dry_run_then_for_real(vps: Host) -> None:
    before = state(vps)
    dry = policy(vps, check=True)
    assert dry.changed and state(vps) == before
    real = applied(vps)
    assert real.changed and real.diff == dry.diff and "+Status: active" in real.diff
    assert real.result["actions"] == dry.result["actions"] and real.result["ssh_peers"]
    after = state(vps)
    second = applied(vps)
    assert not second.changed and second.result["actions"] == [] and state(vps) == after
    assert vps.run("systemctl", "is-enabled", "ufw").strip() == "enabled"


def test_exactly_the_allowed_ports_are_open(host: Host) -> None:
    with ThreadPoolExecutor() as pool:
        four, six = pool.map(open_ports, (host.address, host.address6))
    assert four == {22, OPEN, OPEN4}
    assert six == {22, OPEN}


def test_a_rule_by_hand_is_kept_or_purged(host: Host) -> None:
    host.run("ufw", "allow", f"{DENIED}/tcp")
    kept = applied(host, purge="none")
    assert not kept.changed and connects(host, DENIED)
    purged = applied(host)
    assert purged.changed and f"-ufw allow {DENIED}/tcp" in purged.diff
    # The files said what the kernel did: nobody drifted from anybody.
    assert purged.result["drift"] == {"files": ["/etc/ufw/user.rules", "/etc/ufw/user6.rules"], "kernel": []}
    assert not connects(host, DENIED) and connects(host, OPEN)


def kernel_ports(host: Host) -> list[str]:
    return re.findall(r"--dport (\d+)", host.run("iptables", "-S", "ufw-user-input"))


def test_the_order_of_rules_is_that_of_the_list(host: Host) -> None:
    swapped = [RULES[1], RULES[0], RULES[2]]
    assert applied(host, rules=swapped).changed
    assert kernel_ports(host) == [str(OPEN), "22", str(OPEN4)]
    assert applied(host).changed and kernel_ports(host) == ["22", str(OPEN), str(OPEN4)]


def test_a_comment_is_added_changed_and_removed(host: Host) -> None:
    def kernel() -> list[str]:
        return without_counters(host.run("iptables-save", "-t", "filter"))

    before = kernel()
    for comment in ("shop", "gr\u00fcn \u2713", 'a "b" \\ $c #d', ""):
        assert applied(host, rules=[SSH, {**RULES[1], "comment": comment}, RULES[2]]).changed
        line = f"ufw allow {OPEN}/tcp" + (f" comment '{comment}'" if comment else "")
        assert line in host.run("ufw", "show", "added").splitlines()
    # It is in UFW's files alone.
    assert kernel() == before


def without_counters(saved: str) -> list[str]:
    return re.sub(r"\[\d+:\d+\]|^#.*$", "", saved, flags=re.MULTILINE).split("\n")


def test_a_profile_that_was_edited_is_drift(host: Host) -> None:
    profile = "[Shop]\ntitle=Shop\ndescription=A shop\nports={ports}\n"
    path = "/etc/ufw/applications.d/shop"
    rules = [*RULES, {"action": "allow", "app": "Shop"}]
    shell(host, f"printf '{profile.format(ports='8081/tcp')}' > {path}")
    try:
        assert applied(host, rules=rules).changed and kernel_ports(host)[-1] == "8081"
        shell(host, f"printf '{profile.format(ports='8082/tcp')}' > {path}")
        answer = applied(host, rules=rules)
        assert answer.changed and answer.result["drift"]["files"] and kernel_ports(host)[-1] == "8082"
        assert not applied(host, rules=rules).changed
    finally:
        host.run("rm", path)


def test_drift_of_the_kernel(host: Host) -> None:
    good = state(host)
    shell(host, "iptables -F ufw-user-input; ip6tables -P INPUT ACCEPT; ip6tables -D INPUT -j ufw6-before-input")
    # The way into the host still stands: connections that are there may stay.
    dry = policy(host, check=True)
    kernel = dry.result["drift"]["kernel"]
    assert dry.result["drift"]["files"] == [] and dry.changed
    assert "IPv6: policy of INPUT is ACCEPT, not DROP" in kernel
    assert "IPv6: chain INPUT misses `-A INPUT -j ufw6-before-input`" in kernel
    assert any(line.startswith("IPv4: chain ufw-user-input misses") for line in kernel)
    assert "-# kernel: IPv6: policy of INPUT is ACCEPT" in dry.diff
    mended = applied(host)
    assert mended.result["drift"] == dry.result["drift"] and mended.diff == dry.diff
    assert state(host) == good and not applied(host).changed


def test_drift_of_the_files(host: Host) -> None:
    good = state(host).split("*filter", 1)[1]
    shell(
        host,
        "sed -i 's/^DEFAULT_INPUT_POLICY=.*/DEFAULT_INPUT_POLICY=\"ACCEPT\"/' /etc/default/ufw; "
        "head -c 900 /etc/ufw/user6.rules > /tmp/cut; cat /tmp/cut > /etc/ufw/user6.rules",
    )
    answer = applied(host)
    assert set(answer.result["drift"]["files"]) == {"/etc/default/ufw", "/etc/ufw/user6.rules"}
    assert "-Default: allow (incoming)" in answer.diff
    assert state(host).split("*filter", 1)[1] == good and not applied(host).changed


def test_what_would_be_lost_is_refused_or_told(host: Host) -> None:
    line = "-A ufw-user-input -p tcp --dport 9999 -j ACCEPT"
    shell(host, f"sed -i 's/^### END RULES ###/{line}\\n\\n&/' /etc/ufw/user.rules")
    before = state(host)
    refused = policy(host, purge="none")
    assert refused.failed and line in refused.result["msg"] and "purge" in refused.result["msg"]
    assert state(host) == before
    assert f"-# no rule of ufw: /etc/ufw/user.rules: {line}" in applied(host).diff
    assert line not in host.run("cat", "/etc/ufw/user.rules")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rules": [{"action": "allow", "port": "80", "proto": "tcp"}]}, ["ssh_guard", "would shut out", "port: '22'"]),
        ({"rules": [{**SSH, "action": "deny"}, {"action": "allow"}]}, ["ssh_guard", "would shut out"]),
        ({"rules": [{**SSH, "from": "203.0.113.0/24"}]}, ["ssh_guard", "would shut out"]),
        ({"rules": [SSH, {"action": "allow", "port": "80; reboot"}]}, ["rules[1].port", "80; reboot", "Give a number"]),
        ({"rules": [SSH, {"action": "allow", "app": "Gopher"}]}, ["rules[1].app", "Gopher", "ufw app list"]),
        ({"rules": [SSH, {"action": "permit"}]}, ["action", "permit", "allow, deny, reject, limit"]),
        ({"loging": "low"}, ["loging", "logging"]),
    ],
)
def test_bad_input_changes_nothing(host: Host, options: dict[str, Any], words: list[str]) -> None:
    before = state(host)
    answer = policy(host, **options)
    assert answer.failed and all(word in answer.result["msg"] for word in words), answer.result["msg"]
    assert state(host) == before


def test_what_the_kernel_refuses_changes_nothing(host: Host) -> None:
    shell(
        host,
        "cp -p /etc/ufw/after.rules /root/; sed -i 's/^COMMIT/-A ufw-after-input -j NOWHERE\\n&/' /etc/ufw/after.rules",
    )
    try:
        before = state(host)
        answer = policy(host, logging="full")
        assert answer.failed and "NOWHERE" in answer.result["msg"] and "/etc/ufw/after.rules" in answer.result["msg"]
        assert state(host) == before
    finally:
        shell(host, "mv /root/after.rules /etc/ufw/after.rules")


def test_ufw_in_use_is_waited_for(host: Host) -> None:
    hold = "import fcntl, time; f = open('/run/ufw.lock', 'a'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(20)"
    held = 'grep -q ":$(stat --format %i /run/ufw.lock) " /proc/locks'
    host.run("systemd-run", "--unit=test-lock", "--collect", "python3", "-c", hold)
    try:
        assert wait_until(lambda: host.rc("sh", "-c", held) == 0, seconds=10)
        answer = policy(host, lock_timeout=1)
        assert answer.failed and "UFW is in use" in answer.result["msg"] and "lock_timeout" in answer.result["msg"]
    finally:
        host.run("systemctl", "stop", "test-lock")


LEVELS = [
    ("off", {"incoming": "allow", "outgoing": "allow", "routed": "reject"}),
    ("full", {"incoming": "reject", "outgoing": "deny", "routed": "allow"}),
]


@pytest.mark.parametrize(("level", "defaults"), LEVELS)
def test_ufw_writes_and_loads_the_same(host: Host, level: str, defaults: dict[str, str]) -> None:
    """ufw rewrites our files from what it reads in them, and loads them in its own way: nothing is different."""
    wanted: dict[str, Any] = {"rules": MANY, "logging": level, "defaults": defaults}
    assert applied(host, **wanted).changed
    mine = state(host)
    shell(host, f"ufw logging {level}; ufw allow 7777; ufw delete allow 7777; ufw reload")
    assert without_times(state(host)) == without_times(mine)
    assert not policy(host, check=True, **wanted).changed


def test_disabled_and_enabled_again(host: Host) -> None:
    off = applied(host, state="disabled")
    assert off.changed and "Status: inactive" in host.run("ufw", "status") and connects(host, DENIED)
    assert not applied(host, state="disabled").changed
    assert applied(host).changed and not connects(host, DENIED)
    assert not applied(host).changed


@pytest.mark.parametrize("family", [4, 6])
def test_no_leak_while_the_policy_changes(host: Host, family: int) -> None:
    address = host.address if family == 4 else host.address6
    with probe(address, denied=DENIED, allowed=OPEN) as probed:
        for incoming, logging in (("reject", "full"), ("deny", "low"), ("deny", "low")):
            applied(host, defaults={"incoming": incoming}, logging=logging)
        applied(host, rules=[*MANY, *RULES[1:]])
        applied(host)
    counts = probed.result()
    assert counts["denied"]["sent"] > 1000 and counts["denied"]["connected"] == 0
    assert counts["allowed"]["sent"] > 200 and counts["allowed"]["connected"] == counts["allowed"]["sent"]


def test_the_probe_sees_the_leak_of_a_reload(host: Host) -> None:
    with probe(host.address, denied=DENIED, allowed=OPEN) as probed:
        host.run("ufw", "reload")
    assert probed.result()["denied"]["connected"] > 0


# Stands before the real program in the search path, and kills the module where it is about to load into the kernel of
# the host; the trial in a namespace of its own passes.
KILLER = """#!/bin/sh
if [ "$(readlink /proc/self/ns/net)" = "$(readlink /proc/1/ns/net)" ]; then
  kill -9 $PPID
  exit 1
fi
exec /usr/sbin/{program} "$@"
"""


@pytest.mark.parametrize(
    ("program", "then"), [("iptables-restore", "ufw reload"), ("ip6tables-restore", "the next run")]
)
def test_killed_before_a_family_is_loaded(host: Host, program: str, then: str) -> None:
    allowed = {"action": "allow", "port": str(DENIED), "proto": "tcp"}
    wanted: dict[str, Any] = {"rules": [*RULES, allowed], "logging": "medium"}
    path = f"/usr/local/sbin/{program}"
    shell(host, f"cat > {path} <<'END'\n{KILLER.format(program=program)}END\nchmod 755 {path}")
    try:
        killed = policy(host, **wanted)
    finally:
        host.run("rm", path)
    assert killed.failed and not connects(host, DENIED), "the module was not killed"
    if then == "ufw reload":
        host.run("ufw", "reload")
        assert not applied(host, **wanted).changed
    else:
        assert applied(host, **wanted).changed
        assert not applied(host, **wanted).changed
    assert connects(host, DENIED) and connects(host, OPEN)


def test_a_reboot_starts_the_same_firewall(host: Host) -> None:
    """What systemd does at boot with the files, from an empty kernel."""
    good = state(host)
    shell(
        host,
        "/usr/lib/ufw/ufw-init force-stop; for t in iptables ip6tables; do $t -F; $t -X; done; systemctl restart ufw",
    )
    assert without_times(state(host)) == without_times(good)
    assert not applied(host).changed


def test_on_bookworm() -> None:
    old = up("uf-bookworm", suite="bookworm")
    try:
        listen(old, OPEN, DENIED, OPEN4)
        assert applied(old, rules=[*MANY, *RULES[1:]]).changed
        assert connects(old, OPEN) and not connects(old, DENIED)
        shell(old, f"ufw allow {DENIED}; ufw delete allow {DENIED}; ufw reload")
        assert not applied(old, rules=[*MANY, *RULES[1:]]).changed
        shell(old, "iptables -F ufw-user-input; ip6tables -P INPUT ACCEPT")
        drift = applied(old).result["drift"]
        assert "IPv6: policy of INPUT is ACCEPT, not DROP" in drift["kernel"]
        assert applied(old, state="disabled").changed and not applied(old, state="disabled").changed
    finally:
        old.down()
