# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ten deploys cannot show: a hundred of every kind under load all the time, and what piles up on the host.

Every service has `min_uptime: 2`: a container is ready at the earliest two seconds after its start. The deploys take
turns: `blue_green`, `canary` (25 %, then 60 % of the users, analysed), each with two containers of the service under
load, and `rolling` with three. The load goes through Caddy over HTTPS: GET, POST, 1.5 s answers and large bodies whose
checksums are compared, a part of them over HTTP/2 with many requests on a connection, event streams over both versions,
and WebSockets. It is open-loop and retries nothing.

`refused` are requests of which the server said by GOAWAY or REFUSED_STREAM that it did not begin them. `held_early`
counts WebSockets and event streams that ended before the old release had its `drain_timeout` after the switch. The 99th
percentiles are those of small GETs in ms, by when they were due: from `shift` until a second after `fence`
(`p99_switch`, and of each strategy by itself; each step of a canary is one), while containers of a rolling deploy are
replaced (`p99_roll`), during the rest of a deploy (`p99_deploy`: Ansible and the start of containers take their share
of the same cores), and while nothing happened (`p99_steady`). `p99_ratio` is `p99_switch` divided by `p99_steady`.
`late` requests left more than a second after they were due: it is the generator that was late. Of what could pile up,
`kept_...` has how much there was after ten deploys, and after the last.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.page import publish
from tests.load.timeline import REST, STEADY, SWITCH, Span, early, latencies, phases, switches
from tests.support.app import APP, deploy, leftovers, version
from tests.support.converged import converged
from tests.support.lab import Host
from tests.support.load import site_load
from tests.support.rollout import journal, rollout, site, state_of

STRATEGIES = ("blue_green", "canary", "rolling")
DEPLOYS = 100
REQUESTS = 300_000
# Requests per second. A machine that has other work beside holds fewer; the page says how many they were.
RATE = float(os.environ.get("DAFFATHAN_SOAK_RATE", "130"))
WEBSOCKETS = 6
# Before the first deploy, after the last, and after each: what it is compared with comes from the same minutes.
CALM = 60.0
PAUSE = REST + 3.0
# Caches have filled and every strategy has had its turn.
WARM = 9
MOST_MEMORY_MB = 300


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = converged("soak-deploys")
    yield host
    host.down()


def options(host: Host, tag: str, strategy: str) -> dict[str, Any]:
    found = site(host, tag)
    for service in found["services"].values():
        # The demo's services are up at once. Others are not, and the start of a container is not the switch to it.
        service["min_uptime"] = 2
    found["services"]["api"] |= {
        "replicas": 3 if strategy == "rolling" else 2,
        "strategy": strategy,
        "start_timeout": 60,
    }
    if strategy == "canary":
        analysis = {"min_requests": 20, "interval": 1, "max_wait": 60}
        found["canary"] = {"steps": [{"weight": 25, "pause": 2}, {"weight": 60, "pause": 2}], "analysis": analysis}
    return found


def descriptors(host: Host) -> int:
    """Open files of Caddy and of the gateway's processes."""
    script = "import os, subprocess; found = subprocess.run(['pgrep', '-x', 'caddy|nginx'], stdout=-1, text=True)"
    script += "; print(sum(len(os.listdir(f'/proc/{pid}/fd')) for pid in found.stdout.split()))"
    return int(host.run("python3", "-c", script))


def kept(host: Host) -> dict[str, int]:
    """How much there is of everything that deploys could pile up."""
    found = {kind: len(names) for kind, names in leftovers(host).items()}
    found["images"] = len(host.run("docker", "image", "ls", "--quiet", "--no-trunc").split())
    found["state_kb"] = int(host.run("du", "-sk", f"/var/lib/daffathan/apps/{APP}/releases").split()[0])
    found["layers"] = len(host.run("ls", "/var/lib/docker/overlay2").split())
    return found


def test_a_hundred_deploys_lose_nothing_and_leave_nothing(host: Host, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    switched: list[tuple[str, Span]] = []
    deploys: list[Span] = []
    kinds: Counter[str] = Counter()
    first: dict[str, int] = {}
    failed_deploys: list[str] = []
    grace = float(options(host, "1.0.0", "rolling")["services"]["api"]["drain_timeout"])
    samples = tmp_path / "samples.csv"
    # For a machine that is needed for something else afterwards: fewer deploys fail the test, but have their figures.
    until = time.monotonic() + 60 * float(os.environ.get("DAFFATHAN_SOAK_MINUTES", "180"))
    with site_load(host, rate=RATE, seconds=6 * 3600, websockets=WEBSOCKETS, samples=samples) as load:
        begun = time.time()
        time.sleep(CALM)
        for number in range(DEPLOYS):
            if time.monotonic() > until:
                break
            tag, strategy = ("1.1.0", "1.0.0")[number % 2], STRATEGIES[number % 3]
            wanted = options(host, tag, strategy)
            started = time.time()
            result = rollout(host, wanted)
            deploys.append(Span(started, time.time()))
            told = journal(host)
            lines += told
            switched += [(strategy, span) for span in switches(told)]
            if result["failed"]:
                failed_deploys.append(f"deploy {number}, {strategy}: {result['msg']}")
                print(failed_deploys[-1], file=sys.stderr, flush=True)
                continue
            assert version(host) == tag
            kinds[strategy] += 1
            if number == WARM:
                first = kept(host)
            time.sleep(PAUSE)
            print(f"{number + 1} {strategy} {deploys[-1].end - started:.1f} s", file=sys.stderr, flush=True)
        last = kept(host)
        time.sleep(max(CALM, REQUESTS / RATE - (time.time() - begun) if len(deploys) == DEPLOYS else 0))
        report = load.stop()
    # Beside the samples, for who wants to know what went on when one of them took long.
    (tmp_path / "journal.json").write_text(json.dumps({"started": report.started, "lines": lines}))
    rows = samples.read_text().splitlines()
    found = latencies(rows, report.started, phases(deploys, lines), "get")
    by_strategy = latencies(rows, report.started, sorted(switched, key=lambda entry: entry[0]), "get")
    held = early((report.started + end["at"] for end in report.ends), lines, grace)
    figures = {
        "deploys": len(deploys),
        "failed_deploys": len(failed_deploys),
        **kinds,
        "requests": report.sent,
        "failed": report.failed,
        "truncated": report.failed_requests.get("truncated", 0)
        + sum(stream["failed"].get("truncated", 0) for stream in report.streams.values()),
        "refused": report.refused,
        **{f"requests_{name}": count["sent"] for name, count in sorted(report.requests.items())},
        "held_ended": len(report.ends),
        "held_early": len(held),
        **{f"p99_{name}": seen.get("p99", 0.0) for name, seen in found.items()},
        **{f"p99_switch_{name}": seen.get("p99", 0.0) for name, seen in by_strategy.items() if name != STEADY},
        **{f"requests_in_{name}": seen["requests"] for name, seen in found.items()},
        "p99_ratio": round(found[SWITCH]["p99"] / found[STEADY]["p99"], 2),
        "minutes": round(report.seconds / 60, 1),
        "rate": RATE,
        "late": report.late,
        "kept_schedule": report.kept_schedule,
        "generator_memory_mb": report.memory_mb,
        "generator_cpu_share": report.cpu_share,
        **{f"kept_{kind}": f"{first.get(kind)} / {count}" for kind, count in last.items()},
    }
    print(report.describe(), file=sys.stderr)
    publish("soak_rollout", __doc__ or "", figures)
    print(json.dumps(figures), flush=True)
    assert not failed_deploys
    assert report.failed == 0, report.describe()
    assert not held, [round(end - report.started, 3) for end in held]
    assert len(report.ends) >= DEPLOYS, "no held connection met the switches"
    assert last.pop("state_kb") <= first.pop("state_kb") + 100
    assert last == first
    assert report.memory_mb < MOST_MEMORY_MB
    assert (len(deploys), report.sent >= REQUESTS) == (DEPLOYS, True)


def test_open_files_return_to_what_they_were(host: Host) -> None:
    before = descriptors(host)
    for number in range(WARM):
        assert deploy(host, ("1.1.0", "1.0.0")[number % 2]).rc == 0
    # Without load, connections of one deploy are gone before the next one.
    assert descriptors(host) <= before + 20


def test_history_is_bounded(host: Host) -> None:
    state = state_of(host, APP)
    releases = host.run("ls", f"/var/lib/daffathan/apps/{APP}/releases").split()
    assert state["live"]["id"] in releases
    assert len(releases) <= 10
