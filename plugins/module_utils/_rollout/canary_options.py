# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The steps of a canary and what it must hold to, as the options say it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Analysis
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, InputError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parsing import mapping

# What the answers of a release are held to, here and in `bake`.
LIMITS = (
    *("min_requests", "error_margin", "max_error_rate"),
    *("max_p95_ratio", "max_p99_ratio", "max_p95_ms", "max_p99_ms"),
)
MANUAL = "manual"
STICKY = ("cookie", "client", "none")
HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
EXAMPLE = "{steps: [{weight: 10, pause: 60}, {weight: 50, pause: manual}], analysis: {min_requests: 200}}"


@dataclass(frozen=True)
class Step:
    """So many percent of the users meet the canary, for `pause` seconds; None is until somebody promotes it."""

    weight: int
    pause: int | None

    def __str__(self) -> str:
        return f"{self.weight} % " + ("until it is promoted" if self.pause is None else f"for {self.pause} s")


@dataclass(frozen=True)
class Canary:
    """How a release is tried on a part of the users before it serves all."""

    steps: tuple[Step, ...]
    sticky: str = "cookie"
    header: str | None = "X-Canary"
    analysis: Analysis | None = None
    interval: int = 5
    max_wait: int = 300
    on_inconclusive: str = "abort"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Canary:
        steps = tuple(Step(**step) for step in data["steps"])
        analysis = Analysis(**data["analysis"]) if data["analysis"] is not None else None
        return cls(**dict(data, steps=steps, analysis=analysis))


def parse_canary(options: object, app: App) -> Canary | None:
    """What `canary` asks for; None where the app has no canary."""
    tried = [service for service in app.services if service.strategy == "canary"]
    for service in tried:
        where = f"services.{service.name}.strategy: 'canary'"
        if service.port is None:
            raise InputError(
                f"{where} for a service without `port`, which is a worker: there are no requests to share out. Remove "
                "`strategy`; a worker starts once the canary is promoted."
            )
        if not service.routes:
            raise InputError(
                f"{where} for a service without `routes`, which no user meets. Remove `strategy`: containers of the "
                "canary reach the new version of every service by themselves."
            )
    if not options:
        if tried:
            raise InputError(f"canary: missing, but services.{tried[0].name}.strategy is 'canary'. Write {EXAMPLE}.")
        return None
    if not tried:
        raise InputError("canary: no service has `strategy: canary`. Give it to those that users meet, or remove it.")
    if not app.domains:
        raise InputError("canary: the app has no `domains`, so there are no users to share out. Remove it.")
    rolling = next((service.name for service in app.services if service.strategy == "rolling"), None)
    if rolling is not None:
        raise InputError(
            f"services.{rolling}.strategy: 'rolling' beside a canary, whose users would meet the live release again "
            "while containers are replaced. Use blue_green."
        )
    given = mapping("canary", options, ("steps", "sticky", "header", "analysis"), EXAMPLE)
    header = given.get("header", "X-Canary")
    if header is not None and header != "" and not (isinstance(header, str) and HEADER.fullmatch(header)):
        raise InputError(f"canary.header: {header!r} is not the name of a header like X-Canary. '' is none.")
    sticky = given.get("sticky", "cookie")
    if sticky not in STICKY:
        raise InputError(f"canary.sticky: {sticky!r} is not one of {', '.join(STICKY)}.")
    steps = _steps(given.get("steps"))
    if "analysis" not in given:
        return Canary(steps, sticky, header or None)
    return _with_analysis(Canary(steps, sticky, header or None), given["analysis"])


def _steps(value: object) -> tuple[Step, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise InputError(f"canary.steps: {value!r} is not a list of steps. Write for example {EXAMPLE}.")
    steps: list[Step] = []
    for number, each in enumerate(value):
        where = f"canary.steps[{number}]"
        step = mapping(where, each, ("weight", "pause"), EXAMPLE)
        for key in ("weight", "pause"):
            if key not in step:
                raise InputError(f"{where}.{key}: missing. Write for example {{weight: 10, pause: 60}}.")
        weight = int(
            decimal(f"{where}.weight", step["weight"], 1, 99, whole=True, remedy=" 100 follows the last step.")
        )
        if steps and weight <= steps[-1].weight:
            raise InputError(
                f"{where}.weight: {weight} is not more than the {steps[-1].weight} before it. Weights have to grow, so "
                "that nobody who met the canary is sent back."
            )
        pause = step["pause"]
        remedy = " Write `manual` to wait for playbooks/promote.yml."
        seconds = None if pause == MANUAL else decimal(f"{where}.pause", pause, 1, 86400, whole=True, remedy=remedy)
        steps.append(Step(weight, None if seconds is None else int(seconds)))
    return tuple(steps)


def _with_analysis(canary: Canary, options: object) -> Canary:
    where = "canary.analysis"
    given = mapping(where, options, (*LIMITS, "interval", "max_wait", "on_inconclusive"), EXAMPLE)
    if "min_requests" not in given:
        raise InputError(
            f"{where}.min_requests: missing. Give how many requests each side has to answer before a step can pass: "
            "200 show 5 % of errors, 2000 show 2 %."
        )
    last = given.get("on_inconclusive", canary.on_inconclusive)
    if last not in ("abort", "pause"):
        raise InputError(f"{where}.on_inconclusive: {last!r} is not abort or pause. Too few requests never promote.")
    return replace(
        canary,
        analysis=parse_limits(where, given, Analysis(min_requests=1)),
        interval=int(decimal(f"{where}.interval", given.get("interval", canary.interval), 1, 3600, whole=True)),
        max_wait=int(decimal(f"{where}.max_wait", given.get("max_wait", canary.max_wait), 0, 86400, whole=True)),
        on_inconclusive=last,
    )


def parse_limits(where: str, given: Mapping[str, Any], default: Analysis) -> Analysis:
    """What a release must hold to; `default` says it where `given` does not."""

    def limit(key: str, low: float, high: float, part: float = 1) -> float | None:
        return decimal(f"{where}.{key}", given[key], low, high) * part if key in given else None

    asked = {
        "error_margin": limit("error_margin", 0, 100, 0.01),
        "max_error_rate": limit("max_error_rate", 0, 100, 0.01),
        "max_p95_ratio": limit("max_p95_ratio", 1, 100),
        "max_p99_ratio": limit("max_p99_ratio", 1, 100),
        "max_p95": limit("max_p95_ms", 1, 120_000, 0.001),
        "max_p99": limit("max_p99_ms", 1, 120_000, 0.001),
    }
    least = given.get("min_requests", default.min_requests)
    return replace(
        default,
        min_requests=int(decimal(f"{where}.min_requests", least, 1, 1_000_000, whole=True)),
        **{key: value for key, value in asked.items() if value is not None},
    )


def decimal(where: str, value: object, low: float, high: float, *, whole: bool = False, remedy: str = "") -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high or (whole and number != int(number)):
        raise InputError(f"{where}: {value!r} is not a {'whole ' * whole}number from {low:g} to {high:g}.{remedy}")
    return number
