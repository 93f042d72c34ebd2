# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role does with other values and on other hosts. Comes last: the host is another one afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.lab import Host, running

NAME = "molecule-plain"
PLAYBOOK = "molecule/hardening/converge.yml"
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends"
BAD_VALUES: list[tuple[dict[str, Any], list[str]]] = [
    ({"hardening_profile": "laptop"}, ["hardening_profile", "laptop", "host"]),
    ({"hardening_wan_interfaces": ["eth0:1"]}, ["hardening_wan_interfaces: eth0:1", "ip link"]),
    ({"hardening_guard_published": [{"port": 70000}]}, ["hardening_guard_published: 70000", "65535"]),
    ({"hardening_declared_ports": [{"port": 0}]}, ["hardening_declared_ports: 0", "65535"]),
    ({"hardening_ssh_options": {"Port": 2222}}, ["hardening_ssh_options: Port", "sshd_config.d"]),
    ({"hardening_ssh_options": {"Banner": "a\nPermitRootLogin yes"}}, ["hardening_ssh_options", "one line"]),
    (
        {"hardening_sysctl_settings": {"vm.swappiness; reboot": 1}},
        ["hardening_sysctl_settings", "swappiness; reboot", "sysctl -a"],
    ),
    ({"hardening_sysctl_settings": {"net.ipv4.ip_forward": 0}}, ["net.ipv4.ip_forward = 0", "hardening_profile: host"]),
    ({"hardening_blocked_modules": ["overlay"]}, ["hardening_blocked_modules: overlay", "Docker"]),
    ({"hardening_blocked_modules": ["a b"]}, ["hardening_blocked_modules: a b", "modinfo"]),
    ({"hardening_upgrades_excluded": ['a";b']}, ["hardening_upgrades_excluded", "semicolon"]),
    ({"hardening_upgrades_reboot_time": "25:00"}, ["hardening_upgrades_reboot_time: 25:00", '"04:00"']),
    ({"hardening_journald_max_use": "lots"}, ["hardening_journald_max_use: lots", "500M"]),
    ({"hardening_journald_max_file_size": "5X"}, ["hardening_journald_max_file_size: 5X", "50M"]),
    ({"hardening_journald_max_retention": "3moons"}, ["hardening_journald_max_retention: 3moons", "3month"]),
    ({"hardening_fail2ban_ban_time": "soon"}, ["hardening_fail2ban_ban_time: soon", "1h"]),
    ({"hardening_fail2ban_find_time": "-1"}, ["hardening_fail2ban_find_time: -1", "10m"]),
    ({"hardening_fail2ban_max_retry": 0}, ["hardening_fail2ban_max_retry: 0", "less than 1"]),
    (
        {"hardening_fail2ban_ignore": ["office.example.org"]},
        ["hardening_fail2ban_ignore: office.example.org", "198.51.100.7"],
    ),
    ({"hardening_fail2ban_ignore": ["0.0.0.0/0"]}, ["hardening_fail2ban_ignore: 0.0.0.0/0"]),
    ({"hardening_fail2ban_ignore": ["999.1.1.1"]}, ["hardening_fail2ban_ignore: 999.1.1.1"]),
]


@pytest.fixture(scope="module")
def vps() -> Host:
    return running(NAME)


@pytest.fixture(scope="module")
def all_at_once(vps: Host) -> str:
    """What the role says of many bad values: one run shows all of them."""
    merged: dict[str, Any] = {}
    for variables, _words in BAD_VALUES[1:]:
        for name, value in variables.items():
            known = merged.get(name)
            if isinstance(value, list):
                merged[name] = [*(known or []), *value]
            elif isinstance(value, dict):
                merged[name] = {**(known or {}), **value}
            else:
                merged[name] = value
    result = vps.play(PLAYBOOK, **merged)
    assert result.rc != 0
    assert result.changed(NAME) == 0, result.output[-4000:]
    return result.output


@pytest.mark.parametrize(("variables", "words"), BAD_VALUES[1:], ids=[str(row[0]) for row in BAD_VALUES[1:]])
def test_a_bad_value_is_named_with_its_remedy(all_at_once: str, variables: dict[str, Any], words: list[str]) -> None:
    assert all(word in all_at_once for word in words), (words, all_at_once[-6000:])


def test_good_values_are_not_named(vps: Host) -> None:
    result = vps.play(PLAYBOOK, hardening_journald_max_use="lots")
    assert "hardening_journald_max_use: lots" in result.output
    assert "hardening_journald_max_file_size" not in result.output
    assert "hardening_fail2ban" not in result.output


def test_a_profile_that_does_not_exist_is_refused(vps: Host) -> None:
    variables, words = BAD_VALUES[0]
    result = vps.play(PLAYBOOK, **variables)
    assert result.rc != 0
    assert all(word in result.output for word in words), result.output[-4000:]


@pytest.fixture
def careless(vps: Host) -> Iterator[str]:
    vps.run("useradd", "--create-home", "careless")
    vps.run("passwd", "--delete", "careless")
    yield "careless"
    vps.run("userdel", "--remove", "careless", check=False)


def test_an_account_with_an_empty_password_is_locked(vps: Host, careless: str) -> None:
    assert vps.run("getent", "shadow", careless).split(":")[1] == ""
    result = vps.play(PLAYBOOK, "--tags", "hardening_login")
    assert (result.rc, result.changed(NAME)) == (0, 1), result.output[-4000:]
    assert vps.run("getent", "shadow", careless).split(":")[1] == "!"
    assert vps.play(PLAYBOOK, "--tags", "hardening_login").changed(NAME) == 0


def test_what_somebody_changed_is_put_right(vps: Host) -> None:
    """Content, owner and mode of own files, and the single values and modes in those of the distribution."""
    script = (
        "chmod 644 /etc/sudoers.d/00-daffathan; chown admin /etc/fail2ban/jail.d/daffathan.local; echo >> /etc/issue; "
    )
    script += "chmod 755 /etc/cron.daily; rm -r /etc/systemd/coredump.conf.d; "
    script += "sed -i 's/^ENCRYPT_METHOD.*/ENCRYPT_METHOD MD5/' /etc/login.defs"
    vps.run("sh", "-ec", script)
    planned = vps.play(PLAYBOOK, "--check")
    assert planned.rc == 0, planned.output[-4000:]
    result = vps.play(PLAYBOOK)
    assert result.rc == 0, result.output[-4000:]
    # sudo's file, the jail, fail2ban itself, texts of logins (issue, coredump), directory, mode, single value
    assert result.changed(NAME) == planned.changed(NAME) == 7, result.output[-6000:]
    assert vps.run("stat", "-c", "%a %U", "/etc/sudoers.d/00-daffathan").strip() == "440 root"
    assert vps.run("stat", "-c", "%a", "/etc/cron.daily").strip() == "700"
    assert "ENCRYPT_METHOD\tYESCRYPT" in vps.run("cat", "/etc/login.defs").splitlines()
    assert vps.play(PLAYBOOK).changed(NAME) == 0


def test_a_time_service_that_is_there_stays(vps: Host) -> None:
    """Installed and kept from starting: a host that shares its kernel would set the clock of the machine."""
    keep = "install -d /etc/systemd/system/chrony.service.d; "
    keep += "printf '[Unit]\\nConditionPathExists=/nonexistent\\n' > /etc/systemd/system/chrony.service.d/lab.conf; "
    keep += "printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; "
    keep += f"{INSTALL} chrony > /dev/null; rm /usr/sbin/policy-rc.d"
    vps.run("sh", "-ec", keep, timeout=600)
    try:
        result = vps.play(PLAYBOOK)
        assert result.rc == 0, result.output[-4000:]
        assert result.changed(NAME) == 0, result.output[-4000:]
        assert "install ok" not in vps.run("dpkg-query", "-W", "-f", "${Status}", "systemd-timesyncd", check=False)
        assert vps.run("systemctl", "is-enabled", "chrony.service").strip() == "enabled"
    finally:
        vps.run(
            "sh",
            "-c",
            "apt-get purge -qq chrony > /dev/null; rm -r /etc/systemd/system/chrony.service.d; systemctl daemon-reload",
        )
    assert vps.play(PLAYBOOK).rc == 0
    assert vps.run("systemctl", "is-enabled", "systemd-timesyncd.service").strip() == "enabled"


def test_auditd_gets_its_rules_and_never_stops_the_host(vps: Host) -> None:
    result = vps.play(PLAYBOOK, hardening_auditd=True)
    assert result.rc == 0, result.output[-4000:]
    vps.run("augenrules", "--check")
    # The kernel of a container refuses rules, but not before auditctl has understood them.
    merged = vps.run("sh", "-c", "augenrules --load > /dev/null 2>&1; cat /etc/audit/audit.rules").splitlines()
    for rule in (
        "-w /etc/shadow -p wa -k identity",
        "-w /etc/sudoers.d -p wa -k sudo",
        "-w /usr/bin/dockerd -p wa -k docker",
    ):
        assert rule in merged
    settings = vps.run("cat", "/etc/audit/auditd.conf")
    assert "disk_full_action = ROTATE" in settings
    for word in ("SUSPEND", "HALT", "SINGLE"):
        assert word not in settings.upper()
    assert vps.run("systemctl", "is-enabled", "auditd.service").strip() == "enabled"
    assert vps.run("systemctl", "--failed", "--no-legend", "--plain") == ""
    again = vps.play(PLAYBOOK, hardening_auditd=True)
    assert again.changed(NAME) == 0, again.output[-4000:]
    dry = vps.play(PLAYBOOK, "--check", hardening_auditd=True)
    assert (dry.rc, dry.changed(NAME)) == (0, 0), dry.output[-4000:]


def test_the_profile_of_a_plain_host_is_refused_beside_docker_and_forwards_nothing_without(vps: Host) -> None:
    if vps.rc("dpkg-query", "-W", "docker.io") != 0:
        vps.run(
            "sh",
            "-ec",
            f"{INSTALL} docker.io > /dev/null",
            timeout=600,
        )
    result = vps.play(PLAYBOOK, hardening_profile="host")
    assert result.rc != 0
    assert "hardening_profile: is host, but Docker is installed" in result.output
    assert vps.run("cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1"

    vps.run("sh", "-ec", "apt-get purge -qq docker.io > /dev/null 2>&1")
    result = vps.play(PLAYBOOK, hardening_profile="host", hardening_blocked_modules=["overlay"])
    assert result.rc == 0, result.output[-4000:]
    names = (
        "ipv4.ip_forward",
        "ipv6.conf.all.forwarding",
        "ipv4.conf.all.accept_redirects",
        "ipv4.conf.all.send_redirects",
    )
    assert vps.run("sysctl", "--values", *(f"net.{name}" for name in names)).split() == ["0", "0", "0", "0"]
    again = vps.play(PLAYBOOK, hardening_profile="host", hardening_blocked_modules=["overlay"])
    assert again.changed(NAME) == 0, again.output[-4000:]
