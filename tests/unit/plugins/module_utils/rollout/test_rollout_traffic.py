# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import Pool
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.traffic import Traffic

TEMPLATE = Path(__file__).parents[5] / "roles/gateway/templates/etc/daffathan/gateway/nginx.conf.j2"
BEGIN = "2026-01-01T00:00:00.000000000Z"
USUAL = {
    "app": "labs",
    "release": "new",
    "chosen": "weight",
    "status": 200,
    "upstream_status": "200",
    "upstream_header": "0.020",
}


def line(number: int = 1, **changes: Any) -> str:
    stamp = f"2026-01-01T00:00:{number // 1000:02}.{number % 1000:03}000000Z"
    return f"{stamp} {json.dumps({**USUAL, **changes}, separators=(',', ':'))}\n"


def pools(*lines: str) -> dict[str, Pool]:
    traffic = Traffic("labs", BEGIN)
    traffic.feed("".join(lines))
    return dict(traffic.pools())


def test_the_access_log_has_what_is_read() -> None:
    """One line as the template of the gateway makes it, with the value of every variable in its place."""
    found = re.search(r"log_format json escape=json\n(.*?);\n", TEMPLATE.read_text(), re.DOTALL)
    assert found is not None
    text = "".join(re.findall(r"'(.*)'", found[1]))
    values = {**{key: str(value) for key, value in USUAL.items() if key != "app"}, "header_time": "0.020"}
    names = {"gateway_app": "labs", "gateway_release": "new", "gateway_chosen": "weight", "status": "200"}
    names |= {"upstream_status": "200", "upstream_header_time": values["header_time"]}
    rendered = re.sub(r"\$(\w+)", lambda match: names.get(match[1], "0"), text)
    assert pools(f"2026-01-01T00:00:01.000000000Z {rendered}\n")["new"].requests == 1


def test_requests_are_counted_by_release() -> None:
    found = pools(line(1), line(2, release="old"), line(3), line(4, status=500, upstream_status="500"))
    assert {name: (pool.requests, pool.errors) for name, pool in found.items()} == {"new": (3, 1), "old": (1, 0)}


@pytest.mark.parametrize(
    "changes",
    [
        {"app": "other"},
        {"chosen": "header"},
        {"chosen": "caller"},
        {"chosen": ""},
        # The gateway answered by itself.
        {"upstream_status": "", "status": 413},
        # The client went away.
        {"status": 499, "upstream_status": "499"},
    ],
)
def test_what_says_nothing_of_a_release_is_left_out(changes: dict[str, Any]) -> None:
    assert pools(line(1, **changes)) == {}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"status": 404, "upstream_status": "404"}, False),
        ({"status": 503, "upstream_status": "503"}, True),
        ({"status": 502, "upstream_status": "502"}, True),
        ({"status": 504, "upstream_status": "504"}, True),
        # Another container of the release answered; this one did not.
        ({"status": 200, "upstream_status": "502, 200", "upstream_header": "-, 0.020"}, True),
    ],
)
def test_what_counts_as_an_error(changes: dict[str, Any], error: bool) -> None:
    assert pools(line(1, **changes))["new"].errors == error


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 0.02),
        ({"upstream_header": "5.000, 0.020", "upstream_status": "504, 200"}, 5.02),
        ({"upstream_header": "-, 0.020", "upstream_status": "502, 200"}, 0.02),
        ({"status": 101, "upstream_status": "101"}, float("inf")),
        ({"upstream_header": ""}, float("inf")),
    ],
)
def test_time_is_that_until_the_answer_began(changes: dict[str, Any], seconds: float) -> None:
    pool = pools(line(1, **changes))["new"]
    assert pool.requests == 1
    assert pool.quantile(0.5) == seconds or seconds <= pool.quantile(0.5) < seconds * 1.06


def test_a_line_that_is_read_again_counts_once() -> None:
    traffic = Traffic("labs", BEGIN)
    lines = [line(number) for number in range(1, 6)]
    traffic.feed("".join(lines[:3]))
    traffic.feed("".join(lines))
    assert traffic.pools()["new"].requests == 5


def test_lines_of_the_past_do_not_count() -> None:
    traffic = Traffic("labs", "2026-01-01T00:00:02.000000000Z")
    traffic.feed(line(1999) + line(2000) + line(2001))
    assert traffic.pools()["new"].requests == 1


@pytest.mark.parametrize(
    "text", ["", "\n", "words\n", f"{line(1)[:60]}\n", f"{BEGIN[:-2]}1Z [1]\n", line(1, status="x")]
)
def test_what_cannot_be_read_is_passed_over(text: str) -> None:
    assert pools(text) == {}
    assert pools(text, line(2))["new"].requests == 1
