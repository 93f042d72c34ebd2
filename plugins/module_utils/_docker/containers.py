# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The containers of an app: whose they are, how they are, and whether they run."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._docker import probe
from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import Engine, EngineError
from ansible_collections.daffathan.platform.plugins.module_utils._docker.network import PrivateNetwork
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.driver import Observed
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import LABEL, Release, RolloutError

# Seconds between attempts to update a container that is just ending.
ENDING_PAUSES = (0.1, 0.3, 1, 2)


class Containers:
    """Where a method takes a release that is a part of one, it is about the containers of that part alone."""

    def __init__(self, engine: Engine, app: str, network: PrivateNetwork) -> None:
        self.engine = engine
        self.app = app
        self.network = network

    def of_release(self, release: str) -> list[Any]:
        """The containers of a release that run on; one-shots are not among them."""
        return [container for container in self.all_of(release) if f"{LABEL}.job" not in container.labels]

    def all_of(self, release: str) -> list[Any]:
        return self.engine.containers([f"{LABEL}.app={self.app}", f"{LABEL}.release={release}"])

    def jobs_of(self, release: Release) -> dict[str, Any]:
        """The containers of one-shots by their names."""
        found = {container.labels.get(f"{LABEL}.job"): container for container in self.all_of(release.id)}
        return {name: container for name, container in found.items() if name is not None}

    def of(self, part: Release) -> list[Any]:
        """The containers of a part of a release."""
        return [
            container
            for container in (self.of_release(part.id) if part.services else [])
            if container.labels.get(f"{LABEL}.service") in part.services
            and self._address(container) in (None, *part.addresses)
        ]

    def complete(self, release: Release) -> list[Any]:
        containers = self.of(release)
        wanted = sum(len(service.addresses) for service in release.services.values())
        if len(containers) < wanted:
            raise RolloutError(
                f"release {release.id} has {len(containers)} of {wanted} containers left. Deploy the version you want "
                "instead."
            )
        return containers

    def _address(self, container: Any) -> str | None:
        """The address a container was given, whether it runs or not; None where it has lost its network."""
        endpoint = container.attrs["NetworkSettings"]["Networks"].get(self.network.name) or {}
        return (endpoint.get("IPAMConfig") or {}).get("IPv4Address")

    def addresses(self) -> set[str]:
        """Addresses that containers of releases have, whatever the state knows of them."""
        containers = self.engine.containers([f"{LABEL}.app={self.app}", f"{LABEL}.release"])
        return {str(self._address(container)) for container in containers}

    def inventory(self) -> Mapping[str, Observed]:
        found: dict[str, Observed] = {}
        for container in self.engine.containers([f"{LABEL}.app={self.app}", f"{LABEL}.release"]):
            release = container.labels[f"{LABEL}.release"]
            seen = found.setdefault(release, Observed(0, 0, 0))
            if f"{LABEL}.job" in container.labels:
                continue
            running = container.status == "running"
            healthy = running and probe.health_of(container) != "unhealthy"
            found[release] = Observed(seen.containers + 1, seen.running + running, seen.healthy + healthy)
        return found

    def base_running(self, names: Collection[str]) -> bool:
        """Whether every service of the base has a container that runs and is not ill."""
        good = {
            container.labels.get(f"{LABEL}.service")
            for container in self.engine.containers([f"{LABEL}.app={self.app}", f"{LABEL}.base"])
            if probe.completed(container)
            or (container.status == "running" and probe.health_of(container) != "unhealthy")
        }
        return set(names) <= good

    def resume(self, release: Release) -> None:
        # One that runs may serve, and has to come back after a reboot.
        containers = [container for container in self.complete(release) if container.status != "running"]
        self.engine.each(containers, "update", restart_policy={"Name": "no"})
        self.engine.each(containers, "start")

    def keep(self, release: Release, always: bool) -> None:
        policy = {"Name": "unless-stopped" if always else "no"}
        containers = self.of(release)
        # An update is work for the host, in the moment before the gateway turns to these containers.
        others = [entry for entry in containers if entry.attrs["HostConfig"]["RestartPolicy"]["Name"] != policy["Name"]]
        for pause in ENDING_PAUSES:
            try:
                self.engine.each(others, "update", restart_policy=policy)
                break
            except EngineError:
                # For a moment the engine takes a container that has just ended for a running one, and cannot update it.
                time.sleep(pause)
                if always:
                    probe.check_running(self.engine, containers)
        else:
            self.engine.each(others, "update", restart_policy=policy)
        if always:
            # From here on they come back by themselves; what ended before, with the engine for one, does not.
            probe.check_running(self.engine, containers)

    def stop(self, release: Release) -> None:
        self._stop(release, self.of(release))

    def finish_stop(self, release: Release) -> None:
        def leaves(container: Any) -> bool:
            return container.status == "running" and container.attrs["HostConfig"]["RestartPolicy"]["Name"] in (
                "no",
                "",
            )

        self._stop(release, [container for container in self.of(release) if leaves(container)])

    def _stop(self, release: Release, which: Collection[Any]) -> None:
        timeouts = {name: service.stop_timeout for name, service in release.services.items()}
        by_timeout: dict[int, list[Any]] = {}
        for container in which:
            by_timeout.setdefault(timeouts[container.labels[f"{LABEL}.service"]], []).append(container)
        for seconds, containers in sorted(by_timeout.items()):
            self.engine.each(containers, "stop", timeout=seconds)

    def words(self, release: Release) -> str:
        # One of them is enough: they do the same work.
        return "".join(probe.last_words(container) for container in sorted(self.of(release), key=probe.fine)[:1])

    def last_words(self, containers: Collection[Any]) -> str:
        return "".join(probe.last_words(container) for container in containers if not probe.fine(container))
