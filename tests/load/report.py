# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was sent and what came of it: the recorder and the report it ends in."""

from __future__ import annotations

import dataclasses
import json
import math
import resource
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

OK = "ok"
STATUS = "status"
CONNECT = "connect_error"
RESET = "reset"
TIMEOUT = "timeout"
TRUNCATED = "truncated"
WRONG_BODY = "wrong_body"
PROTOCOL = "protocol"  # an answer that is not HTTP
# A server may say which requests it has not begun (GOAWAY, REFUSED_STREAM): a client sends those again. This one
# does not, and counts them apart from the failures.
REFUSED = "refused"
HTTP1, HTTP2 = "HTTP/1.1", "HTTP/2"
KEPT_FAILURES = 50


@dataclass(frozen=True)
class Outcome:
    """How one request or one held connection went; detail says what was seen."""

    kind: str
    detail: str = ""
    status: int | None = None


@dataclass
class StreamCount:
    """A kind of held connection: how often it was opened, what came over it, how it ended."""

    connections: int = 0
    messages: int = 0
    ended: int = 0
    slowest_reconnect_ms: float = 0.0
    failed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Report:
    """The result of a run, as it is written to the JSON file.

    failed counts requests and held connections; failed_requests has the requests by kind of failure, streams the held
    connections. A request that was sent is among ok, failed_requests or refused. requests counts them by kind and by
    protocol, ends has the times at which held connections came to a proper end.
    """

    url: str
    address: str
    rate: float
    started: float
    seconds: float
    sent: int
    ok: int
    failed: int
    refused: int
    failed_requests: dict[str, int]
    requests: dict[str, dict[str, int]]
    streams: dict[str, dict[str, Any]]
    ends: list[dict[str, Any]]
    passed: bool
    kept_schedule: bool
    late: int
    lag_ms: dict[str, float]
    latency_ms: dict[str, dict[str, float]]
    connections: dict[str, int]
    versions: dict[str, dict[str, float]]
    cpu_share: float
    memory_mb: float
    first_failures: list[dict[str, Any]]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        return cls(**json.loads(text))

    def describe(self) -> str:
        """A few lines for people and for assertion messages."""
        lines = [
            f"{self.sent} requests in {self.seconds:.1f} s ({self.rate:g}/s wanted), {self.ok} ok, "
            f"{self.refused} refused, {self.failed} failures, of requests: {_pairs(self.failed_requests)}",
            f"latency ms {_pairs(self.latency_ms.get('all', {}))}; schedule lag ms {_pairs(self.lag_ms)}, "
            f"{self.late} late; {self.cpu_share:.0%} of a core, {self.memory_mb:.0f} MB",
        ]
        for name, stream in self.streams.items():
            shown = {key: value for key, value in stream.items() if key != "failed"}
            lines.append(f"{name} {_pairs(shown)} failed {_pairs(stream['failed'])}")
        lines += [f"version {version} {_pairs(seen)}" for version, seen in self.versions.items()]
        if not self.kept_schedule:
            lines.append("the generator did not keep its schedule: the result says nothing about the service")
        lines += [f"failure {json.dumps(failure)}" for failure in self.first_failures[:10]]
        return "\n".join(lines)


def _pairs(values: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items()) or "none"


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and max (nearest rank) of seconds, in milliseconds."""
    if not values:
        return {}
    ordered = sorted(values)
    found = {f"p{p}": ordered[max(0, math.ceil(len(ordered) * p / 100) - 1)] for p in (50, 95, 99)}
    found["max"] = ordered[-1]
    return {name: round(value * 1000, 2) for name, value in found.items()}


class Recorder:
    """Collects outcomes while a run goes on; times are seconds since its start.

    Of a request two numbers stay in memory; who asks what happened when finds a line for each in the file `samples`.
    """

    def __init__(self, lag_limit: float, samples: TextIO | None = None) -> None:
        self.started = time.time()
        self.begun = time.monotonic()
        self.cpu_begun = time.process_time()
        self.lag_limit = lag_limit
        self.sent = 0
        self.ok = 0
        self.refused = 0
        self.failed: Counter[str] = Counter()
        self.requests: dict[str, Counter[str]] = {}
        self.ends: list[dict[str, Any]] = []
        self.samples = samples
        self.lags = array("d")
        self.latencies: dict[str, array[float]] = {}
        self.connections: Counter[str] = Counter()
        self.versions: dict[str, dict[str, float]] = {}
        self.streams: dict[str, StreamCount] = {}
        self.first_failures: list[dict[str, Any]] = []

    def now(self) -> float:
        return time.monotonic() - self.begun

    def left(self, lag: float) -> None:
        """A request is on its way, so long after its scheduled time."""
        self.sent += 1
        self.lags.append(max(lag, 0.0))

    def answered(self, kind: str, protocol: str, outcome: Outcome, latency: float, **about: object) -> None:
        result = outcome.kind if outcome.kind in (OK, REFUSED) else "failed"
        for name in (kind, protocol):
            self.requests.setdefault(name, Counter()).update(("sent", result))
        if self.samples is not None:
            due = self.now() - latency
            self.samples.write(f"{due:.3f},{kind},{protocol},{latency * 1000:.2f},{outcome.kind}\n")
        if outcome.kind == OK:
            self.ok += 1
            self.latencies.setdefault(kind, array("d")).append(latency)
            return
        if outcome.kind == REFUSED:
            self.refused += 1
        else:
            self.failed[outcome.kind] += 1
        self._failure(kind, outcome, protocol=protocol, latency_ms=round(latency * 1000, 1), **about)

    def stream(self, name: str) -> StreamCount:
        return self.streams.setdefault(name, StreamCount())

    def stream_ended(self, name: str) -> None:
        self.stream(name).ended += 1
        self.ends.append({"stream": name, "at": round(self.now(), 3)})

    def stream_failed(self, name: str, outcome: Outcome, **about: object) -> None:
        self.stream(name).failed[outcome.kind] += 1
        self._failure(name, outcome, **about)

    def saw(self, version: str | None, sent: float) -> None:
        """An answer of a version; sent is when its request left."""
        if version:
            now = round(self.now(), 3)
            seen = self.versions.setdefault(version, {"first": now, "last": now, "last_sent": 0.0, "answers": 0})
            seen["last"] = now
            seen["last_sent"] = max(seen["last_sent"], round(sent, 3))
            seen["answers"] += 1

    def _failure(self, name: str, outcome: Outcome, **about: object) -> None:
        if len(self.first_failures) < KEPT_FAILURES:
            failure = {"at": round(self.now(), 3), "request": name, **dataclasses.asdict(outcome), **about}
            self.first_failures.append(failure)

    def report(self, url: str, address: str, rate: float) -> Report:
        seconds = self.now()
        late = sum(1 for lag in self.lags if lag > self.lag_limit)
        # One request in a hundred may be late; none may be so late that it met another state of the service.
        kept = late <= len(self.lags) / 100 and max(self.lags, default=0.0) <= 10 * self.lag_limit
        failed = sum(self.failed.values()) + sum(sum(s.failed.values()) for s in self.streams.values())
        every = array("d", [value for values in self.latencies.values() for value in values])
        latency = {"all": percentiles(every), **{kind: percentiles(v) for kind, v in sorted(self.latencies.items())}}
        return Report(
            url=url,
            address=address,
            rate=rate,
            started=self.started,
            seconds=round(seconds, 3),
            sent=self.sent,
            ok=self.ok,
            failed=failed,
            refused=self.refused,
            failed_requests=dict(self.failed),
            requests={name: dict(count) for name, count in self.requests.items()},
            streams={
                name: {**dataclasses.asdict(count), "failed": dict(count.failed)}
                for name, count in self.streams.items()
            },
            ends=self.ends,
            passed=failed == 0 and kept and self.sent > 0,
            kept_schedule=kept,
            late=late,
            lag_ms=percentiles(self.lags),
            latency_ms=latency,
            connections=dict(self.connections),
            versions=self.versions,
            cpu_share=round((time.process_time() - self.cpu_begun) / max(seconds, 0.001), 3),
            memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            first_failures=self.first_failures,
        )
