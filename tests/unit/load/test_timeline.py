# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A request belongs to the narrowest thing that went on when it was due, an end to the release that was told to end."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from tests.load.timeline import Span, early, latencies, phases, spans


def line(at: float, event: str, step: str) -> dict[str, Any]:
    return {
        "at": datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds"),
        "event": event,
        "step": step,
    }


JOURNAL = [
    *(line(100, "begin", "start"), line(104, "done", "start")),
    *(line(104, "begin", "canary"), line(104.5, "done", "canary"), line(105, "look", "canary")),
    *(line(110, "begin", "shift"), line(110.2, "done", "shift"), line(110.2, "begin", "fence")),
    *(line(110.5, "done", "fence"), line(110.5, "begin", "drain"), line(113.5, "done", "drain")),
    *(line(113.5, "begin", "stop"), line(115, "done", "stop")),
    *(line(200, "begin", "roll"), line(206, "done", "roll")),
]
DEPLOYS = [Span(98, 116), Span(199, 207)]


def test_a_step_is_from_its_begin_to_its_end() -> None:
    assert spans(JOURNAL, "shift", "fence") == [Span(110, 110.5)]
    assert spans(JOURNAL, "drain", "stop") == [Span(110.5, 115)]
    assert spans(JOURNAL[:7], "shift", "fence") == [], "a step that did not end"


@pytest.mark.parametrize(
    ("due", "name"),
    [
        (97.9, "steady"),
        (98.1, "deploy"),
        (104.1, "switch"),
        (105.4, "switch"),
        (105.6, "deploy"),
        (110.0, "switch"),
        (111.4, "switch"),
        (111.6, "deploy"),
        (120.9, "deploy"),
        (121.1, "steady"),
        (199.5, "deploy"),
        (203.0, "roll"),
        (206.9, "roll"),
        (207.1, "deploy"),
        (300.0, "steady"),
    ],
)
def test_a_request_counts_where_it_was_due(due: float, name: str) -> None:
    sample = f"{due - 50:.3f},get,HTTP/2,7.50,ok\n"
    found = latencies([sample], 50.0, phases(DEPLOYS, JOURNAL), "get")
    assert {key: value["requests"] for key, value in found.items() if value["requests"]} == {name: 1}
    assert found[name]["p99"] == 7.5


def test_switches_of_one_strategy_are_told_from_those_of_another() -> None:
    found = [("canary", Span(104, 105.5)), ("rolling", Span(105, 107))]
    samples = [f"{due:.1f},get,HTTP/1.1,{due - 100:.1f},ok\n" for due in (104.2, 105.2, 106.2, 108.2)]
    came = latencies(samples, 0.0, found, "get")
    assert {name: (value["requests"], value["p99"]) for name, value in came.items()} == {
        "canary": (2, 5.2),
        "rolling": (1, 6.2),
        "steady": (1, 8.2),
    }


def test_other_kinds_and_failures_do_not_count() -> None:
    samples = ["1.0,big,HTTP/1.1,5.00,ok\n", "1.0,get,HTTP/1.1,5.00,reset\n", "1.0,get,HTTP/1.1,5.00,ok\n"]
    found = latencies(samples, 0.0, [], "get")
    assert sum(value["requests"] for value in found.values()) == 1


@pytest.mark.parametrize(
    ("end", "is_early"),
    [
        (109.0, True),
        (112.0, True),
        (113.4, True),
        (113.6, False),
        (115.5, False),
        (116.5, True),
        (202, True),
        (204, False),
    ],
)
def test_a_connection_ends_when_its_release_has_had_its_grace(end: float, is_early: bool) -> None:
    assert bool(early([end], JOURNAL, 3.0)) is is_early
