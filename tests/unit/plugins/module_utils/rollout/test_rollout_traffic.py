# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.access_log import moment
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary import ENDPOINTS, Pool
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.traffic import Traffic

TEMPLATE = Path(__file__).parents[5] / "roles/gateway/templates/etc/daffathan/gateway/nginx.conf.j2"
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
USUAL = {
    "app": "labs",
    "release": "new",
    "chosen": "weight",
    "status": 200,
    "upstream_status": "200",
    "upstream_header": "0.020",
}


def line(number: int = 1, **changes: Any) -> str:
    """One of so many milliseconds after the begin."""
    at = {"time": "2026-01-01T00:00:00+00:00", "msec": BEGIN.timestamp() + number / 1000}
    return json.dumps({**at, **USUAL, **changes}, separators=(",", ":"))


def fed(traffic: Traffic, *lines: str) -> dict[str, Pool]:
    traffic.feed(text.encode() for text in lines)
    return dict(traffic.pools())


def pools(*lines: str) -> dict[str, Pool]:
    return fed(Traffic("labs", BEGIN), *lines)


def test_the_access_log_has_what_is_read() -> None:
    """One line as the template of the gateway makes it, with the value of every variable in its place."""
    found = re.search(r"log_format json escape=json\n(.*?);\n", TEMPLATE.read_text(), re.DOTALL)
    assert found is not None
    text = "".join(re.findall(r"'(.*)'", found[1]))
    values = {**{key: str(value) for key, value in USUAL.items() if key != "app"}, "header_time": "0.020"}
    names = {"gateway_app": "labs", "gateway_release": "new", "gateway_chosen": "weight", "status": "200"}
    names |= {"upstream_status": "200", "upstream_header_time": values["header_time"]}
    names |= {"time_iso8601": "2026-01-01T00:00:00+00:00", "msec": "1767225601.250"}
    rendered = re.sub(r"\$(\w+)", lambda match: names.get(match[1], "0"), text)
    assert moment(rendered.encode()) == BEGIN.timestamp() + 1.25
    assert pools(rendered)["new"].requests == 1


def test_a_line_for_tcp_says_when_it_was_written() -> None:
    found = re.findall(r"log_format json escape=json\n *'(.*)'", TEMPLATE.read_text())
    assert len(found) == 2
    for text in found:
        assert moment(text.replace("$time_iso8601", "x").replace("$msec", "17.250").encode()) == 17.25


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
        # The same in the middle of a body, of which a container had a part already.
        {"upstream_status": "-", "upstream_header": "-", "status": 413},
        {"upstream_status": "-", "upstream_header": "-", "status": 408},
        {"upstream_status": "-, -", "upstream_header": "-, -", "status": 400},
        # The client went away.
        {"status": 499, "upstream_status": "499", "duration": "0.900"},
        {"status": 499, "upstream_status": "499"},
        {"status": 499, "upstream_status": "499", "duration": "long"},
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
        # The service's own answers.
        ({"status": 413, "upstream_status": "413"}, False),
        ({"status": 408, "upstream_status": "408"}, False),
        ({"status": 500, "upstream_status": "-", "upstream_header": "-"}, True),
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
        # A client that gave up waited at least so long.
        ({"status": 499, "upstream_status": "-", "upstream_header": "-", "duration": "12.000"}, 12.0),
    ],
)
def test_time_is_that_until_the_answer_began(changes: dict[str, Any], seconds: float) -> None:
    pool = pools(line(1, **changes))["new"]
    assert pool.requests == 1
    assert pool.quantile(0.5) == seconds or seconds <= pool.quantile(0.5) < seconds * 1.06


@pytest.mark.parametrize(
    "text", ["", "words", line(1)[:60], line(1)[60:], "[1]", line(1, status="x"), line(1, release=None) + line(2)]
)
def test_what_cannot_be_read_is_passed_over(text: str) -> None:
    assert pools(text) == {}
    assert pools(text, line(2))["new"].requests == 1


def test_without_a_canary_every_request_counts_but_those_of_others() -> None:
    lines = (line(1, chosen=""), line(2, chosen="caller"), line(3), line(4, app="other"))
    assert fed(Traffic("labs", BEGIN, drawn=False), *lines)["new"].requests == 3


def test_lines_behind_the_end_do_not_count() -> None:
    traffic = Traffic("labs", BEGIN, BEGIN + timedelta(seconds=2))
    assert fed(traffic, line(1999), line(2000), line(2001))["new"].requests == 2


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/api/notes", "/api/notes"),
        ("/api/v1/notes/17", "/api/v1/notes/17"),
        ("/api/notes?token=hunter2", "/api/notes"),
        ("/orders/2026-0017/pay", "/orders/*/pay"),
        ("/reset/abcdefghijklmnopqrstuvwxyz", "/reset/*"),
        ("/" + "a/" * 60, "/" + "a/" * 39 + "a..."),
    ],
)
def test_requests_are_told_apart_without_what_only_one_of_them_has(uri: str, shown: str) -> None:
    (endpoint,) = pools(line(1, uri=uri, method="GET", upstream="10.9.0.130:3001"))["new"].endpoints
    assert (endpoint.address, endpoint.request) == ("10.9.0.130", f"GET {shown}")


def test_endpoints_count_errors_and_time_and_there_are_not_too_many_of_them() -> None:
    upstream = {"upstream": "10.9.0.129:3001, 10.9.0.130:3001", "method": "GET"}
    found = pools(
        *(
            line(number, uri=f"/{chr(97 + number % 26)}{chr(97 + number // 26)}", **upstream)
            for number in range(1, 400)
        ),
        line(500, uri="/ab", status=503, upstream_status="503", **upstream),
        line(501, uri="/ab", status=500, upstream_status="500", **upstream),
    )["new"].endpoints
    assert ENDPOINTS <= len(found) <= ENDPOINTS + 1
    assert sum(one.requests for one in found) == 401
    assert [(one.errors, one.status) for one in found if one.errors] == [(2, 500)]
    assert found[0].seconds == pytest.approx(0.02)
