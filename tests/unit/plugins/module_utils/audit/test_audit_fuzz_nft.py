# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever nft prints: nothing crashes, and no rule of it gets lost."""

from __future__ import annotations

import contextlib
import ipaddress
import json
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import nftables
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.audit.samples import PACKETS, asked, inner, rules_of

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 70000), st.text(max_size=6), st.floats(allow_nan=False)),
    lambda inside: st.one_of(st.lists(inside, max_size=3), st.dictionaries(st.text(max_size=6), inside, max_size=3)),
    max_leaves=8,
)
port = st.integers(1, 65535)
address4 = st.integers(0, 2**32 - 1).map(lambda number: str(ipaddress.IPv4Address(number)))
ports = st.one_of(
    port,
    st.tuples(port, port).map(lambda pair: {"range": sorted(pair)}),
    st.lists(port, min_size=1, max_size=3).map(lambda found: {"set": found}),
    st.lists(port, min_size=1, max_size=2).map(
        lambda found: {"set": [{"elem": {"val": n, "comment": "x"}} for n in found]}
    ),
    st.sampled_from(["@ports", "@gone", "@moving", "@nets"]),
)
networks = st.one_of(
    address4,
    st.tuples(address4, st.integers(0, 32)).map(lambda pair: {"prefix": {"addr": pair[0], "len": pair[1]}}),
    st.just("@nets"),
)
DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}
keys = st.sampled_from(
    [
        DPORT,
        *({"payload": {"protocol": p, "field": f}} for p, f in (("udp", "dport"), ("th", "dport"), ("tcp", "sport"))),
        *({"payload": {"protocol": p, "field": f}} for p, f in (("ip", "daddr"), ("ip", "saddr"), ("ip6", "daddr"))),
        *(
            {"payload": {"protocol": p, "field": f}}
            for p, f in (("ip", "protocol"), ("ether", "saddr"), ("icmp", "type"))
        ),
        *(
            {"meta": {"key": k}}
            for k in ("l4proto", "protocol", "iifname", "mark", "nfproto", "pkttype", "skuid", "hour")
        ),
        *({"ct": {"key": k}} for k in ("state", "mark", "status", "direction", "proto-dst", "zone", "count")),
        *(
            {"fib": {"result": r, "flags": f}}
            for r, f in (("type", "daddr"), ("oif", ["saddr", "iif"]), ("type", ["daddr", "iif"]))
        ),
        {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["fin", "syn"]]},
        {"concat": [{"payload": {"protocol": "ip", "field": "daddr"}}, DPORT]},
        *(
            {"osf": {"key": "name"}},
            {"socket": {"key": "mark"}},
            {"numgen": {"mode": "random", "mod": 2}},
            {"made up": 1},
        ),
    ]
)
rights = st.one_of(
    ports, networks, json_values, st.sampled_from(["tcp", "new", ["established", "related"], "local", "*"])
)
verdicts = st.sampled_from(
    [
        {"accept": None},
        {"drop": None},
        {"return": None},
        {"jump": {"target": "c"}},
        {"goto": {"target": "c"}},
        {"continue": None},
    ]
)
statements = st.one_of(
    st.builds(
        lambda op, left, right: {"match": {"op": op, "left": left, "right": right}},
        st.sampled_from(["==", "!=", "in", "<", ">=", "like"]),
        keys,
        rights,
    ),
    verdicts,
    st.builds(
        lambda key, pairs: {"vmap": {"key": key, "data": {"set": pairs}}},
        keys,
        st.lists(st.tuples(rights, verdicts).map(list), max_size=3),
    ),
    st.just({"vmap": {"key": DPORT, "data": "@verdicts"}}),
    st.sampled_from(
        [{"dnat": {"addr": "10.0.0.2", "port": 80}}, {"redirect": {"port": 22}}, {"redirect": None}, {"dnat": None}]
    ),
    st.builds(lambda value: {"dnat": {"addr": value}}, json_values),
    st.sampled_from(
        [{"counter": None}, {"log": None}, {"notrack": None}, {"limit": {"rate": 1}}, {"quota": {"val": 1}}]
    ),
    st.sampled_from([{"queue": {"num": 1}}, {"tproxy": {"port": 1}}, {"fwd": {}}, {"xt": None}, {"synproxy": None}]),
    st.sampled_from(
        [{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}}, {"mangle": {"key": DPORT, "value": 1}}]
    ),
    st.dictionaries(st.text(max_size=6), json_values, min_size=1, max_size=1),
)
expressions = st.lists(statements, min_size=1, max_size=4)
PLACES = st.sampled_from(
    [
        ("inet", "input", "filter"),
        ("inet", "prerouting", "nat"),
        ("ip", "forward", "filter"),
        ("netdev", "ingress", "filter"),
    ]
    + [("bridge", "input", "filter"), ("arp", "input", "filter"), ("ip6", "output", "filter")]
)


def rule_set(place: tuple[str, str, str], *rules: list[Any], policy: str = "drop") -> str:
    family, hook, kind = place
    where = {"family": family, "table": "t"}
    known = [[22, {"accept": None}], [80, {"drop": None}]]
    told = [{"rule": {**where, "chain": "base", "handle": n, "expr": list(expr)}} for n, expr in enumerate(rules)]
    base = {**where, "name": "base", "type": kind, "hook": hook, "prio": 0, "policy": policy, "dev": "eth0"}
    return json.dumps(
        {
            "nftables": [
                {"metainfo": {"json_schema_version": 1}},
                {"table": {"family": family, "name": "t"}},
                {"set": {**where, "name": "ports", "elem": [22, {"range": [80, 90]}]}},
                {"set": {**where, "name": "nets", "elem": [{"prefix": {"addr": "10.0.0.0", "len": 8}}]}},
                {"set": {**where, "name": "moving", "flags": ["dynamic", "timeout"], "elem": [22]}},
                {
                    "map": {
                        **where,
                        "name": "verdicts",
                        "map": "verdict",
                        "elem": known,
                    }
                },
                {"chain": base if hook else {**where, "name": "base"}},
                {"chain": {**where, "name": "c"}},
                *told,
            ]
        }
    )


@given(
    st.one_of(
        st.text(max_size=100), json_values.map(json.dumps), json_values.map(lambda v: json.dumps({"nftables": [v]}))
    )
)
def test_any_answer_of_nft_is_a_rule_set_or_an_error(text: str) -> None:
    with contextlib.suppress(nftables.RuleSetError):
        nftables.parse(text, inner)


SILENT = frozenset(("counter", "log", "continue", "match", "limit", "quota", "vmap"))


@given(PLACES, st.lists(expressions, max_size=3))
def test_a_rule_of_nft_is_in_the_model_or_an_error(place: tuple[str, str, str], rules: list[list[Any]]) -> None:
    try:
        tables = nftables.parse(rule_set(place, *rules), inner)
    except nftables.RuleSetError:
        return
    told = {rule.text for rule in rules_of(tables)}
    for number, expression in enumerate(rules):
        if any(not set(statement) <= SILENT for statement in expression):
            assert f"{place[0]} t base handle {number}" in told
    asked(tables)


@pytest.mark.parametrize(
    "statement",
    [
        *(
            {"match": {"op": "==", "left": left, "right": 1}}
            for left in ({"numgen": {}}, {"socket": {}}, {"rt": {"key": "mtu"}})
        ),
        {"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": 1}},
        {"match": {"op": "==", "left": DPORT, "right": "@gone"}},
        {"match": {"op": "==", "left": DPORT, "right": "@moving"}},
        {"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr", "iif"]}}, "right": "local"}},
        {"match": {"op": "like", "left": DPORT, "right": 22}},
        {"match": {"op": "==", "left": {"payload": {"base": "th", "offset": 16, "len": 16}}, "right": 22}},
    ],
)
@pytest.mark.parametrize(("verdict", "policy"), [("accept", "drop"), ("drop", "accept")])
def test_a_match_of_nft_that_is_not_evaluated_decides_nothing(statement: Any, verdict: str, policy: str) -> None:
    text = rule_set(("inet", "input", "filter"), [statement, {verdict: None}], policy=policy)
    for packet, ends in zip(PACKETS, asked(nftables.parse(text, inner))):
        if packet.proto == "tcp":
            assert ends and (policy == "accept" or all(end.passage.opaque for end in ends))


@pytest.mark.parametrize(
    "statement", [{"queue": {"num": 1}}, {"tproxy": {"port": 1}}, {"made up": None}, {"xt": {"name": "x"}}]
)
def test_a_statement_of_nft_that_is_not_known_decides_nothing(statement: Any) -> None:
    found = asked(nftables.parse(rule_set(("inet", "input", "filter"), [statement]), inner))
    assert all(ends and all(end.passage.opaque for end in ends) for ends in found)
