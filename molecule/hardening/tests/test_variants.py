# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role does with other values and on other hosts. Comes last: the host is another one afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import containers
from tests.support.lab import Host

PLAYBOOK = "molecule/hardening/converge.yml"
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends"


def test_bad_values_are_named_before_anything_is_changed(vps: Host) -> None:
    """What each of them is told is in tests/unit/roles/hardening."""
    result = vps.play(PLAYBOOK, hardening_journald_max_use="lots", hardening_fail2ban_ignore=["office.example.org"])
    assert result.rc != 0
    assert result.changed(vps.name) == 0
    assert "hardening_journald_max_use: lots" in result.output
    assert "hardening_fail2ban_ignore: office.example.org" in result.output
    assert "hardening_journald_max_file_size" not in result.output, "what is good is not named"


def test_a_profile_that_does_not_exist_is_refused(vps: Host) -> None:
    result = vps.play(PLAYBOOK, hardening_profile="laptop")
    assert result.rc != 0
    assert all(word in result.output for word in ("hardening_profile", "laptop", "docker, host")), result.output[-4000:]


def test_rules_of_others_stay_where_only_tagged_ones_are_purged(vps: Host) -> None:
    firewall = ("--tags", "hardening_firewall")
    vps.run("ufw", "allow", "7777/tcp")
    tagged = vps.play(PLAYBOOK, *firewall, hardening_firewall_purge="tagged", hardening_firewall_tag="base")
    assert (tagged.rc, tagged.changed(vps.name)) == (0, 1), tagged.output[-4000:]
    added = vps.run("ufw", "show", "added").splitlines()
    assert {"ufw allow 7777/tcp", "ufw allow 22/tcp comment 'base: SSH'"} <= set(added)
    again = vps.play(PLAYBOOK, *firewall, hardening_firewall_purge_keep=["base*"])
    assert again.rc == 0, again.output[-4000:]
    added = vps.run("ufw", "show", "added").splitlines()
    assert "ufw allow 7777/tcp" not in added and "ufw allow 22/tcp comment 'SSH'" in added


@pytest.fixture
def careless(vps: Host) -> Iterator[str]:
    vps.run("useradd", "--create-home", "careless")
    vps.run("passwd", "--delete", "careless")
    yield "careless"
    vps.run("userdel", "--remove", "careless", check=False)


def test_an_account_with_an_empty_password_is_locked(vps: Host, careless: str) -> None:
    assert vps.run("getent", "shadow", careless).split(":")[1] == ""
    result = vps.play(PLAYBOOK, "--tags", "hardening_login")
    assert (result.rc, result.changed(vps.name)) == (0, 1), result.output[-4000:]
    assert vps.run("getent", "shadow", careless).split(":")[1] == "!"
    assert vps.play(PLAYBOOK, "--tags", "hardening_login").changed(vps.name) == 0


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
    assert result.changed(vps.name) == planned.changed(vps.name) == 7, result.output[-6000:]
    assert vps.run("stat", "-c", "%a %U", "/etc/sudoers.d/00-daffathan").strip() == "440 root"
    assert vps.run("stat", "-c", "%a", "/etc/cron.daily").strip() == "700"
    assert "ENCRYPT_METHOD\tYESCRYPT" in vps.run("cat", "/etc/login.defs").splitlines()
    assert vps.play(PLAYBOOK).changed(vps.name) == 0


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
        assert result.changed(vps.name) == 0, result.output[-4000:]
        status = vps.run("dpkg-query", "-W", "-f", "${Status}", "systemd-timesyncd", check=False)
        assert not status.startswith("install ok"), "a second one was installed"
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
    # The timer may have come while another test had opened a port.
    vps.run("systemctl", "start", "daffathan-port-audit.service")
    assert vps.run("systemctl", "--failed", "--no-legend", "--plain") == ""
    again = vps.play(PLAYBOOK, hardening_auditd=True)
    assert again.changed(vps.name) == 0, again.output[-4000:]
    dry = vps.play(PLAYBOOK, "--check", hardening_auditd=True)
    assert (dry.rc, dry.changed(vps.name)) == (0, 0), dry.output[-4000:]


def test_the_profile_of_a_plain_host_is_refused_beside_docker_and_forwards_nothing_without(vps: Host) -> None:
    containers.install_engine(vps)
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
    assert again.changed(vps.name) == 0, again.output[-4000:]
