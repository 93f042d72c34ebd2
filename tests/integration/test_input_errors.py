# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad input ends in one clear error, and the host is as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.lab import Host

CANARY = "canary-8c1f4e"
UI = {"port": 3000, "routes": ["/"], "health": "/health"}
APP = {
    "name": "labs",
    "domains": ["labs.example.test"],
    "compose": "{{ playbook_dir }}/../examples/daffathan-labs/compose.yml",
    "services": {"ui": UI},
    "secrets": {"DB_PASSWORD": CANARY},
}


def app(**changes: Any) -> dict[str, Any]:
    return {**APP, **changes}


BAD_INPUT: list[tuple[str, dict[str, Any], list[str]]] = [
    ("misspelt role variable", {"hardening_sssh": True}, ["hardening_sssh"]),
    ("bad value of a role", {"hardening_fail2ban_ban_time": "soon"}, ["hardening_fail2ban_ban_time: soon", "1h"]),
    ("misspelt gateway variable", {"gateway_imagee": "nginx"}, ["gateway_imagee"]),
    ("size of a log without its unit", {"gateway_log_max_size": "50"}, ["gateway_log_max_size=50", "50m"]),
    ("size of headers without its unit", {"gateway_max_header_size": 32}, ["gateway_max_header_size=32", "128k"]),
    ("more traces than there are", {"gateway_trace_sampling": 101}, ["gateway_trace_sampling=101", "0 to 100"]),
    ("no rotated log", {"gateway_log_max_files": 0}, ["gateway_log_max_files=0", "from 1"]),
    ("misspelt backup variable", {"backup_shedule": "daily"}, ["backup_shedule"]),
    ("bad schedule of backups", {"backup_schedule": "now and then"}, ["backup_schedule is now and then", "daily"]),
    (
        "objective that the schedule cannot keep",
        {"apps": [app(backup={"volumes": ["data"], "rpo": "1h"})]},
        ["apps[labs].backup.rpo is 1h", "1d12h30m can be lost", "*:0/30 UTC", "backup_timeout: 10m"],
    ),
    ("misspelt key of an app", {"apps": [app(domain=["a.example.test"])]}, ["domain"]),
    ("app without a name", {"apps": [{k: v for k, v in APP.items() if k != "name"}]}, ["name"]),
    ("app name with a slash", {"apps": [app(name="a/b")]}, ["a/b"]),
    ("missing compose file", {"apps": [app(compose="/nonexistent/compose.yml")]}, ["/nonexistent/compose.yml"]),
    ("port out of range", {"apps": [app(services={"ui": {"port": 70000, "routes": ["/"]}})]}, ["70000"]),
    (
        "worker with routes",
        {"apps": [app(services={"mailer": {"routes": ["/mail"]}})]},
        ["mailer.routes", "/mail", "port"],
    ),
    (
        "TCP with routes",
        {"apps": [app(services={"broker": {"port": 1883, "protocol": "tcp", "routes": ["/mqtt"]}})]},
        ["broker.routes", "/mqtt", "protocol: tcp"],
    ),
    (
        "rate by the hour",
        {"apps": [app(services={"ui": {**UI, "rate_limit": {"rate": "10/h"}}})]},
        ["apps[labs].services.ui.rate_limit.rate", "'10/h'", "30/m"],
    ),
    ("maintenance as a word", {"apps": [app(maintenance="yes")]}, ["apps[labs].maintenance", "'yes'", "or true"]),
    ("unknown strategy", {"apps": [app(services={"ui": {"port": 3000, "strategy": "ramped"}})]}, ["ramped", "rolling"]),
    (
        "two apps under one domain",
        {"apps": [app(), app(name="other")]},
        ["apps[other].domains", "labs.example.test is a domain of labs too"],
    ),
    (
        "two services on one route",
        {"apps": [app(services={"ui": UI, "api": {**UI, "port": 3001}})]},
        ["apps[labs].services", "ui and api both claim the route /", "own prefix"],
    ),
    (
        "health that is no path",
        {"apps": [app(services={"ui": {**UI, "health": "up"}})]},
        ["services.ui.health: up", "/health"],
    ),
    ("limit of a bake that is no number", {"apps": [app(bake={"seconds": 60, "max_p95_ms": "fast"})]}, ["max_p95_ms"]),
    ("misspelt option of a bake", {"apps": [app(bake={"seconds": 60, "max_p95": 500})]}, ["max_p95"]),
    ("migration without a command", {"apps": [app(migrate={"service": "ui"})]}, ["command", "migrate"]),
    ("wrong type", {"docker_package_source": "snap"}, ["docker_package_source", "snap"]),
    (
        "misspelt option of a site",
        {"apps": [app(site={"redirect_form": ["www.example.test"]})]},
        ["apps[labs].site.redirect_form", "redirect_from"],
    ),
    (
        "password in the clear",
        {"apps": [app(site={"access_rules": [{"paths": ["/admin"], "users": {"ops": CANARY}}]})]},
        ["access_rules[0].users.ops", "bcrypt"],
    ),
    ("unknown app to deploy", {"app": "nosuch"}, ["nosuch"]),
]


@pytest.fixture(scope="module")
def untouched(bare_host: Host) -> str:
    """What a bare host looks like: files of the platform, packages, firewall."""
    return fingerprint(bare_host)


def fingerprint(host: Host) -> str:
    return host.run("sh", "-c", "ls -d /etc/daffathan /var/lib/daffathan 2>&1; dpkg --get-selections; nft list ruleset")


@pytest.mark.parametrize(("what", "variables", "named"), BAD_INPUT, ids=[row[0] for row in BAD_INPUT])
def test_bad_input_is_named_and_changes_nothing(
    bare_host: Host, untouched: str, what: str, variables: dict[str, Any], named: list[str]
) -> None:
    playbook = "deploy" if "app" in variables else "site"
    result = bare_host.play(playbook, **variables)
    assert result.rc != 0, result.output[-3000:]
    assert result.recap[bare_host.name]["failed"] == 1, result.output[-3000:]
    assert "Traceback" not in result.output
    assert CANARY not in result.output, "a message never holds a secret"
    for word in named:
        assert word in result.output, result.output[-3000:]
    assert fingerprint(bare_host) == untouched


def test_the_audit_of_compose_files_tells_the_finding_and_no_secret(bare_host: Host, tmp_path: Path) -> None:
    compose = tmp_path / "compose.yml"
    compose.write_text("services: {ui: {image: nginx, ports: ['8080:80']}}\n")
    result = bare_host.play("audit", "--tags", "static", apps=[app(compose=str(compose))])
    assert result.rc != 0
    assert "8080" in result.output, result.output[-3000:]
    assert CANARY not in result.output


def test_an_unreachable_host_is_one_clear_error(bare_host: Host, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(bare_host.inventory.read_text().replace(bare_host.address, "10.231.0.250"))
    result = Host(bare_host.name, inventory).play("site")
    assert result.rc == 4
    assert result.recap[bare_host.name]["unreachable"] == 1
    assert "10.231.0.250" in result.output


def test_an_unsupported_system_is_refused(bare_host: Host, untouched: str) -> None:
    bare_host.run("cp", "--remove-destination", "/usr/lib/os-release", "/etc/os-release")
    bare_host.run("sed", "-i", 's/^ID=.*/ID=alpine/;s/^NAME=.*/NAME="Alpine Linux"/', "/etc/os-release")
    # Ansible tells Debian by this file before it looks at os-release.
    bare_host.run("mv", "/etc/debian_version", "/etc/alpine-release")
    try:
        result = bare_host.play("site")
    finally:
        bare_host.run("mv", "/etc/alpine-release", "/etc/debian_version")
        bare_host.run("ln", "-sf", "../usr/lib/os-release", "/etc/os-release")
    assert result.rc != 0
    assert "Alpine" in result.output
    assert "Debian" in result.output, "the message says what is supported"
    assert fingerprint(bare_host) == untouched


def test_a_target_that_matches_no_host_is_an_error(bare_host: Host) -> None:
    result = Host("no-such-host", bare_host.inventory).play("site")
    assert result.rc != 0
    assert "no-such-host" in result.output


def test_a_dry_run_on_a_bare_host_succeeds_and_changes_nothing(bare_host: Host, untouched: str) -> None:
    result = bare_host.play("site", "--check", "--diff")
    assert result.rc == 0, result.output[-6000:]
    assert result.changed(bare_host.name) > 0
    assert fingerprint(bare_host) == untouched
