# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role hardening says of values that its argument specs let pass."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).resolve().parents[4] / "roles" / "hardening"
DOCKER = {"__hardening_probe_packages": {"stdout_lines": ["docker.io=ii "]}}
BAD_VALUES: list[tuple[dict[str, Any], list[str]]] = [
    ({"hardening_wan_interfaces": ["eth0:1"]}, ["hardening_wan_interfaces: eth0:1", "ip link"]),
    ({"ansible_facts": {}}, ["hardening_wan_interfaces: is empty", "web1", "[eth0]"]),
    ({"hardening_guard_published": [{"port": 70000}]}, ["hardening_guard_published: 70000", "65535"]),
    ({"hardening_declared_ports": [{"port": 0}]}, ["hardening_declared_ports: 0", "65535"]),
    ({"port_audit_expected": [{"port": 0}]}, ["port_audit_expected: 0", "65535"]),
    (
        {"port_audit_expected": [{"port": 25, "expires": "soon"}]},
        ["port_audit_expected: soon of port 25"],
    ),
    ({"hardening_port_audit_schedule": "hourly\nUnit=x"}, ["hardening_port_audit_schedule", "calendar event"]),
    ({"hardening_port_audit_schedule_jitter": "soon"}, ["hardening_port_audit_schedule_jitter: soon", "15m"]),
    ({"hardening_port_audit_metrics": "metrics"}, ["hardening_port_audit_metrics: metrics", "/var/lib"]),
    (
        {"hardening_port_audit_on_failure": ["mail me"]},
        ["hardening_port_audit_on_failure: mail me", "alert@"],
    ),
    ({"hardening_profile": "host", **DOCKER}, ["hardening_profile: is host", "web1", "hardening_profile: docker"]),
    ({"hardening_ssh_options": {"Port": 2222}}, ["hardening_ssh_options: Port", "sshd_config.d"]),
    ({"hardening_ssh_options": {"listenaddress": "::"}}, ["hardening_ssh_options: listenaddress", "sshd_config.d"]),
    ({"hardening_ssh_options": {"Banner": "a\nPermitRootLogin yes"}}, ["hardening_ssh_options", "one line"]),
    ({"hardening_ssh_options": {"Allow Users": "x"}}, ["hardening_ssh_options", "Allow Users"]),
    (
        {"hardening_sysctl_settings": {"vm.swappiness; reboot": 1}},
        ["hardening_sysctl_settings", "; reboot", "sysctl -a"],
    ),
    (
        {"hardening_sysctl_settings": {"vm.swappiness": "1\n2"}},
        ["hardening_sysctl_settings", "swappiness", "sysctl -a"],
    ),
    ({"hardening_sysctl_settings": {"net.ipv4.ip_forward": 0}}, ["net.ipv4.ip_forward = 0", "hardening_profile: host"]),
    ({"hardening_blocked_modules": ["overlay"]}, ["hardening_blocked_modules: overlay", "Docker"]),
    ({"hardening_blocked_modules": ["nf-tables"]}, ["hardening_blocked_modules: nf-tables", "Docker"]),
    ({"hardening_blocked_modules": ["a b"]}, ["hardening_blocked_modules: a b", "modinfo"]),
    ({"hardening_upgrades_excluded": ['a";b']}, ["hardening_upgrades_excluded", "semicolon"]),
    ({"hardening_upgrades_excluded": ["a\\b"]}, ["hardening_upgrades_excluded", "backslash"]),
    ({"hardening_upgrades_reboot_time": "25:00"}, ["hardening_upgrades_reboot_time: 25:00", '"04:00"']),
    ({"hardening_upgrades_reboot_time": 240}, ["hardening_upgrades_reboot_time: 240", "in quotes"]),
    ({"hardening_journald_max_use": "lots"}, ["hardening_journald_max_use: lots", "500M"]),
    ({"hardening_journald_max_file_size": "5X"}, ["hardening_journald_max_file_size: 5X", "50M"]),
    ({"hardening_journald_max_retention": "3moons"}, ["hardening_journald_max_retention: 3moons", "3month"]),
    ({"hardening_fail2ban_ban_time": "soon"}, ["hardening_fail2ban_ban_time: soon", "1h"]),
    ({"hardening_fail2ban_find_time": "-1"}, ["hardening_fail2ban_find_time: -1", "10m"]),
    ({"hardening_fail2ban_max_retry": 0}, ["hardening_fail2ban_max_retry: 0", "less than 1"]),
    *(
        ({"hardening_fail2ban_ignore": [value]}, [f"hardening_fail2ban_ignore: {value} ", "198.51.100.7"])
        for value in ("office.example.org", "0.0.0.0/0", "::/0", "999.1.1.1", "10.0.0.0/33", "10.0.0", "1.2.3.4 ::1")
    ),
]
GOOD_VALUES: list[dict[str, Any]] = [
    {},
    {"hardening_profile": "host", "hardening_blocked_modules": ["overlay"]},
    {"hardening_profile": "host", "hardening_sysctl_settings": {"net.ipv4.ip_forward": 0}, "ansible_facts": {}},
    {"hardening_sysctl_settings": {"net.ipv4.ip_forward": None, "net.ipv4.conf.eth0/1.rp_filter": 2}},
    {"hardening_ssh_options": {"AllowUsers": ["a", "b"], "MaxAuthTries": 6, "UsePAM": True}},
    {"hardening_fail2ban_ignore": ["198.51.100.7", "10.0.0.0/8", "2001:db8::/64", "::1", "fd00::ffff:1"]},
    {"hardening_port_audit_schedule": "*-*-* 04:00", "hardening_port_audit_metrics": ""},
    {"hardening_port_audit_on_failure": ["alert@%n.service"], "hardening_port_audit_schedule_jitter": "0"},
    {"port_audit_expected": [{"port": 25, "expires": "2027-01-31"}, {"port": "53", "proto": "udp"}]},
    {"hardening_fail2ban_ban_time": 600, "hardening_fail2ban_max_retry": "3", "hardening_journald_max_retention": "0"},
]


@functools.cache
def role() -> dict[str, Any]:
    known: dict[str, Any] = {
        "inventory_hostname": "web1",
        "ansible_facts": {"default_ipv4": {"interface": "eth0"}},
        "__hardening_probe_packages": {"stdout_lines": ["ufw=ii "]},
    }
    for part in ("defaults", "vars"):
        known.update(DataLoader().load_from_file(str(ROLE / part / "main.yml"), trusted_as_template=True))
    return known


def problems(variables: dict[str, Any]) -> list[str]:
    templar = Templar(loader=DataLoader(), variables={**role(), **variables})
    return templar.template(trust_as_template("{{ __hardening_problems }}"))


@pytest.mark.parametrize(("variables", "words"), BAD_VALUES, ids=[str(row[0])[:60] for row in BAD_VALUES])
def test_a_bad_value_alone_is_named_with_its_remedy(variables: dict[str, Any], words: list[str]) -> None:
    (problem,) = problems(variables)
    assert [word for word in words if word not in problem] == [], problem


@pytest.mark.parametrize("variables", GOOD_VALUES, ids=[str(row)[:60] for row in GOOD_VALUES])
def test_good_values_are_no_problem(variables: dict[str, Any]) -> None:
    assert problems(variables) == []


def test_one_run_shows_all_problems() -> None:
    assert len(problems({"hardening_fail2ban_ban_time": "soon", "hardening_journald_max_use": "lots"})) == 2
