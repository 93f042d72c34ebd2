# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One update under load, seen from outside and from the engine: what got lost, and when the traffic had moved."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.rollout.contenders import SITE, Contender
from tests.load.background import Load
from tests.load.report import Report
from tests.load.timeline import Span
from tests.support.lab import Host, wait_until
from tests.support.load import site_load
from tests.support.seed import answers

BEFORE = 3.0
AFTER = 3.0
# An app that is asked to go may take so long over its last answers.
BOUND = 180.0


@dataclass(frozen=True)
class Update:
    """What one update did; times are seconds.

    `switch` is from the moment the new version listened until the last request left that the old version answered,
    `stopped` until the old container was gone, `total` is what the user waited for the command.
    """

    report: Report
    switch: float
    stopped: float
    total: float
    command: Span
    samples: list[str]


@dataclass
class Observed:
    """A load that goes on, and once it has ended its report and a line for every request; their times are absolute."""

    load: Load
    report: Report | None = None
    samples: list[str] = field(default_factory=list)

    def stop(self) -> Report:
        self.report = self.load.stop()
        return self.report


@contextmanager
def load_on(host: Host, name: str) -> Iterator[Observed]:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "samples.csv")
        url = f"http://{host.address}:8080"
        context: AbstractContextManager[Load] = (
            site_load(host, site=SITE, seconds=BOUND, samples=file)
            if name == "ours"
            else Load(
                url, address=host.address, prefixes=("/api",), seconds=BOUND, samples=file, lag_limit=1.0, timeout=20
            )
        )
        with context as load:
            observed = Observed(load)
            yield observed
        if observed.report is not None:
            for line in file.read_text().splitlines():
                due, rest = line.split(",", 1)
                observed.samples.append(f"{observed.report.started + float(due):.3f},{rest}")


def serving(host: Host, name: str) -> None:
    """Return once the service answers; what the platform has deployed does so when its command ends."""
    url = f"http://{host.address}:8080/api/version"
    if name != "ours" and not wait_until(lambda: answers(url), seconds=60):
        raise RuntimeError(f"{url} does not answer after 60 s")


def of_version(host: Host, tag: str) -> list[str]:
    """Ids of the running containers of the service in this version."""
    format_ = "{{.Id}} {{range .Config.Env}}{{.}} {{end}}"
    running = host.run("docker", "ps", "--quiet").split()
    lines = host.run("docker", "inspect", "--format", format_, *running).splitlines() if running else []
    return [
        line.split()[0] for line in lines if f"VERSION={tag}" in line.split() and "STARTUP_SECONDS=2" in line.split()
    ]


def listening_since(host: Host, container: str) -> float:
    for line in host.run("docker", "logs", container).splitlines():
        entry = json.loads(line)
        if entry["message"] == "listening":
            return float(entry["time"])
    raise RuntimeError(f"container {container} does not say since when it listens")


def ended(host: Host, containers: list[str], since: float) -> float:
    """When the last of the containers ended."""
    argv = ("--since", f"{since:.3f}", "--until", f"{time.time():.3f}", "--filter", "event=die")
    found = host.run("docker", "events", *argv, "--format", "{{.TimeNano}} {{.ID}}").split()
    return max(int(at) / 1e9 for at, identity in zip(found[::2], found[1::2]) if identity in containers)


def update(host: Host, contender: Contender, old: str, new: str) -> Update:
    """Update from one version to another under load."""
    before = of_version(host, old)
    with load_on(host, contender.name) as load:
        time.sleep(BEFORE)
        begun = time.time()
        contender.update(host, new)
        total = time.time() - begun
        serving(host, contender.name)
        time.sleep(AFTER)
        report = load.stop()
    [after] = of_version(host, new)
    ready = listening_since(host, after)
    last = report.started + report.versions[old]["last_sent"]
    command = Span(begun, begun + total)
    return Update(report, last - ready, ended(host, before, begun) - ready, total, command, load.samples)


def steady(host: Host, contender: Contender, seconds: float) -> list[str]:
    """A line for every request of the same load while nothing happens."""
    with load_on(host, contender.name) as load:
        time.sleep(seconds)
        load.stop()
    return load.samples
