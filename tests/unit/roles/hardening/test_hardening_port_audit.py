# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role hardening installs for the audit: the command in one file, and the declared ports."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible import Run

ROLE = Path(__file__).resolve().parents[4] / "roles" / "hardening"
CORE = ROLE.parents[1] / "plugins" / "module_utils"
PACKAGE = "ansible_collections.daffathan.platform.plugins.module_utils"
COMPOSE = '{"services": {"api": {"ports": [{"target": 80, "published": "8080", "protocol": "tcp"}]}}}'


def rendered(name: str, **variables: Any) -> str:
    """What the module template makes of a template of the role."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "target"
        known = [f"@{ROLE}/{part}/main.yml" for part in ("defaults", "vars")]
        known += [json.dumps({"role_path": str(ROLE), **variables})]
        source = f"src={ROLE}/templates/{name}.j2 dest={target}"
        options = [word for value in known for word in ("--extra-vars", value)]
        arguments = (
            "localhost",
            "--connection",
            "local",
            "--module-name",
            "ansible.builtin.template",
            "--args",
            source,
        )
        result = Run("ansible", *arguments, *options).result()
        assert result.returncode == 0, result.stdout + result.stderr
        return target.read_text()


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sbin") / "daffathan-port-audit"
    path.write_text(rendered("usr/local/sbin/daffathan-port-audit"))
    return path


def run(command: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Isolated: no other way to the collection than the file itself.
    argv = [sys.executable, "-I", "-S", str(command), *arguments]
    return subprocess.run(argv, cwd=command.parent, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_is_one_file_with_the_modules_own_code(command: Path) -> None:
    held = runpy.run_path(str(command))["SOURCES"]
    for package in ("_audit", "_common", "_ufw"):
        for path in (CORE / package).glob("*.py"):
            name = f"{PACKAGE}.{package}" if path.stem == "__init__" else f"{PACKAGE}.{package}.{path.stem}"
            assert held.pop(name) == path.read_text(), name
    assert held == {}


def test_the_command_runs_on_a_bare_python(command: Path) -> None:
    (command.parent / "compose.json").write_text(COMPOSE)
    found = run(command, "static", "compose.json")
    assert found.returncode == 1, found.stderr
    assert "8080/tcp api" in found.stdout
    assert run(command, "live", "--engine-timeout", "0").returncode == 2


def test_the_declared_ports_are_those_of_the_platform_and_ones_own_which_win() -> None:
    own = [
        {"port": 25, "process": "master", "reason": "mail", "expires": "2027-01-31"},
        {"port": 443, "process": "caddy"},
    ]
    entries = json.loads(rendered("etc/daffathan/port_audit.json", port_audit_expected=own))["expected"]
    platform = [(22, "tcp"), (80, "tcp"), (443, "udp")]
    assert [(entry["port"], entry["proto"]) for entry in entries[:-2]] == platform
    assert entries[-2:] == own


def test_the_unit_writes_metrics_and_starts_others_where_that_is_wanted() -> None:
    service = "etc/systemd/system/daffathan-port-audit.service"
    start = "ExecStart=/usr/local/sbin/daffathan-port-audit live --expected /etc/daffathan/port_audit.json --fail-on"
    directory = "/var/lib/prometheus/node-exporter"
    plain = rendered(service).splitlines()
    assert f"{start} high --metrics {directory}/daffathan_port_audit.prom" in plain
    assert f"ReadWritePaths=-{directory}" in plain
    assert not any(line.startswith("OnFailure") for line in plain)
    units = ["alert@%n.service", "b.service"]
    other = rendered(
        service,
        hardening_port_audit_metrics="",
        hardening_port_audit_on_failure=units,
        port_audit_fail_on="medium",
    ).splitlines()
    assert f"{start} medium" in other
    assert f"OnFailure={' '.join(units)}" in other
    assert not any(line.startswith("ReadWritePaths") for line in other)
