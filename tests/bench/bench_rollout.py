# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same update of one service, 1.0.0 to 1.1.0 and back, under the same open-loop load, by two ways.

The load is 200 requests/s (GET, POST, 1.5 s answers, large bodies), an event stream and a WebSocket. The peer is the
script of the reference document (`tests/support/seed_script/`, its waiting time shortened from 20 s to 5 s), ours is
`playbooks/deploy.yml` through HTTPS, Caddy and the gateway. Each runs alone on a lab VPS of its own, three updates
each.
`lost` counts requests and streams that failed; the generator never retries.
"""

from __future__ import annotations

import sys

from tests.load.report import Report
from tests.support.converged import converged
from tests.support.lab import Host
from tests.support.load import site_load
from tests.support.seed import seed_host, update_under_load

UPDATES = ("1.1.0", "1.0.0", "1.1.0")


def by_playbook(host: Host) -> Report:
    with site_load(host, seconds=300) as load:
        for tag in UPDATES:
            host.converge("deploy", app_env={"TAG": tag}, app_drain_timeout=5)
        return load.stop()


def run() -> dict[str, float | int | str]:
    peer_host = seed_host("bench-seed")
    try:
        peer = update_under_load(peer_host, UPDATES)
    finally:
        peer_host.down()
    our_host = converged("bench-rollout")
    try:
        ours = by_playbook(our_host)
    finally:
        our_host.down()
    # Which request it was that got lost, if any.
    print(ours.describe(), file=sys.stderr)
    return {
        "updates": len(UPDATES),
        "seed_script_sent": peer.sent,
        "seed_script_lost": peer.failed,
        "seed_script_kept_schedule": str(peer.kept_schedule),
        "ours_sent": ours.sent,
        "ours_lost": ours.failed,
        "ours_kept_schedule": str(ours.kept_schedule),
        "ours_streams_ended_properly": ours.streams["sse"]["ended"] + ours.streams["ws"]["ended"],
    }
