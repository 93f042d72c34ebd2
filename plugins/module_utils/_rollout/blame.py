# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Where a release is bad, for a person who has to find out why."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Endpoint, Pool
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release

SHOWN = 3


def worst(pool: Pool, *, latency: bool) -> list[Endpoint]:
    """The kinds of requests that failed most often, or took longest, the worst first."""
    if latency:
        return sorted(pool.endpoints, key=lambda one: -one.seconds / max(1, one.requests))[:SHOWN]
    return sorted((one for one in pool.endpoints if one.errors), key=lambda one: -one.errors)[:SHOWN]


def service_at(release: Release, address: str) -> str | None:
    return next((name for name, service in release.services.items() if address in service.addresses), None)


def guilty(release: Release, found: Sequence[Endpoint]) -> str | None:
    """The service that answered the worst."""
    return service_at(release, found[0].address) if found else None


def describe(release: Release, found: Sequence[Endpoint], *, latency: bool) -> str:
    """A sentence about each; nothing where nothing is known."""
    if not found:
        return ""
    parts = [
        f"{one.request} (service {service_at(release, one.address) or '?'}: "
        + (
            f"{1000 * one.seconds / max(1, one.requests):.0f} ms on average, {one.requests} requests)"
            if latency
            else f"{one.errors} of {one.requests} failed, last with {one.status})"
        )
        for one in found
    ]
    return f" {'Slowest' if latency else 'Most often'}: {', '.join(parts)}."
