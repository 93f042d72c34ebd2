# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit by timer on a VPS: what it sees from within its sandbox, what it tells, and when it runs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.audited import IMAGE, install_docker, listen, publish, shell
from tests.support.lab import Host, lab, wait_until

PLAYBOOK = "molecule/hardening/converge.yml"
UNIT, TIMER = "daffathan-port-audit.service", "daffathan-port-audit.timer"
METRICS = "/var/lib/prometheus/node-exporter/daffathan_port_audit.prom"
ALERT = "test-alert.service"
OPTIONS: dict[str, Any] = {"hardening_port_audit_on_failure": [ALERT]}


@pytest.fixture(scope="module")
def vps(bare_host: Host) -> Host:
    """A host that the role hardening has set up, and a unit that notes an alert."""
    dry = bare_host.play(PLAYBOOK, "--check", **OPTIONS)
    assert dry.rc == 0, dry.output[-4000:]
    bare_host.converge(PLAYBOOK, **OPTIONS)
    alert = "[Service]\nType=oneshot\nExecStart=touch /run/alerted\n"
    shell(bare_host, f"printf '{alert}' > /etc/systemd/system/{ALERT}; systemctl daemon-reload")
    return bare_host


def metric(host: Host, name: str) -> float:
    match = re.search(rf"^daffathan_port_audit_{name} (\S+)$", host.run("cat", METRICS), re.MULTILINE)
    assert match, name
    return float(match[1])


def audited(host: Host) -> tuple[int, str]:
    """Runs the unit: the exit status of its start, and what the command wrote to the journal meanwhile.

    Its lines are found by their place: the journal may not know the unit of what it reads after the end of the process.
    """
    _, cursor = host.run("journalctl", "--lines=0", "--show-cursor").rsplit("-- cursor: ", 1)
    rc = host.rc("systemctl", "start", UNIT)
    host.run("journalctl", "--sync")
    since = f"--after-cursor={cursor.strip()}"
    return rc, host.run("journalctl", "--identifier=daffathan-port-audit", "--output=cat", since)


def test_a_second_run_changes_nothing(vps: Host) -> None:
    again = vps.play(PLAYBOOK, **OPTIONS)
    assert (again.rc, again.changed(vps.name)) == (0, 0), again.output[-4000:]


def test_the_timer_waits_and_nothing_ran_while_it_was_set_up(vps: Host) -> None:
    assert vps.run("systemctl", "is-active", TIMER).strip() == "active"
    shown = vps.run("systemctl", "show", "--property=Persistent,RandomizedDelayUSec,TimersCalendar", TIMER)
    assert "Persistent=yes" in shown and "RandomizedDelayUSec=15min" in shown and "OnCalendar=*-*-* *:00:00" in shown
    assert vps.run("systemctl", "show", "--property=InvocationID", "--value", UNIT).strip() == ""


def test_a_clean_host_passes_and_its_metrics_say_so(vps: Host) -> None:
    rc, said = audited(vps)
    assert rc == 0 and "reachable: 22/tcp" in said
    assert metric(vps, "success") == 1
    assert metric(vps, 'reachable_port{port="22",proto="tcp",family="ipv6"}') == 1
    assert vps.run("stat", "--format=%a %U", METRICS).strip() == "644 root"


def test_a_finding_makes_the_unit_fail_and_starts_the_alert(vps: Host) -> None:
    listen(vps, 9001, "0.0.0.0")
    vps.run("ufw", "allow", "9001/tcp")
    try:
        rc, said = audited(vps)
        assert rc != 0
        assert vps.run("systemctl", "is-failed", UNIT).strip() == "failed"
        assert "9001/tcp is reachable" in said and "Remedy:" in said
        assert metric(vps, "success") == 0
        assert metric(vps, 'findings_by_id{id="undeclared-listener",severity="high"}') == 1
        shell(vps, "for i in $(seq 50); do [ -e /run/alerted ] && exit; sleep 0.1; done; exit 1")
    finally:
        shell(vps, "ufw delete allow 9001/tcp; systemctl stop test-9001")
    vps.run("systemctl", "start", UNIT)
    assert metric(vps, "success") == 1


def test_the_sandbox_hides_nothing(vps: Host) -> None:
    """Within its unit the command says what it says to root: containers, their networks, owners of sockets, rules."""
    install_docker(vps)
    publish(vps, "shop", "8080:3000")
    listen(vps, 9001, "0.0.0.0")
    vps.run("docker", "run", "--detach", "--name", "flat", "--network", "host", IMAGE)
    network = ("--driver", "macvlan", "--opt", "parent=eth0", "--subnet", "10.99.0.0/24", "beside")
    vps.run("docker", "network", "create", *network)
    vps.run("docker", "run", "--detach", "--name", "lan", "--network", "beside", IMAGE)
    _, said = audited(vps)
    command = "/usr/local/sbin/daffathan-port-audit live --expected /etc/daffathan/port_audit.json"
    outside = vps.run("sh", "-c", f"{command} || [ $? = 1 ]")
    # The journal keeps no empty lines.
    assert said.splitlines() == [line for line in outside.splitlines() if line]
    for word in ("8080", "python3", "flat", "lan"):
        assert word in outside
    assert "unknown" not in outside


def test_it_runs_after_a_boot(vps: Host) -> None:
    before = metric(vps, "last_run_timestamp_seconds")
    lab("restart", vps.name)
    ended = ("systemctl", "show", "--property=ExecMainExitTimestamp", "--value", UNIT)
    assert wait_until(lambda: vps.run(*ended).strip(), seconds=60)
    assert metric(vps, "last_run_timestamp_seconds") > before
