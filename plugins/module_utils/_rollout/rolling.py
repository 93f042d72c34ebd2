# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Containers replaced a few at a time: the gateway is told of each change, and what leaves it is drained first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.driver import Driver
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.journal import Journal
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    Release,
    ReleasedService,
    RolloutError,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Route


@dataclass(frozen=True)
class Step:
    """What leaves, then what comes."""

    leave: tuple[str, ...]
    come: tuple[str, ...]


def steps(old: Sequence[str], new: Sequence[str], surge: int, unavailable: int) -> Iterator[Step]:
    """Never more than `surge` above the new number of containers or the old one, nor more than `unavailable` below."""
    most, least = max(len(old), len(new)) + surge, min(len(old), len(new)) - unavailable
    there, left, right = len(old), 0, 0
    while left < len(old) or right < len(new):
        # One that came has to stay when the last old one leaves.
        go = min(len(old) - left, max(0, there - max(least, 1)))
        there -= go
        come = min(len(new) - right, most - there)
        there += come
        yield Step(tuple(old[left : left + go]), tuple(new[right : right + come]))
        left, right = left + go, right + come


def check_ports(live: Release, part: Release) -> None:
    """Both releases answer behind one name for a while."""
    for name, service in part.services.items():
        before = live.services.get(name)
        if before is not None and before.port != service.port:
            raise RolloutError(
                f"services.{name}.port: {service.port}, but the containers that are replaced one by one listen on "
                f"{before.port}. Use `strategy: blue_green` for this release."
            )


class Rolling:
    """Takes the services of a part, one after the other, from the live release to the new one."""

    def __init__(self, driver: Driver, journal: Journal) -> None:
        self.driver = driver
        self.journal = journal

    def run(self, live: Release, route: Route, part: Release, start: Callable[[Release], None]) -> None:
        mixed = live
        for name, service in sorted(part.services.items()):
            mixed = self._service(live, mixed, route, part, name, service, start)

    def _service(
        self,
        live: Release,
        mixed: Release,
        route: Route,
        part: Release,
        name: str,
        service: ReleasedService,
        start: Callable[[Release], None],
    ) -> Release:
        before = live.services.get(name)
        old = before.addresses if before is not None and before.port is not None else ()
        order = list(steps(old, service.addresses, service.surge, service.unavailable))
        for number, step in enumerate(order):
            with self.journal.step("roll", release=part.id, leave=list(step.leave), come=list(step.come)):
                if step.leave:
                    mixed = left_by(mixed, name, step.leave)
                    self._shift(mixed, route)
                    self._end(live.at(name, step.leave))
                if step.come:
                    come = part.at(name, step.come)
                    start(come)
                    joined = joined_by(mixed, name, step.come) if old else mixed
                    if old:
                        # While they get ready: a test takes a good part of a core, and would at the switch.
                        self.driver.rehearse(joined, route)
                        if order[number + 1 :] and order[number + 1].leave:
                            self.driver.rehearse(left_by(joined, name, order[number + 1].leave), route)
                    self.driver.ready(come)
                    # Before the gateway names it: after a reboot, what the gateway names has to come back.
                    self.driver.keep(come, True)
                    if old:
                        self._shift(joined, route)
                    mixed = joined
        return mixed

    def _shift(self, mixed: Release, route: Route) -> None:
        self.driver.fence(self.driver.shift(mixed, route))

    def _end(self, part: Release) -> None:
        self.driver.drain(part)
        self.driver.keep(part, False)
        self.driver.stop(part)


def left_by(release: Release, name: str, addresses: Sequence[str]) -> Release:
    """The release as the gateway meets it once some containers of a service have left."""
    return _at(release, name, [each for each in release.services[name].addresses if each not in addresses])


def joined_by(release: Release, name: str, addresses: Sequence[str]) -> Release:
    """The release as the gateway meets it once more containers of a service have come."""
    return _at(release, name, [*release.services[name].addresses, *addresses])


def _at(release: Release, name: str, addresses: Sequence[str]) -> Release:
    service = replace(release.services[name], addresses=tuple(addresses))
    return replace(release, services={**release.services, name: service})
