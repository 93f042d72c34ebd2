# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Parts of a release, by how they are replaced."""

from __future__ import annotations

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    Release,
)


def beside(release: Release, *, workers: bool) -> Release:
    """The services, or the workers, of a release that run beside those of the one they replace."""
    return release.only(
        [
            name
            for name, service in release.services.items()
            if service.strategy in ("blue_green", "canary") and (service.port is None) is workers
        ]
    )


def in_place(release: Release) -> Release:
    """The part of a release that must not run before its predecessor has ended."""
    return release.only([name for name, service in release.services.items() if service.strategy == "stop_first"])


def workers(release: Release) -> Release:
    """The part of a release that takes no requests."""
    return release.only([name for name, service in release.services.items() if service.port is None])


def served_part(release: Release) -> Release:
    """The part of a release that takes requests."""
    return release.only([name for name, service in release.services.items() if service.port is not None])


def rolling(release: Release) -> Release:
    """The part of a release that replaces its predecessor container by container."""
    return release.only([name for name, service in release.services.items() if service.strategy == "rolling"])


def strategy_of(release: Release) -> str:
    """How its services are swapped, in a word for each way."""
    return ", ".join(sorted({service.strategy for service in release.services.values()}))


def containers(release: Release) -> int:
    return sum(len(service.addresses) for service in release.services.values())
