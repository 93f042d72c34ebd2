# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Caddy and the gateway in front of a fast app, against Traefik in front of it and against the app itself.

All are processes of one machine on loopback, not containers, with the same certificate of an elliptic curve. Caddy and
nginx have the files that the roles and `compose_rollout` write; Traefik has a route by host, TLS, and an access log in
JSON, because ours write two. The app is nginx with an answer of 1 KiB, which it gives over TLS by itself too
(`direct`). The load is h2load's on the same machine, so it takes its share of the processors.

Over HTTP/1.1 there are 32 connections, over HTTP/2 4 with 8 streams each. `rps` is what is answered when each answer is
followed by the next request; `p99` is the 99th percentile at 300 requests/s. They are measured one after the other, in
an order that changes from round to round, and compared within the round: a ratio is ours divided by the other's, the
median of the rounds. Above 1 is better for `rps`, below 1 for `p99`. `rps_ratio_traefik`, `p99_ratio_traefik` and
`rps_ratio_direct` are those of the protocol that is worse for us; `http1_...` and `http2_...` are of one.

The cost of a hop, over HTTP/1.1: `..._cpu_us` is the processor time of a process for each request while it has all it
can do; `..._added_ms` is what the median of one request at a time takes longer than `direct`.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections import defaultdict

from tests.bench.edge.load import CLIENTS, H2LOAD, WARM_UP, load, processor_seconds
from tests.bench.edge.servers import Party, parties

ROUNDS = 5
SECONDS = 3
RATE = 300
# Of a party, by what is measured: one of each round.
Figures = dict[tuple[str, str], list[float]]


async def full(party: Party, protocol: str) -> dict[str, float]:
    """As fast as it goes."""
    before = {what: processor_seconds(pid) for what, pid in party.pids.items()}
    run = await asyncio.to_thread(load, party.port, protocol, SECONDS)
    # The second to warm up is among the processor time, but not among the requests.
    share = SECONDS / (SECONDS + WARM_UP) / len(run.latencies)
    spent = {f"{what}_cpu": (processor_seconds(pid) - before[what]) * share for what, pid in party.pids.items()}
    return {"rps": run.rate, **spent}


async def paced(party: Party, protocol: str) -> dict[str, float]:
    run = await asyncio.to_thread(load, party.port, protocol, SECONDS, rate=RATE)
    return {"p99": statistics.quantiles(run.latencies, n=100, method="inclusive")[98]}


async def alone(party: Party, protocol: str) -> dict[str, float]:
    """One request at a time."""
    run = await asyncio.to_thread(load, party.port, protocol, 1, alone=True)
    return {"alone": statistics.median(run.latencies)}


async def measured() -> Figures:
    found: Figures = defaultdict(list)
    async with parties() as all_of_them:
        for number in range(ROUNDS):
            in_turn = (*all_of_them[number % 3 :], *all_of_them[: number % 3])
            for protocol in CLIENTS:
                for measure in (full, paced, alone):
                    for party in in_turn:
                        for what, value in (await measure(party, protocol)).items():
                            found[party.name, f"{protocol}_{what}"].append(value)
            said = {" ".join(named): f"{values[-1]:.4g}" for named, values in found.items()}
            print(f"round {number + 1} of {ROUNDS}: {said}", file=sys.stderr, flush=True)
    return found


def figures(found: Figures) -> dict[str, float | int | str]:
    def ratio(what: str, other: str) -> float:
        rounds = zip(found["ours", what], found[other, what])
        return round(statistics.median(ours / theirs for ours, theirs in rounds), 2)

    ratios = {
        f"{protocol}_{what}_ratio_{other}": ratio(f"{protocol}_{what}", other)
        for protocol in CLIENTS
        for what, other in (("rps", "traefik"), ("p99", "traefik"), ("rps", "direct"), ("p99", "direct"))
    }
    costs = {
        f"{what}_cpu_us": round(statistics.median(found[name, f"http1_{what}_cpu"]) * 1e6)
        for name, what in (("ours", "caddy"), ("ours", "gateway"), ("traefik", "traefik"))
    }
    took = {name: statistics.median(found[name, "http1_alone"]) * 1e3 for name in ("direct", "ours", "traefik")}
    return {
        "rps_ratio_traefik": min(ratios[f"{protocol}_rps_ratio_traefik"] for protocol in CLIENTS),
        "p99_ratio_traefik": max(ratios[f"{protocol}_p99_ratio_traefik"] for protocol in CLIENTS),
        "rps_ratio_direct": min(ratios[f"{protocol}_rps_ratio_direct"] for protocol in CLIENTS),
        **ratios,
        **costs,
        **{f"{name}_added_ms": round(took[name] - took["direct"], 2) for name in ("ours", "traefik")},
    }


def run() -> dict[str, float | int | str]:
    if not H2LOAD.is_file():
        raise RuntimeError(f"{H2LOAD} is missing: `make bench NAME=edge` unpacks it, where there is apt-get.")
    return figures(asyncio.run(measured()))
