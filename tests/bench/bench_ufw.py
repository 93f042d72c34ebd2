# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One task of `ufw_policy` against the tasks of `community.general.ufw` that say the same, for 30 and for 200 rules.

The peer's tasks are the three defaults in a loop, the log level, the rules in a loop, and enabling. Both work on the
same lab VPS, from the same bare firewall, one after the other in changing order, with the same ansible-core, pipelining
and an SSH connection that is open already. What `ufw status verbose` says afterwards must be the same for both, and an
unchanged run must report no change.

A ratio is the peer's time divided by ours. Task time is what a user waits for the tasks; the start of Ansible and the
connection are left out. Module time is that of the Python processes on the host, without Ansible's own work and SSH.
With 30 rules every run is done three times; with 200 rules ours three times and the peer's, which take minutes, once.
Each of our unchanged runs, which take a second, is done three times in a row. Times are medians.
`ours_unchanged_30_seconds` and `ours_unchanged_200_seconds` are the only absolute figures, of task time.

`open_window_hits` counts connections to a denied port that a neighbour, who tries every 3 ms, got through during the
peer's unchanged run of 30 rules, `changed_default_hits` those while the default for incoming packets is set to reject
and back to deny; `ours_...` are the same for us. These runs are not among those that are timed.

It takes about ten minutes on two cores that do nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from tests.support.lab import BIN, PROJECT, Host, parse_recap, up
from tests.support.neighbour import listen, probe

PEERS = PROJECT / ".build" / "bench"
GENERAL = PEERS / "ansible_collections" / "community" / "general"
ALLOWED, DENIED = 9001, 9002
OURS = "daffathan.platform.ufw_policy"
DEFAULTS = {"incoming": "deny", "outgoing": "allow", "routed": "deny"}
REPETITIONS = 3
OURS_IN_A_ROW = 3

# Stands in for the interpreter on the host and writes down how long each call of a module took there, in nanoseconds.
TIMES = "/run/bench-modules"
INTERPRETER = "/usr/local/bin/timed-python3"
TIMED_PYTHON = f"""#!/bin/sh
start=$(date +%s%N)
/usr/bin/python3 "$@"
rc=$?
echo $(($(date +%s%N) - start)) >> {TIMES}
exit $rc
"""

PREPARE = f"""
cat > {INTERPRETER} <<'END'
{TIMED_PYTHON}END
chmod 755 {INTERPRETER}
tar -C / -cf /root/bare.tar etc/ufw etc/default/ufw
"""
BARE = """
/usr/lib/ufw/ufw-init force-stop
for program in iptables ip6tables; do $program -F; $program -X; done
tar -C / -xf /root/bare.tar
"""

Task = dict[str, Any]


def rules(count: int) -> list[dict[str, str]]:
    """Rules as `ufw_policy` takes them: services for everybody, services for one network, and networks kept out."""
    fixed = [
        {"action": "allow", "port": "22", "proto": "tcp", "comment": "ssh"},
        {"action": "allow", "port": str(ALLOWED), "proto": "tcp", "comment": "allowed"},
    ]
    kinds: list[dict[str, str]] = [
        {"action": "allow", "proto": "tcp"},
        {"action": "allow", "proto": "tcp", "from": "192.0.2.0/24"},
        {"action": "deny", "proto": "udp", "from": "2001:db8::/32"},
    ]
    many = [{**kinds[n % 3], "port": str(10000 + n), "comment": f"rule {n}"} for n in range(count - len(fixed))]
    return fixed + many


def ours(count: int, **defaults: str) -> list[Task]:
    policy = {"defaults": {**DEFAULTS, **defaults}, "logging": "low", "rules": rules(count)}
    return [{"name": "Policy", OURS: policy}]


def peers_default() -> Task:
    return {"name": "Defaults", "community.general.ufw": {"direction": "{{ item.key }}", "default": "{{ item.value }}"}}


def peers(count: int) -> list[Task]:
    names = {"action": "rule", "port": "to_port", "proto": "proto", "from": "from_ip", "comment": "comment"}
    return [
        {**peers_default(), "loop": [{"key": key, "value": value} for key, value in DEFAULTS.items()]},
        {"name": "Log level", "community.general.ufw": {"logging": "low"}},
        {
            "name": "Rules",
            "community.general.ufw": {name: f"{{{{ item['{key}'] | default(omit) }}}}" for key, name in names.items()},
            "loop": rules(count),
            "loop_control": {"label": "{{ item.comment }}"},
        },
        {"name": "Enable", "community.general.ufw": {"state": "enabled"}},
    ]


@dataclass(frozen=True)
class Run:
    """One run of some tasks; times in seconds."""

    changed: int
    task: float
    module: float


def run_tasks(host: Host, tasks: list[Task]) -> Run:
    calls = sum(len(task.get("loop", [None])) for task in tasks)
    play = {
        "hosts": host.name,
        "gather_facts": False,
        "become": True,
        "vars": {"ansible_python_interpreter": INTERPRETER},
        "tasks": [{"name": "Connect", "ansible.builtin.ping": {}}, *tasks],
    }
    with tempfile.TemporaryDirectory() as directory:
        playbook = Path(directory, "play.yml")
        playbook.write_text(json.dumps([play]))
        host.run("rm", "-f", TIMES)
        result = subprocess.run(
            [str(BIN / "ansible-playbook"), "--inventory", str(host.inventory), str(playbook)],
            cwd=PROJECT,
            env={
                **os.environ,
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_COLLECTIONS_PATH": f"{PROJECT / '.collections'}:{PEERS}",
                "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.junit",
                "JUNIT_OUTPUT_DIR": f"{directory}/times",
                "JUNIT_HIDE_TASK_ARGUMENTS": "true",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
            check=False,
        )
        if result.returncode != 0:
            raise RuntimeError(f"The tasks failed:\n{result.stdout[-4000:]}")
        [report] = Path(directory, "times").iterdir()
        task_times = [float(case.attrib["time"]) for case in ElementTree.parse(report).iter("testcase")]
    module_times = [int(line) / 1e9 for line in host.run("cat", TIMES).splitlines()]
    # A firewall that ufw_policy has changed is confirmed by one call more, over a new connection.
    confirmations = len(module_times) - 1 - calls
    if len(task_times) != 1 + len(tasks) or confirmations not in (0, sum(OURS in task for task in tasks)):
        raise RuntimeError(
            f"Timed {len(task_times)} tasks and {len(module_times)} calls of {len(tasks) + 1} and {calls + 1}."
        )
    # The first of each is the one that connects.
    return Run(parse_recap(result.stdout)[host.name]["changed"], sum(task_times[1:]), sum(module_times[1:]))


@dataclass
class Side:
    """The runs of one of the two, with one number of rules."""

    name: str
    tasks: list[Task]
    first: list[Run]
    unchanged: list[Run]
    in_a_row: int = 1

    def measure(self, host: Host) -> str:
        """From the bare firewall and again; returns what ufw says then."""
        host.run("bash", "-euc", BARE)
        first, *unchanged = (run_tasks(host, self.tasks) for _run in range(1 + self.in_a_row))
        if not first.changed or any(run.changed for run in unchanged):
            raise RuntimeError(f"{self.name}: first run {first}, unchanged runs {unchanged}")
        self.first.append(first)
        self.unchanged += unchanged
        for what, run in (("first", first), *(("unchanged", run) for run in unchanged)):
            print(f"{self.name}, {what}: {run.task:.2f} s, modules {run.module:.2f} s", file=sys.stderr, flush=True)
        return host.run("ufw", "status", "verbose")


def compare(host: Host, count: int, *, peer_repetitions: int) -> tuple[Side, Side]:
    us = Side(f"ufw_policy, {count} rules", ours(count), [], [], OURS_IN_A_ROW)
    peer = Side(f"community.general.ufw, {count} rules", peers(count), [], [])
    states = set()
    for repetition in range(REPETITIONS):
        sides = [us, peer] if repetition < peer_repetitions else [us]
        states |= {side.measure(host) for side in (sides if repetition % 2 else reversed(sides))}
    if len(states) != 1:
        raise RuntimeError("The two do not come to the same firewall:\n" + "\n".join(states))
    return us, peer


def ratios(count: int, us: Side, peer: Side) -> Iterator[tuple[str, float]]:
    for what, mine, theirs in (("first", us.first, peer.first), ("unchanged", us.unchanged, peer.unchanged)):
        yield f"{what}_{count}_ratio", ratio([run.task for run in theirs], [run.task for run in mine])
        yield f"{what}_{count}_module_ratio", ratio([run.module for run in theirs], [run.module for run in mine])


def ratio(theirs: list[float], mine: list[float]) -> float:
    return round(median(theirs) / median(mine), 1)


def hits(host: Host, *runs: list[Task], changed: bool) -> int:
    """Connections to the denied port that came about while these ran."""
    with probe(host.address, denied=DENIED, allowed=ALLOWED, seconds=600) as probed:
        for tasks in runs:
            if bool(run_tasks(host, tasks).changed) is not changed:
                raise RuntimeError(f"{'Nothing' if changed else 'Something'} was changed by {json.dumps(tasks)}")
    counts = probed.result()
    if counts["denied"]["sent"] < 1000 or counts["allowed"]["connected"] < counts["allowed"]["sent"] * 0.9:
        raise RuntimeError(f"The probe did not work: {counts}")
    return counts["denied"]["connected"]


def windows(host: Host) -> dict[str, int]:
    """Connections to a denied port during unchanged runs, and while a default is changed and changed back."""
    one, same = ours(30), peers(30)
    run_tasks(host, one)
    there, back = ([{**peers_default(), "loop": [{"key": "incoming", "value": value}]}] for value in ("reject", "deny"))
    return {
        "open_window_hits": hits(host, same, changed=False),
        "ours_open_window_hits": hits(host, one, one, one, changed=False),
        "changed_default_hits": hits(host, there, back, changed=True),
        "ours_changed_default_hits": hits(host, ours(30, incoming="reject"), one, changed=True),
    }


def versions(host: Host) -> dict[str, str]:
    if not GENERAL.is_dir():
        raise RuntimeError(f"{GENERAL} is missing; `make bench NAME=ufw` puts it there.")
    return {
        "ours": yaml.safe_load((PROJECT / "galaxy.yml").read_text())["version"],
        "community_general": json.loads((GENERAL / "MANIFEST.json").read_text())["collection_info"]["version"],
        "ansible_core": metadata.version("ansible-core"),
        "ufw": host.run("ufw", "--version").split()[1],
    }


def run() -> dict[str, float | int | str]:
    host = up("bench-ufw")
    try:
        host.run("bash", "-euc", PREPARE)
        listen(host, ALLOWED, DENIED)
        figures: dict[str, float | int | str] = {**versions(host)}
        for count, peer_repetitions in ((30, REPETITIONS), (200, 1)):
            us, peer = compare(host, count, peer_repetitions=peer_repetitions)
            figures.update(ratios(count, us, peer))
            figures[f"ours_unchanged_{count}_seconds"] = round(median(run.task for run in us.unchanged), 2)
        return {**figures, **windows(host)}
    finally:
        host.down()
