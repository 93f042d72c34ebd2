# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The release that is made of what is wanted: its name, its colour, and an address for each of its containers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    LIMITS,
    MIGRATE,
    Job,
    Release,
    ReleasedService,
    choose_addresses,
    gateway_address,
    other_colour,
    release_id,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parts import Parts
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.plan import Desired
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State


def new_release(
    desired: Desired,
    parts: Parts,
    digests: Mapping[str, str],
    state: State,
    subnet: str | None,
    used: Collection[str],
    now: datetime,
    *,
    point: bool,
) -> Release:
    """
    :param subnet: of the app's network; None before its first run
    :param used: addresses that containers have, whatever the state knows of them
    :param point: whether a recovery point is made before its migration
    """
    taken: set[str] = {gateway_address(subnet)} if subnet else set()
    for release in state.kept:
        taken |= release.addresses
    taken |= set(used)
    services = {}
    for service in desired.app.services:
        # Before the first run there is no network: a plan then names no addresses.
        addresses = choose_addresses(subnet, service.replicas, frozenset(taken)) if subnet else ["?"] * service.replicas
        taken |= set(addresses)
        reference = parts.images[service.name]
        services[service.name] = ReleasedService(
            image=reference,
            digest=digests[reference],
            port=service.port,
            addresses=tuple(addresses),
            **{name: getattr(service, name) for name in LIMITS},
        )
    return Release(
        id=release_id(now, desired.release_hash, state.ids),
        hash=desired.release_hash,
        colour=other_colour(state.live.colour if state.live else None),
        created=now.isoformat(timespec="seconds"),
        services=services,
        jobs={
            job.name: Job(
                job.service,
                parts.images[job.service],
                digests[parts.images[job.service]],
                job.timeout,
                job.command,
                recovery_point=job.name == MIGRATE and point,
            )
            for job in desired.app.jobs
        },
    )
