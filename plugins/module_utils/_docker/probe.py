# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Waiting for containers: until they answer, or until they have ended."""

from __future__ import annotations

import http.client
import socket
import time
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import SDK_ERRORS, Engine
from ansible_collections.daffathan.platform.plugins.module_utils._docker.process import Process, process
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.driver import Ill
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    LABEL,
    OPEN_PORT,
    TCP,
    Release,
    ReleasedService,
    RolloutError,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.progress import (
    Tell,
    silent,
    unended,
    unready,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.readiness import Flapping, Readiness

LOG_LINES = 20
# So many are looked through for the last ones of a container before it was started again.
SEARCHED_LINES = 2000
# What an exit status tells by itself.
MEANING = {
    126: "which says that its command cannot be executed (is the image for this architecture?)",
    127: "which says that its command is not in the image",
    132: "an illegal instruction (is the image for this processor?)",
    137: "which says that it was killed",
    139: "a segmentation fault",
}
FIRST_PAUSE, LAST_PAUSE = 0.025, 0.1
# What takes its time to start is found ready at most so much of that time too late.
LATE = 0.02
REQUEST_TIMEOUT = 2.0


def health_of(container: Any) -> str | None:
    """What Docker's own health check says: starting, healthy, unhealthy; None where there is none."""
    health = container.attrs["State"].get("Health")
    return str(health["Status"]) if health else None


def completed(container: Any) -> bool:
    """A one-shot container that did its work."""
    state = container.attrs["State"]
    return bool(state["Status"] == "exited" and state["ExitCode"] == 0)


def fine(container: Any) -> bool:
    return completed(container) or (container.status == "running" and health_of(container) in (None, "healthy"))


def last_words(container: Any, *, again: bool = False) -> str:
    """The end of a container's log, for an error message. :param again: what it said before it was started again"""
    try:
        text = _before(container, container.attrs["State"]["StartedAt"]) if again else _tail(container)
    except Exception as error:
        text = f"(no log: {error})"
    return f"\nLast lines of {container.name}:\n{text or '(it printed nothing)'}"


def _tail(container: Any) -> str:
    return str(container.logs(tail=LOG_LINES).decode("utf-8", "replace").strip())


def _before(container: Any, started: str) -> str:
    """The last lines of before a time as the engine writes it."""
    second, nanoseconds = _parts_of(started)
    # Whole seconds are all that older versions of the SDK take.
    until = int(datetime.fromisoformat(f"{second}+00:00").timestamp()) + 1
    said = container.logs(tail=SEARCHED_LINES, until=until, timestamps=True).decode("utf-8", "replace")
    lines = [line.split(" ", 1) for line in said.splitlines()]
    return "\n".join([line[-1] for line in lines if _parts_of(line[0]) < (second, nanoseconds)][-LOG_LINES:]).strip()


def _parts_of(at: str) -> tuple[str, str]:
    """What can be compared. The engine leaves out the zeros at the end of a fraction."""
    second, fraction = f"{at.rstrip('Z')}.".split(".")[:2]
    return second, fraction.ljust(9, "0")


def wait_ready(
    engine: Engine, containers: Collection[Any], release: Release, host: str | None, tell: Tell = silent
) -> None:
    """Return when every container answers and goes on answering; raise at once when one ended."""
    started = time.monotonic()
    waiting = {container.name: container for container in containers}
    total = Counter(container.labels[f"{LABEL}.service"] for container in containers)
    reasons: dict[str, str] = {}
    seen = {
        container.name: Readiness(release.services[container.labels[f"{LABEL}.service"]].min_uptime)
        for container in containers
    }
    running: dict[str, Process | None] = {}
    while waiting:
        for name, container in list(waiting.items()):
            service_name = container.labels[f"{LABEL}.service"]
            service = release.services[service_name]
            if _by_docker(container, service) or not _runs(running.get(name)):
                running[name] = _check_running(engine, container)
            elapsed = time.monotonic() - started
            remedy = f"{_remedy(service_name, service)}, or raise"
            try:
                reason = seen[name].look(_not_ready(container, service, host), elapsed)
            except Flapping as error:
                raise RolloutError(
                    f"service {service_name}: {error}. {remedy} `min_uptime` above the time that it needs to settle."
                    f"{last_words(container)}"
                ) from error
            if reason is None:
                del waiting[name]
                continue
            reasons[name] = reason
            if elapsed > service.start_timeout:
                raise RolloutError(
                    f"service {service_name}: not ready {service.start_timeout} s after its start: {reason}. "
                    f"{remedy} `start_timeout`.{last_words(container)}"
                )
        if waiting:
            tell(unready, total, _by_service(waiting, reasons))
            confirming = any(seen[name].confirming for name in waiting)
            pause = min(max(FIRST_PAUSE, LATE * (time.monotonic() - started)), LAST_PAUSE)
            time.sleep(FIRST_PAUSE if confirming else pause)
    # One that answered and then fell over while the others were waited for is not ready.
    check_running(engine, [container for container in containers if not _runs(running[container.name])])


def _runs(known: Process | None) -> bool:
    """Whether a container is known to run by its first process. The engine, asked often, would work beside requests."""
    return known is not None and known.alive()


def _by_service(waiting: Mapping[str, Any], reasons: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, container in waiting.items():
        found.setdefault(container.labels[f"{LABEL}.service"], []).append(reasons[name])
    return found


def _remedy(name: str, service: ReleasedService) -> str:
    if service.port is None:
        where = "its `healthcheck`"
    elif service.protocol == TCP:
        where = f"its `healthcheck` and `services.{name}.port`"
    else:
        where = f"`services.{name}.health` and `port`"
    return f"Look at what it says, at {where}"


def wait_ended(engine: Engine, container: Any, job: str, timeout: int, tell: Tell = silent) -> str:
    """Return what a one-shot printed last once it has ended well; raise with that where it has not."""
    started = time.monotonic()
    pause = FIRST_PAUSE
    while True:
        engine.reload(container)
        state = container.attrs["State"]
        if state["Status"] in ("exited", "dead"):
            break
        if time.monotonic() - started > timeout:
            engine.each([container], "stop", timeout=10)
            raise RolloutError(
                f"{job}: did not end within {timeout} s and was stopped. Look at what it says, or raise its `timeout`."
                f"{last_words(container)}"
            )
        tell(unended, job, time.monotonic() - started, timeout)
        time.sleep(pause)
        pause = min(LAST_PAUSE, pause * 1.5)
    if state["ExitCode"] != 0:
        raise RolloutError(f"{job}: {_ending(state)}.{last_words(container)}")
    try:
        return str(container.logs(stdout=True, stderr=False, tail=1).decode("utf-8", "replace").strip())
    except SDK_ERRORS as error:
        raise RolloutError(f"{job}: what it printed cannot be read: {error}") from error


def check_running(engine: Engine, containers: Collection[Any]) -> None:
    """Raise with the exit status and the last words of the first container that ended."""
    for container in containers:
        _check_running(engine, container)


def _check_running(engine: Engine, container: Any) -> Process | None:
    """The same for one; its first process. There is none of one that ends this moment: its number is 0."""
    engine.reload(container)
    _raise_if_ended(container, container.labels[f"{LABEL}.service"])
    return process(int(container.attrs["State"]["Pid"]))


def unwell(engine: Engine, containers: Collection[Any], release: Release, host: str | None) -> Ill | None:
    """What of a release that serves may be ill; raise where a container ended, or was started again after its end."""
    ill = None
    for container in containers:
        engine.reload(container)
        name = container.labels[f"{LABEL}.service"]
        _raise_if_ended(container, name)
        again = int(container.attrs.get("RestartCount") or 0)
        if again:
            raise RolloutError(
                f"service {name}: its container ended after the switch and was started again ({again}). Its last lines "
                f"tell why; correct that and deploy again.{last_words(container, again=True)}"
            )
        reason = _not_ready(container, release.services[name], host)
        ill = ill or (Ill(name, reason) if reason else None)
    return ill


def _raise_if_ended(container: Any, service: str) -> None:
    state = container.attrs["State"]
    if state["Running"] and not state.get("Restarting"):
        return
    raise RolloutError(
        f"service {service}: its container {_ending(state)}. Its last lines tell why; correct that and deploy again."
        f"{last_words(container)}"
    )


def _ending(state: Mapping[str, Any]) -> str:
    """How a container ended, and what that means."""
    status = state["ExitCode"]
    how = (
        "was killed for want of memory (raise its mem_limit)"
        if state.get("OOMKilled")
        else f"ended with exit status {status}" + (f", {MEANING[status]}" if status in MEANING else "")
    )
    return f"{how} ({state['Error']})" if state.get("Error") else how


def _by_docker(container: Any, service: ReleasedService) -> bool:
    """Whether it is Docker's own health check that counts."""
    return health_of(container) is not None and service.health in (None, OPEN_PORT)


def _not_ready(container: Any, service: ReleasedService, host: str | None) -> str | None:
    """Why a container cannot take requests yet; None when it can."""
    health = health_of(container)
    if service.port is None:
        return None if health in (None, "healthy") else f"its HEALTHCHECK says {health}"
    addresses = [n.get("IPAddress") for n in container.attrs["NetworkSettings"]["Networks"].values()]
    address = next((a for a in service.addresses if a in addresses), None)
    if address is None:
        return f"it has none of the addresses {', '.join(service.addresses)}"
    if _by_docker(container, service):
        return None if health == "healthy" else f"its HEALTHCHECK says {health}"
    if service.health in (None, OPEN_PORT):
        try:
            socket.create_connection((address, service.port), REQUEST_TIMEOUT).close()
            return None
        except OSError as error:
            return f"port {service.port}: {error}"
    where = f"GET {service.health} on port {service.port}"
    connection = http.client.HTTPConnection(address, service.port, timeout=REQUEST_TIMEOUT)
    try:
        connection.request(
            "GET", service.health, headers={"Host": host or f"{address}:{service.port}", "Connection": "close"}
        )
        answer = connection.getresponse()
        answer.read(65536)
        return None if 200 <= answer.status < 300 else f"{where} answered {answer.status}"
    except (OSError, http.client.HTTPException) as error:
        return f"{where}: {error}"
    finally:
        connection.close()
