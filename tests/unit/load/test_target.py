# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load goes only to loopback and the lab; the mix of requests is what it says."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from tests.load.mix import WEIGHTS, shots
from tests.load.report import percentiles
from tests.load.run import Plan, check
from tests.load.target import UsageError, parse, parse_prefix


@pytest.mark.parametrize(
    ("url", "address", "found"),
    [
        ("http://127.0.0.1:3000", None, "127.0.0.1"),
        ("http://127.9.9.9/", None, "127.9.9.9"),
        ("http://[::1]:3000", None, "::1"),
        ("https://labs.example.test", "10.231.0.10", "10.231.0.10"),
        ("https://labs.example.test:8443", "fd00:231::10", "fd00:231::10"),
    ],
)
def test_lab_and_loopback_are_targets(url: str, address: str | None, found: str) -> None:
    target = parse(url, address, {})
    assert target.address == found
    assert target.origin == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "address", "words"),
    [
        ("http://192.0.2.1", None, "192.0.2.1: load goes only to loopback"),
        ("https://labs.example.test", "192.0.2.1", "192.0.2.1: load goes only"),
        ("https://labs.example.test", "10.232.0.10", "10.232.0.10: load goes only"),
        ("https://labs.example.test", "2001:db8::1", "2001:db8::1: load goes only"),
        ("https://labs.example.test", "0.0.0.0", "0.0.0.0: load goes only"),
        ("https://labs.example.test", "::ffff:192.0.2.1", "load goes only"),
        ("https://labs.example.test", None, "names are not looked up"),
        ("http://localhost:3000", None, "names are not looked up"),
        ("https://labs.example.test", "labs", "--address labs: not an IP address"),
        ("http://127.0.0.1", "10.231.0.10", "already is an address"),
        ("ftp://127.0.0.1", None, "must be like"),
        ("127.0.0.1:3000", None, "must be like"),
        ("http://user@127.0.0.1", None, "must be like"),
        ("http://127.0.0.1:x", None, "--url http://127.0.0.1:x"),
        ("http://127.0.0.1/api", None, "--prefix"),
    ],
)
def test_other_targets_are_refused(url: str, address: str | None, words: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(url, address, {})
    assert words in str(error.value)


def test_a_second_lab_is_named_by_the_environment() -> None:
    environ = {"DAFFATHAN_LAB_NETWORK": "10.232.0.0/24"}
    assert parse("https://labs.example.test", "10.232.0.10", environ).address == "10.232.0.10"
    assert parse("https://labs.example.test", "fd00:232:0::10", environ).address == "fd00:232::10"


@pytest.mark.parametrize("network", ["192.0.2.0/24", "10.0.0.0/8", "0.0.0.0/0", "lab"])
def test_a_second_lab_stays_private_and_small(network: str) -> None:
    with pytest.raises(UsageError, match="DAFFATHAN_LAB_NETWORK"):
        parse("http://127.0.0.1", None, {"DAFFATHAN_LAB_NETWORK": network})


@pytest.mark.parametrize(("text", "found"), [("/", ""), ("/api/", "/api"), ("/a/b", "/a/b")])
def test_prefixes(text: str, found: str) -> None:
    assert parse_prefix(text) == found


@pytest.mark.parametrize("text", ["api", "/a b", "/api?x", "/a//b"])
def test_prefixes_that_are_no_paths(text: str) -> None:
    with pytest.raises(UsageError, match="--prefix"):
        parse_prefix(text)


@pytest.mark.parametrize(
    "plan",
    [
        Plan(rate=0),
        Plan(rate=1e6),
        Plan(rate=float("nan")),
        Plan(seconds=0),
        Plan(seconds=1e9),
        Plan(fresh=1.1),
        Plan(timeout=1),
        Plan(ca="/nonexistent"),
        Plan(until_file="/"),
    ],
)
def test_bounds(plan: Plan) -> None:
    with pytest.raises(UsageError, match="^--"):
        check(plan, parse("https://labs.example.test", "127.0.0.1", {}))


def test_each_block_of_the_mix_has_every_kind_at_its_weight() -> None:
    found = list(islice(shots(("", "/api"), 0.5), 200))
    for start in range(0, 200, 20):
        assert Counter(shot.kind for shot in found[start : start + 20]) == WEIGHTS
    assert sum(shot.path.startswith("/api/") for shot in found) == 100
    assert 60 < sum(shot.fresh for shot in found) < 140
    assert found == list(islice(shots(("", "/api"), 0.5), 200))


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentiles([n / 1000 for n in range(1, 101)]) == {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    assert percentiles([]) == {}
