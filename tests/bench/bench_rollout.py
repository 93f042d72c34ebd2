# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same update of one service, back and forth between 1.0.0 and 1.1.0, by different ways on the same VPS.

The service opens its port 2 s after its start. The load is open-loop, 200 requests/s (GET, POST, 1.5 s answers, large
bodies), an event stream and a WebSocket. Each update has a load of its own, from 3 s before until 3 s after the service
answers again. `lost` counts requests and streams that failed; the generator never retries.

- `compose_up`: `docker compose up -d`, the container owns the port.
- `seed_script`: the script of the reference document, its waiting time shortened from 20 s to 5 s.
- `swarm`: `docker stack deploy` with `order: start-first` behind Traefik.
- `docker_rollout`: docker-rollout behind Traefik, and `_drained` with the pre-stop hook that its documentation
  describes. Its script is taken from the path in `DOCKER_ROLLOUT`; without it these two are left out.
- `ours`: `playbooks/deploy.yml`, through HTTPS, Caddy and the gateway; the others answer over plain HTTP.

Times are medians in seconds: `switch_s` from when the new version listens until the last request leaves that the old
version answers (below zero: the old one was gone before), `stopped_s` until the old container has ended, `total_s` for
the command. `rollback_s` is the time the module needs until all traffic is back on a version before that was kept warm
(`keep_warm`), `p99_ratio` compares the 99th percentile of small GETs during our switches, from the reload of the
gateway until a second after it is in force, with that of the same load while nothing happens.
"""

from __future__ import annotations

import statistics
import sys

from tests.bench.rollout.contenders import APP, Contender, all_of_them, check_traefik, our_app
from tests.bench.rollout.measure import Update, load_on, serving, steady, update
from tests.load.report import Report
from tests.load.timeline import STEADY, SWITCH, latencies, phases
from tests.support.lab import Host
from tests.support.rollout import journal
from tests.support.seed import engine_host

VERSIONS = ("1.0.0", "1.1.0", "1.0.0", "1.1.0")
# A switch of ours is over so soon that a percentile takes more of them.
OURS = (*VERSIONS, "1.0.0", "1.1.0", "1.0.0", "1.1.0", "1.0.0", "1.1.0")
# Seconds of load while nothing happens.
CALM = 60.0


def figures(updates: list[Update]) -> dict[str, float | int]:
    reports = [item.report for item in updates]
    return {
        "lost": sum(report.failed for report in reports),
        "requests": sum(report.sent for report in reports),
        "switch_s": round(statistics.median(item.switch for item in updates), 3),
        "stopped_s": round(statistics.median(item.stopped for item in updates), 3),
        "total_s": round(statistics.median(item.total for item in updates), 1),
        "late_schedules": sum(not report.kept_schedule for report in reports),
    }


def rollback(host: Host) -> tuple[float, Report]:
    """Seconds from the start of the module until all traffic is back on a release that was kept warm; the load then."""
    host.converge("deploy", apps=our_app(VERSIONS[0], keep_warm=600))
    with load_on(host, "ours") as load:
        host.converge("rollback", apps=our_app(VERSIONS[0], keep_warm=600), app=APP)
        report = load.stop()
    run = journal(host, APP)
    moved = next(position for position, line in enumerate(run) if (line["step"], line["event"]) == ("fence", "done"))
    return sum(line.get("ms", 0) for line in run[: moved + 1] if line["event"] == "done") / 1000, report


def measured(host: Host, contender: Contender) -> dict[str, float | int]:
    print(f"{contender.name} ...", file=sys.stderr)
    contender.start(host, VERSIONS[0])
    serving(host, contender.name)
    updates, lines = [], []
    versions = OURS if contender.name == "ours" else VERSIONS
    for old, new in zip(versions, versions[1:]):
        updates.append(update(host, contender, old, new))
        # Which request it was that got lost, if any.
        print(updates[-1].report.describe(), file=sys.stderr)
        if contender.name == "ours":
            lines += journal(host, APP)
    found = figures(updates)
    if contender.name == "ours":
        samples = [line for item in updates for line in item.samples] + steady(host, contender, CALM)
        seen = latencies(samples, 0.0, phases([item.command for item in updates], lines), "get")
        found["p99_ratio"] = round(seen[SWITCH]["p99"] / seen[STEADY]["p99"], 2)
        found["rollback_s"], report = rollback(host)
        found["rollback_lost"] = report.failed
    contender.remove(host)
    return found


def run() -> dict[str, object]:
    check_traefik()
    contenders = all_of_them()
    if not any(item.name == "docker_rollout" for item in contenders):
        print("DOCKER_ROLLOUT names no file: docker-rollout is left out", file=sys.stderr)
    host = engine_host("bench-rollout")
    try:
        return {contender.name: measured(host, contender) for contender in contenders}
    finally:
        host.down()
