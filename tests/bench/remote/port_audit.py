# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On the host: what one audit takes in one process, and what the command line takes to read the same, in turn.

`port_audit.py DIRECTORY REPETITIONS` with the collection below the directory prints seconds and counts as JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True

from ansible_collections.daffathan.platform.plugins.module_utils._audit import collect, judge, model  # noqa: E402

EXPECTED = model.parse_expected([{"port": 22, "reason": "administration"}])


def core() -> judge.Report:
    return judge.judge(collect.host("/run/docker.sock", 20), EXPECTED)


def output(*argv: str) -> str:
    return subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout


def commands(*, batch: bool) -> None:
    output("ss", "-Htulnp")
    output("docker", "ps", "-a")
    names = output("docker", "ps", "-aq").split() if batch else NAMES
    for group in [names] if batch else [[name] for name in names]:
        output("docker", "inspect", *group)
    output("iptables-save")
    output("ip6tables-save")
    output("nft", "-j", "list", "ruleset")


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def processor() -> float:
    """Processor time of this process and of those it started, in seconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


NAMES = output("docker", "ps", "-aq").split()
report = core()
times: dict[str, list[float]] = {"core": [], "cpu": [], "single": [], "batch": []}
for number in range(int(sys.argv[2])):
    before = processor()
    times["core"].append(timed(core))
    times["cpu"].append(processor() - before)
    times["batch"].append(timed(lambda: commands(batch=True)))
    # One call per container takes seconds.
    if number % 5 == 0:
        times["single"].append(timed(lambda: commands(batch=False)))
kinds: dict[str, int] = {}
for item in report.findings:
    kinds[item.id] = kinds.get(item.id, 0) + 1
print(
    json.dumps(
        {
            "medians": {name: median(values) for name, values in times.items()},
            "findings": kinds,
            "reachable": sorted({f"{item['port']}/{item['proto']}" for item in report.reachable}),
        }
    )
)
