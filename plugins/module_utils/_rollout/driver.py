# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the phases need from the world. One host with Compose is the first driver."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ansible_collections.daffathan.platform.plugins.module_utils._backup.model import RecoveryPoint
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Pool
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.split import Split
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Network, Route, State


@dataclass(frozen=True)
class Observed:
    """The containers of a release, as they are: how many exist, run, and are not ill."""

    containers: int
    running: int
    healthy: int


@dataclass(frozen=True)
class Ill:
    """A service that may be ill, and why."""

    service: str
    why: str

    def __str__(self) -> str:
        return f"service {self.service}: {self.why}"


class Driver(Protocol):
    """Every verb may be called again after an interruption. A verb that fails raises RolloutError.

    Where a verb takes a release that is a part of one, it acts on the containers of that part alone.
    """

    def inventory(self) -> Mapping[str, Observed]:
        """Releases that have containers, by id."""

    def load(self) -> State: ...

    def save(self, state: State) -> None: ...

    def loaded_generation(self) -> str | None:
        """The generation the running gateway answers with; None where it does not know the app."""

    def written_generation(self) -> str | None:
        """The generation of the gateway's file on disk."""

    def check_gateway(self) -> None:
        """Raise where the gateway does not run: then nothing can be switched, and nothing must be begun."""

    def fetch(self, references: Collection[str]) -> list[str]:
        """Pull what is not there; the references that were pulled."""

    def prepare(self) -> Network:
        """Make the network of the app, attach the gateway to it, and make the volumes of a release."""

    def apply_base(self) -> None:
        """Bring the services that are never swapped to the wanted state and wait for their health."""

    def remove_base(self) -> None:
        """Remove the services and networks of the app; volumes stay."""

    def stage(self, release: Release) -> None:
        """Write what the containers of a new release are made from."""

    def start(self, release: Release) -> None:
        """Create and start the containers of a staged release, with no restart policy."""

    def run(self, release: Release, job: str, version: str = "") -> str:
        """Run a one-shot of a staged release to its end, or wait for the container an interrupted run began it with.

        What it printed last. Raises where it fails. `version` takes the place of SCHEMA_PLACE in its command.
        """

    def make_point(self, release: Release) -> RecoveryPoint:
        """A time to which the databases of the app can be taken back, made now. Raises where there is none."""

    def begun(self, release: Release) -> Collection[str]:
        """The one-shots of a release that have a container."""

    def discard(self, release: Release, jobs: Collection[str]) -> None:
        """Remove the containers of one-shots."""

    def resume(self, release: Release) -> None:
        """Start the stopped containers of a release again, with no restart policy. Those that run stay as they are."""

    def ready(self, release: Release) -> None:
        """Return when every container answers its health check; raise with its last words when one cannot."""

    def keep(self, release: Release, always: bool) -> None:
        """Whether the containers come back by themselves after a crash or a reboot. Raises where one to keep ended."""

    def rehearse(self, release: Release, route: Route, split: Split | None = None) -> None:
        """Have the gateway test what a later `shift` will load, so that this need not; load nothing."""

    def shift(self, release: Release, route: Route, split: Split | None = None) -> str:
        """Let the gateway load a configuration that names the release, and a canary; the generation it was given."""

    def put_back(self, release: Release | None, route: Route | None) -> None:
        """Return when every fresh connection meets the release that served before, or the app is unknown (None).

        A gateway that does not run will start with that.
        """

    def traffic(self, since: datetime, until: datetime | None = None, *, drawn: bool = True) -> Mapping[str, Pool]:
        """What was answered in that time, by the release's id.

        :param drawn: only to users that were shared out between two releases
        """

    def forget(self) -> None:
        """Let the gateway drop the app."""

    def erase(self) -> None:
        """Remove everything that is remembered about the app."""

    def fence(self, generation: str | None) -> None:
        """Return when every fresh connection meets the generation."""

    def settle_switch(self) -> None:
        """Return when the gateway has had its moment after a switch of this run, in which nothing should be asked."""

    def drain(self, release: Release) -> Mapping[str, Any]:
        """Wait until nothing reaches the release any more, or its time is over; what was seen."""

    def unwell(self, release: Release) -> Ill | None:
        """What of a release that serves may be ill; raise where a container ended, or was started again."""

    def words(self, release: Release) -> str:
        """The end of the log of a container, for an error message."""

    def stop(self, release: Release) -> None: ...

    def finish_stop(self, release: Release) -> None:
        """Stop the containers whose stop a run may have begun that is gone: those that would not come back.

        An engine goes on with a stop when nobody waits for it any more: they run now, and will not in a moment.
        """

    def stop_later(self, release: Release, seconds: int) -> None:
        """Have the containers stopped after a time, whether this process still runs or not."""

    def cancel_stop(self, release: Release) -> None:
        """Return when nothing will stop the release any more; it may have been stopped by then."""

    def remove(self, release_id: str) -> None:
        """Remove the containers and the files of a release."""

    def release_files(self) -> Collection[str]:
        """Releases that have files, by id."""
