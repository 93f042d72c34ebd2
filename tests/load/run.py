# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run: preflight, the schedule, the held connections, the report."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import resource
import uuid
from asyncio import sslproto
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.load.client import Sender, Sessions, sessions
from tests.load.http2 import Http2, Http2Error
from tests.load.mix import SLOW_SECONDS, shots
from tests.load.report import Recorder, Report
from tests.load.streams import EventStream, Http2EventStream, Stream, WebSocket
from tests.load.target import Target, UsageError

MOST_RATE = 1000.0
MOST_SECONDS = 6 * 3600.0
NOISE_BYTES = 1 << 20
POLL = 0.1
READ_BYTES = 1 << 15


@dataclass(frozen=True)
class Plan:
    """What to send: everything but the target."""

    rate: float = 200.0
    seconds: float = 60.0
    prefixes: tuple[str, ...] = ("",)
    fresh: float = 0.1
    http2: float = 0.0
    websockets: int = 1
    timeout: float = 10.0
    lag_limit: float = 0.1
    ca: str | None = None
    until_file: str | None = None
    samples: str | None = None


def check(plan: Plan, target: Target) -> None:
    """Refuse values outside their bounds before anything is sent."""
    bounds: Mapping[str, tuple[float, float, float]] = {
        "--rate": (plan.rate, 0.1, MOST_RATE),
        "--seconds": (plan.seconds, 0.1, MOST_SECONDS),
        "--fresh": (plan.fresh, 0.0, 1.0),
        "--http2": (plan.http2, 0.0, 1.0),
        "--websockets": (plan.websockets, 1, 100),
        "--timeout": (plan.timeout, SLOW_SECONDS + 0.5, 120.0),
        "--lag-limit": (plan.lag_limit, 0.001, 10.0),
    }
    for option, (value, least, most) in bounds.items():
        if not least <= value <= most:
            raise UsageError(f"{option} {value:g}: must be from {least:g} to {most:g}")
    if plan.ca is not None and not Path(plan.ca).is_file():
        raise UsageError(
            f"--ca {plan.ca}: no such file; name the PEM file of the authority that signed the certificate"
        )
    if plan.ca is not None and target.scheme != "https":
        raise UsageError(f"--ca {plan.ca}: --url {target.origin} is not https; leave it out")
    if plan.until_file is not None and Path(plan.until_file).exists():
        raise UsageError(f"--until-file {plan.until_file}: exists already, so the run would be over; remove it first")


async def run(target: Target, plan: Plan, stop: asyncio.Event, started: Callable[[], None]) -> Report:
    """Send load until the time is over or stop is set; started is called when all held connections are open."""
    _raise_file_limit()
    _bound_memory()
    check(plan, target)
    with contextlib.ExitStack() as stack:
        samples = stack.enter_context(open(plan.samples, "w", encoding="ascii")) if plan.samples else None
        return await _run(target, plan, Recorder(plan.lag_limit, samples), stop, started)


async def _run(
    target: Target, plan: Plan, recorder: Recorder, stop: asyncio.Event, started: Callable[[], None]
) -> Report:
    async with sessions(target, plan.ca, recorder) as pair:
        for prefix in plan.prefixes:
            await _preflight(pair.fresh, prefix)
            if plan.http2:
                await _preflight_http2(pair.http2, prefix)
        held = _streams(plan, pair, recorder)
        tasks = [asyncio.create_task(stream.run()) for stream in held]
        try:
            opened = asyncio.gather(*(stream.opened.wait() for stream in held))
            async with asyncio.timeout(plan.timeout):
                await opened
            gc.freeze()
            started()
            sender = Sender(pair, recorder, plan.timeout, uuid.uuid4().hex[:8], random.Random(2).randbytes(NOISE_BYTES))
            await _schedule(plan, sender, stop)
            _check_alive(tasks)
        except asyncio.TimeoutError:
            seen = "; ".join(str(failure["detail"]) for failure in recorder.first_failures[:3])
            raise UsageError(
                f"--url {target.origin}: /stream or /ws of the sample service do not answer: {seen}"
            ) from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return recorder.report(target.origin, target.address, plan.rate)


async def _preflight(session: aiohttp.ClientSession, prefix: str) -> None:
    """Nothing but the sample service gets load."""
    path = f"{prefix}/version"
    try:
        async with session.get(path, timeout=aiohttp.ClientTimeout(total=10), allow_redirects=False) as answer:
            found = f"status {answer.status}, X-Version {answer.headers.get('X-Version')}"
            if answer.status == 200 and answer.headers.get("X-Version"):
                return
    except Exception as error:
        found = repr(error)
    raise UsageError(f"GET {path}: the target does not answer as the sample service: {found}")


async def _preflight_http2(http2: Http2, prefix: str) -> None:
    try:
        async with asyncio.timeout(10), http2.request("GET", f"{prefix}/version", {}, fresh=True):
            return
    except (Http2Error, asyncio.TimeoutError) as error:
        raise UsageError(f"--http2: the target does not speak it, set it to 0: {error!r}") from None


def _streams(plan: Plan, pair: Sessions, recorder: Recorder) -> list[Stream[Any]]:
    # Their own connections: a proper end may close the connection, and the next request must not meet that.
    found: list[Stream[Any]] = []
    own = pair.fresh
    for prefix in plan.prefixes:
        found.append(EventStream("sse", f"{prefix}/stream", own, recorder, plan.timeout / 2, asyncio.Event()))
        if plan.http2:
            found.append(
                Http2EventStream("sse2", f"{prefix}/stream", pair.http2, recorder, plan.timeout / 2, asyncio.Event())
            )
        for _number in range(plan.websockets):
            found.append(WebSocket("ws", f"{prefix}/ws", own, recorder, plan.timeout / 2, asyncio.Event()))
    return found


async def _schedule(plan: Plan, sender: Sender, stop: asyncio.Event) -> None:
    """The open loop: each request leaves at its time, whatever became of the others."""
    loop = asyncio.get_running_loop()
    until = Path(plan.until_file) if plan.until_file else None
    flying: set[asyncio.Task[None]] = set()
    begin = loop.time()
    end = begin + plan.seconds
    poll = begin
    for number, shot in enumerate(shots(plan.prefixes, plan.fresh, plan.http2)):
        due = begin + number / plan.rate
        while due < end and (wait := due - loop.time()) > 0 and not stop.is_set():
            await asyncio.sleep(min(wait, POLL))
        if until is not None and loop.time() >= poll:
            poll = loop.time() + POLL
            if until.exists():
                stop.set()
        if stop.is_set():
            end = min(end, loop.time())  # what was due before still leaves, so that its lag is seen
        if due >= end:
            break
        task = loop.create_task(sender.send(shot, number, due))
        flying.add(task)
        task.add_done_callback(flying.discard)
    if flying:
        await asyncio.wait(flying)


def _check_alive(tasks: list[asyncio.Task[None]]) -> None:
    """A held connection whose task ended by itself is a fault of the generator: say so instead of reporting success."""
    for task in tasks:
        if task.done():
            task.result()
            raise RuntimeError("a held connection was given up")


def _bound_memory() -> None:
    """A TLS connection reserves twice 256 KB for what it may read at once; a thousand of them are half a gigabyte."""
    sslproto.SSLProtocol.max_size = READ_BYTES


def _raise_file_limit() -> None:
    """A service that stalls leaves rate x timeout connections open."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
