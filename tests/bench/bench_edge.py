# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Caddy and the gateway in front of a fast app, against Traefik in front of it and against the app itself.

All are processes of one machine on loopback, not containers, with the same certificate of an elliptic curve. Caddy and
nginx have the files that the roles and `compose_rollout` write; Traefik has a route by host, TLS, and an access log in
JSON, because ours write two. The app is nginx with an answer of 1 KiB, which it gives over TLS by itself too
(`direct`). The load is h2load's on the same machine, so it takes its share of the processors.

Everybody is measured in turn, in an order that changes from round to round, over HTTP/1.1 (32 connections) and over
HTTP/2 (4 connections with 8 streams each). `rps` is what is answered when each answer is followed by the next request;
`p99` is the 99th percentile at 300 requests/s. Of each the median of the rounds is taken.

A ratio is ours divided by the other's: above 1 is better for `rps`, below 1 for `p99`. `rps_ratio_traefik`,
`p99_ratio_traefik` and `rps_ratio_direct` are those of the protocol that is worse for us; `http1_...` and `http2_...`
are of one. The cost of a hop: `..._cpu_us` is the processor time of a process for each request while it has all it can
do, over HTTP/1.1; `..._added_ms` is what the median of one request at a time over HTTP/1.1 takes longer than `direct`.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections import defaultdict

from tests.bench.edge.load import CLIENTS, H2LOAD, load, processor_seconds
from tests.bench.edge.servers import parties

ROUNDS = 5
SECONDS = 4
RATE = 300
# Of a party, by what is measured: one of each round.
Figures = dict[tuple[str, str], list[float]]


def median(values: list[float]) -> float:
    return statistics.median(values)


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]


async def measured() -> Figures:
    found: Figures = defaultdict(list)
    async with parties() as all_of_them:
        for number in range(ROUNDS):
            for party in (*all_of_them[number % 3 :], *all_of_them[: number % 3]):
                for protocol in CLIENTS:
                    before = {what: processor_seconds([pid]) for what, pid in party.pids.items()}
                    full = await asyncio.to_thread(load, party.port, protocol, SECONDS)
                    for what, pid in party.pids.items():
                        # The second to warm up is among the processor time, but not among the requests.
                        spent = (processor_seconds([pid]) - before[what]) * SECONDS / (SECONDS + 1)
                        found[party.name, f"{protocol}_{what}_cpu"].append(spent / len(full.latencies))
                    paced = await asyncio.to_thread(load, party.port, protocol, SECONDS, rate=RATE)
                    found[party.name, f"{protocol}_rps"].append(full.rate)
                    found[party.name, f"{protocol}_p99"].append(p99(paced.latencies))
                alone = await asyncio.to_thread(load, party.port, "http1", 2, alone=True)
                found[party.name, "alone"].append(median(alone.latencies))
                said = {what: f"{values[-1]:.6g}" for (name, what), values in found.items() if name == party.name}
                print(f"{number + 1}/{ROUNDS} {party.name}: {said}", file=sys.stderr, flush=True)
    return found


def figures(found: Figures) -> dict[str, float | int | str]:
    def ratio(what: str, other: str) -> float:
        return round(median(found["ours", what]) / median(found[other, what]), 2)

    by_protocol = {
        f"{protocol}_{what}_ratio_{other}": ratio(f"{protocol}_{what}", other)
        for protocol in CLIENTS
        for what, other in (("rps", "traefik"), ("p99", "traefik"), ("rps", "direct"), ("p99", "direct"))
    }
    costs = {
        f"{what}_cpu_us": round(median(found[name, f"http1_{what}_cpu"]) * 1e6)
        for name, what in (("ours", "caddy"), ("ours", "gateway"), ("traefik", "traefik"))
    }
    direct = median(found["direct", "alone"])
    return {
        "rps_ratio_traefik": min(by_protocol[f"{protocol}_rps_ratio_traefik"] for protocol in CLIENTS),
        "p99_ratio_traefik": max(by_protocol[f"{protocol}_p99_ratio_traefik"] for protocol in CLIENTS),
        "rps_ratio_direct": min(by_protocol[f"{protocol}_rps_ratio_direct"] for protocol in CLIENTS),
        **by_protocol,
        **costs,
        **{f"{name}_added_ms": round((median(found[name, "alone"]) - direct) * 1e3, 2) for name in ("ours", "traefik")},
        "rounds": ROUNDS,
    }


def run() -> dict[str, float | int | str]:
    if not H2LOAD.is_file():
        raise RuntimeError(f"{H2LOAD} is missing: `make bench NAME=edge` unpacks it, where there is apt-get.")
    return figures(asyncio.run(measured()))
