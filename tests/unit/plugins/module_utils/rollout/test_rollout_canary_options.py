# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Analysis
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import (
    Canary,
    Step,
    parse_canary,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    InputError,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import (
    parse_app,
)

SERVICES: dict[str, Any] = {"api": {"port": 3001, "routes": ["/"], "strategy": "canary"}}
STEPS: list[dict[str, Any]] = [{"weight": 10, "pause": 60}, {"weight": 50, "pause": "manual"}]


def parse(canary: object, services: dict[str, Any] | None = None, **options: Any) -> Canary | None:
    app = {"app": "labs", "services": services or SERVICES, "domains": ["a.test"], **options}
    return parse_canary(canary, parse_app(app))


def test_what_is_not_said_has_a_default() -> None:
    assert parse({"steps": STEPS}) == Canary((Step(10, 60), Step(50, None)), "cookie", "X-Canary", None)


def test_everything_that_is_said_is_taken() -> None:
    limits = {"max_error_rate": 2, "max_p95_ratio": 1.5, "max_p99_ratio": "2", "max_p95_ms": 200, "max_p99_ms": 500}
    waits = {"interval": 1, "max_wait": 20, "on_inconclusive": "pause"}
    analysis = {"min_requests": 200, "error_margin": 1, **limits, **waits}
    canary = parse({"steps": STEPS, "sticky": "client", "header": "", "analysis": analysis})
    wanted = Analysis(200, 0.01, 0.02, 1.5, 2.0, 0.2, 0.5)
    assert canary == Canary((Step(10, 60), Step(50, None)), "client", None, wanted, 1, 20, "pause")


def test_an_app_without_a_canary_has_none() -> None:
    assert parse({}, {"api": {"port": 3001, "routes": ["/"]}}) is None


@pytest.mark.parametrize("analysis", [{}, {"analysis": {"min_requests": 1}}], ids=["timed", "analysed"])
def test_it_comes_back_from_the_state_as_it_was(analysis: dict[str, Any]) -> None:
    canary = parse({"steps": STEPS, **analysis})
    assert canary is not None
    assert Canary.from_json(json.loads(json.dumps(canary.to_json()))) == canary


def test_what_must_not_run_twice_waits_for_the_promotion_beside_a_canary() -> None:
    assert parse({"steps": STEPS}, {**SERVICES, "billing": {"strategy": "stop_first"}}) is not None


def steps(*values: object) -> dict[str, object]:
    return {"steps": list(values)}


def analysis(**values: object) -> dict[str, object]:
    return {"steps": STEPS, "analysis": {"min_requests": 10, **values}}


TWO = {"weight": 50, "pause": 1}
# What is wrong, and what the message has to name: the option, the value, the remedy.
BAD: list[tuple[object, list[str]]] = [
    ("ten", ["canary: 'ten' is not a mapping", "min_requests"]),
    ({"steps": STEPS, "wieght": 1}, ["canary.wieght", "steps, sticky, header, analysis"]),
    ({"sticky": "cookie"}, ["canary.steps: None", "weight: 10"]),
    (steps(), ["canary.steps: []", "weight: 10"]),
    (steps(10), ["canary.steps[0]: 10 is not a mapping"]),
    (steps({"weight": 10}), ["canary.steps[0].pause: missing", "pause: 60"]),
    (steps({"pause": 10}), ["canary.steps[0].weight: missing"]),
    (steps({"weight": 10, "pause": 1, "until": 2}), ["canary.steps[0].until", "weight, pause"]),
    (steps(TWO, {"weight": 50, "pause": 1}), ["canary.steps[1].weight: 50", "grow"]),
    (steps(TWO, {"weight": 10, "pause": 1}), ["canary.steps[1].weight: 10", "50", "grow"]),
    (steps({"weight": 0, "pause": 1}), ["canary.steps[0].weight: 0", "1 to 99"]),
    (steps({"weight": 100, "pause": 1}), ["canary.steps[0].weight: 100", "1 to 99", "follows the last step"]),
    (steps({"weight": 101, "pause": 1}), ["canary.steps[0].weight: 101", "1 to 99"]),
    (steps({"weight": 9.5, "pause": 1}), ["canary.steps[0].weight: 9.5", "whole"]),
    (steps({"weight": True, "pause": 1}), ["canary.steps[0].weight: True"]),
    (steps({"weight": 10, "pause": "for ever"}), ["canary.steps[0].pause: 'for ever'", "manual", "promote.yml"]),
    (steps({"weight": 10, "pause": 0}), ["canary.steps[0].pause: 0"]),
    ({"steps": STEPS, "sticky": "session"}, ["canary.sticky: 'session'", "cookie, client, none"]),
    ({"steps": STEPS, "header": "X Canary"}, ["canary.header: 'X Canary'", "X-Canary"]),
    ({"steps": STEPS, "analysis": {}}, ["canary.analysis.min_requests: missing", "200"]),
    ({"steps": STEPS, "analysis": {"max_wait": 3}}, ["canary.analysis.min_requests: missing"]),
    ({"steps": STEPS, "analysis": 3}, ["canary.analysis: 3 is not a mapping"]),
    (analysis(min_requests=0), ["canary.analysis.min_requests: 0"]),
    (analysis(p95=3), ["canary.analysis.p95", "max_p95_ms"]),
    (analysis(error_margin=-1), ["canary.analysis.error_margin: -1", "0 to 100"]),
    (analysis(max_p95_ratio=0.5), ["canary.analysis.max_p95_ratio: 0.5", "1 to 100"]),
    (analysis(on_inconclusive="promote"), ["canary.analysis.on_inconclusive: 'promote'", "never promote"]),
]


@pytest.mark.parametrize(("options", "words"), BAD, ids=[words[0][:50] for _, words in BAD])
def test_what_is_wrong_is_told_with_option_value_and_remedy(options: object, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        parse(options)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("canary", "services", "options", "words"),
    [
        (
            {"steps": STEPS},
            {"mail": {"strategy": "canary"}},
            {"domains": []},
            ["services.mail.strategy", "worker", "promoted"],
        ),
        (
            {"steps": STEPS},
            {"a": {"port": 1, "strategy": "canary"}},
            {"domains": []},
            ["services.a.strategy", "routes"],
        ),
        (
            {"steps": STEPS},
            {**SERVICES, "web": {"port": 1, "strategy": "rolling"}},
            {},
            ["services.web.strategy: 'rolling'", "blue_green"],
        ),
        ({}, SERVICES, {}, ["canary: missing", "services.api.strategy", "steps:"]),
        ({"steps": STEPS}, {"api": {"port": 1, "routes": ["/"]}}, {}, ["canary:", "strategy: canary", "remove it"]),
        ({"steps": STEPS}, SERVICES, {"domains": []}, ["canary:", "domains"]),
    ],
    ids=["worker", "no routes", "rolling", "no canary", "no service", "no domain"],
)
def test_a_canary_that_no_user_could_meet_is_refused(
    canary: object, services: dict[str, Any], options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        parse(canary, services, **options)
    for word in words:
        assert word in str(error.value)
