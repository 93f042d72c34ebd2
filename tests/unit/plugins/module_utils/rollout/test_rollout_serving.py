# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a service is served: what is remembered of it, and what is a change."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import (
    describe,
    gateway,
    limits,
    plan,
    routing,
    streams,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.claims import claims_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import generation, releases_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, InputError, Service
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import parse_app
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving import Maintenance, Serving
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving_options import problems
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State, loads
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.rollout.apps import CANARIES, canaries
from tests.unit.plugins.module_utils.rollout.models import SERVED, options, release, service
from tests.unit.plugins.module_utils.rollout.runs import MANUAL, planned, world_after

# What is wrong: its options, and what the message has to name: the option, the value, the remedy.
BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    ("size of a word", service(max_body_size="large"), ["services.api.max_body_size", "'large'", "20m", "0"]),
    ("size of half a unit", service(max_body_size="1.5m"), ["services.api.max_body_size", "'1.5m'", "20m"]),
    ("size that is true", service(max_body_size=True), ["services.api.max_body_size", "True", "20m"]),
    ("size that ends its line", service(max_body_size="1m;"), ["services.api.max_body_size", "'1m;'", "20m"]),
    ("no time to answer", service(read_timeout=0), ["services.api.read_timeout", "0", "1 to 604800"]),
    ("too long to connect", service(connect_timeout=76), ["services.api.connect_timeout", "76", "1 to 75"]),
    ("no time for a body", service(body_timeout="1m"), ["services.api.body_timeout", "'1m'", "1 to 3600"]),
    (
        "size of what a worker gets",
        options(services={"api": {"port": 1, "routes": ["/"]}, "mailer": {"max_body_size": 0}}),
        ["services.mailer.max_body_size", "0", "worker", "remove `max_body_size`"],
    ),
    (
        "time that TCP may read",
        options(services={"api": {"port": 1883, "protocol": "tcp", "read_timeout": 5}}),
        ["services.api.read_timeout", "5", "protocol: tcp", "Remove it"],
    ),
    ("rate as a number", service(rate_limit=10), ["services.api.rate_limit", "10", "{rate: 10/s"]),
    ("no rate", service(rate_limit={"burst": 5}), ["services.api.rate_limit.rate", "None", "10/s"]),
    ("rate by the hour", service(rate_limit={"rate": "10/h"}), ["services.api.rate_limit.rate", "'10/h'", "30/m"]),
    ("rate of nothing", service(rate_limit={"rate": "0/s"}), ["services.api.rate_limit.rate", "'0/s'", "10/s"]),
    (
        "rate with a sign of nginx",
        service(rate_limit={"rate": "1/s;"}),
        ["services.api.rate_limit.rate", "'1/s;'", "10/s"],
    ),
    (
        "negative burst",
        service(rate_limit={"rate": "1/s", "burst": -1}),
        ["services.api.rate_limit.burst", "-1", "0 to 100000"],
    ),
    (
        "delay that is a word",
        service(rate_limit={"rate": "1/s", "nodelay": "yes"}),
        ["services.api.rate_limit.nodelay", "'yes'", "true or false"],
    ),
    (
        "option that a rate does not have",
        service(rate_limit={"rate": "1/s", "allow": []}),
        ["services.api.rate_limit.allow", "Known are", "exempt"],
    ),
    (
        "network that begins in its middle",
        service(rate_limit={"rate": "1/s", "exempt": ["192.0.2.1/24"]}),
        ["services.api.rate_limit.exempt: 192.0.2.1/24", "Write 192.0.2.0/24"],
    ),
    (
        "name instead of an address",
        service(connection_limit={"connections": 1, "exempt": ["office"]}),
        ["services.api.connection_limit.exempt: office", "203.0.113.7"],
    ),
    (
        "address of one machine",
        service(connection_limit={"connections": 1, "exempt": ["fe80::1%eth0"]}),
        ["services.api.connection_limit.exempt: fe80::1%eth0", "zone", "203.0.113.7"],
    ),
    (
        "addresses as text",
        service(connection_limit={"connections": 1, "exempt": "192.0.2.1"}),
        ["services.api.connection_limit.exempt", "'192.0.2.1'", "[203.0.113.0/24]"],
    ),
    (
        "no number of connections",
        service(connection_limit={}),
        ["services.api.connection_limit.connections", "None", "1 to 65535"],
    ),
    (
        "limit for nobody",
        options(services={"api": {"port": 1, "routes": ["/"]}, "db": {"port": 2, "rate_limit": {"rate": "1/s"}}}),
        ["services.db.rate_limit", "without `routes`", "Remove `rate_limit`"],
    ),
    ("maintenance as a word", service(maintenance="yes"), ["services.api.maintenance", "'yes'", "or true"]),
    ("maintenance of all as a word", options(maintenance="yes"), ["maintenance:", "'yes'", "or true"]),
    (
        "maintenance with the key of a limit",
        service(maintenance={"exempt": []}),
        ["services.api.maintenance.exempt", "Known are", "allow"],
    ),
    (
        "maintenance for ever",
        service(maintenance={"retry_after": 0}),
        ["services.api.maintenance.retry_after", "0", "1 to 604800"],
    ),
    (
        "maintenance for a name",
        options(maintenance={"allow": ["office.example.com"]}),
        ["maintenance.allow: office.example.com", "203.0.113.7"],
    ),
    ("page that is none", service(maintenance={"page": ""}), ["services.api.maintenance.page", "0 bytes", "65536"]),
    ("page that is a list", service(maintenance={"page": ["x"]}), ["services.api.maintenance.page", "['x']", "HTML"]),
    (
        "page that is too large",
        service(maintenance={"page": "\u20ac" * 30000}),
        ["services.api.maintenance.page", "90000 bytes", "65536"],
    ),
    (
        "page with a sign that ends texts",
        service(maintenance={"page": "a\0b"}),
        ["services.api.maintenance.page", "'\\x00'", "Remove it"],
    ),
    (
        "page that is half a sign",
        service(maintenance={"page": "\ud83d"}),
        ["services.api.maintenance.page", "'\\ud83d'", "Remove it"],
    ),
    (
        "maintenance of what nobody reaches",
        options(services={"api": {"port": 1}}, domains=[], maintenance=True),
        ["maintenance:", "no `domains`", "Remove it"],
    ),
    (
        "limit of an app that is not on the Internet",
        options(services={"api": {"port": 1, "routes": ["/"], "rate_limit": {"rate": "1/s"}}}, domains=[]),
        ["services.api.rate_limit", "without `domains`", "Remove `rate_limit`"],
    ),
    (
        "maintenance of an app that is not on the Internet",
        options(services={"api": {"port": 1, "routes": ["/"], "maintenance": True}}, domains=[]),
        ["services.api.maintenance", "without `domains`", "Remove `maintenance`"],
    ),
    (
        "size of what a job gets",
        options(services={"api": {"port": 1, "routes": ["/"]}, "seed": {"job": "before_start", "max_body_size": 5}}),
        ["services.seed.max_body_size: 5", "a job", "Remove it"],
    ),
]


@pytest.mark.parametrize(("given", "named"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_input_is_refused_by_option_value_and_remedy(given: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(InputError) as error:
        parse_app(given)
    for word in named:
        assert word in str(error.value)


def app(**changes: Any) -> App:
    services = {"api": {"port": 3001, "routes": ["/api/"], **changes}, "web": {"port": 3000, "routes": ["/"]}}
    return parse_app({"app": "labs", "domains": ["a.test"], "services": services})


@pytest.mark.parametrize("options", [SERVED, *({key: value} for key, value in SERVED.items())], ids=["all", *SERVED])
def test_it_is_the_same_after_it_was_remembered(options: dict[str, Any]) -> None:
    asked = app(**options)
    again = loads("labs", State("labs", route=routing.route_of(asked)).dumps()).route
    # What differs is a change, which each run would make again.
    assert again == routing.route_of(asked)
    assert again is not None
    assert routing.app_of("labs", again, release()).services == asked.services
    assert again != routing.route_of(app())


def test_what_is_not_asked_for_is_not_remembered() -> None:
    """A state that was written before there were such options is still that of the same route."""
    assert "serving" not in json.loads(State("labs", route=routing.route_of(app())).dumps())["route"]["services"]["api"]


NAMES = st.tuples(
    st.from_regex(r"[a-z](?:-?[a-z0-9]){0,6}", fullmatch=True), st.from_regex(r"[a-cA-C0-9._-]{1,6}", fullmatch=True)
)


@example([("a", name) for name in ("b-c", "b_c", "b.c", "B-C", "b_2dc")] + [("a-b", "5f"), ("a", "b_"), ("a-b", "_5f")])
@given(st.lists(NAMES, min_size=2, max_size=20, unique=True))
def test_no_two_services_count_in_the_same_place(names: list[tuple[str, str]]) -> None:
    both = [(App(name, (), ()), Service(service, 1)) for name, service in names]
    variables = [limits.variable("rated", *each) for each in both]
    # nginx knows them in lower case.
    assert len({name.lower() for name in variables}) == len(names)
    assert all(re.fullmatch(r"\$[a-z0-9_]+", name) for name in variables)


def test_all_mistakes_are_told_before_a_host_is_asked() -> None:
    served = {"port": 1, "routes": ["/"], **SERVED}
    good = {"name": "good", "domains": ["a.test"], "maintenance": True, "services": {"api": served, "mailer": {}}}
    bad = {
        "name": "bad",
        "domains": ["b.test"],
        "maintenance": "yes",
        "services": {
            "api": {"port": 1, "routes": ["/"], "max_body_size": "1.5m", "read_timeout": 0},
            "inner": {"port": 2, "rate_limit": {"rate": "1/s"}},
            "ui": {"port": 3, "routes": ["/ui"], "max_body_size": None},
            "mailer": {"max_body_size": 0},
            "broker": {"port": 1883, "protocol": "tcp", "read_timeout": 5},
            "seed": {"job": "before_start", "maintenance": False},
        },
    }
    limited = {"port": 1, "routes": ["/"], "connection_limit": {"connections": 1}}
    hidden = {"name": "hidden", "domains": [], "maintenance": {}, "services": {"api": limited}}
    found = problems([good, bad, hidden])
    assert [line.partition(":")[0] for line in found] == [
        "apps[bad].maintenance",
        "apps[bad].services.api.max_body_size",
        "apps[bad].services.inner.rate_limit",
        "apps[bad].services.mailer.max_body_size",
        "apps[bad].services.broker.read_timeout",
        "apps[bad].services.seed.maintenance",
        "apps[hidden].maintenance",
        "apps[hidden].services.api.connection_limit",
    ]


def test_the_preflight_finds_what_the_module_refuses() -> None:
    for what, asked, _named in BAD:
        assert problems([{**asked, "name": asked["app"]}]), what


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("203.0.113.0/255.255.255.0", "203.0.113.0/24"),
        ("203.0.113.7", "203.0.113.7/32"),
        ("2001:DB8:0::/48", "2001:db8::/48"),
    ],
)
def test_a_network_is_written_as_nginx_reads_it(written: str, network: str) -> None:
    allowed = app(rate_limit={"rate": "1/s", "exempt": [written, network]}, maintenance={"allow": [written]})
    serving = allowed.service("api").serving
    assert serving.rate_limit is not None and serving.rate_limit.exempt == (network,)
    assert serving.maintenance == Maintenance(allow=(network,))


def test_a_zone_always_has_the_same_key() -> None:
    """nginx refuses to load another one, and goes on with what it had."""
    other = {"rate": "9/s", "exempt": ["192.0.2.1"]}
    keys = [
        re.findall(r"^limit_\w+_zone (\S+) zone=(\S+):4m", limits.zones(app(**options)), re.MULTILINE)
        for options in (SERVED, {"rate_limit": other, "connection_limit": {"connections": 1}})
    ]
    assert keys[0] == keys[1]
    assert [zone for _, zone in keys[0]] == ["labs--requests.api", "labs--connections.api"]


def test_maintenance_of_an_app_is_that_of_each_service_that_says_nothing_else() -> None:
    own = {"allow": ["192.0.2.1"]}
    services = {
        "api": {"port": 1, "routes": ["/api/"]},
        "files": {"port": 2, "routes": ["/files/"], "maintenance": own},
        "status": {"port": 3, "routes": ["/status"], "maintenance": False},
        "inner": {"port": 4},
        "mailer": {},
    }
    options = {"app": "labs", "domains": ["a.test"], "services": services}
    found = {
        name: {service.name: service.serving.maintenance for service in parse_app({**options, **more}).services}
        for name, more in (("closed", {"maintenance": {"retry_after": 7}}), ("open", {"maintenance": False}))
    }
    mine = Maintenance(allow=("192.0.2.1/32",))
    assert found["open"] == {"api": None, "files": mine, "status": None, "inner": None, "mailer": None}
    assert found["closed"] == {**found["open"], "api": Maintenance(retry_after=7)}


def test_a_page_is_nothing_but_a_page() -> None:
    """What reads the file of an app looks for lines: none of a page begins one."""
    with_page = app(maintenance={"page": SERVED["maintenance"]["page"]})
    text = gateway.render(with_page, release(), "10.9.0.254")
    assert streams.divide(text) == (text, "")
    assert claims_of(text) == claims_of(gateway.render(app(), release(), "10.9.0.254"))
    assert releases_of(generation(text)) == {release().id} and "torn" not in str(generation(text))


def test_a_page_may_have_what_stands_for_the_generation() -> None:
    page = 'return 200 "@generation@\\n"; @generation@'
    text = gateway.render(app(maintenance={"page": page}), release(), "10.9.0.254")
    assert text.count("@generation@") == 2
    assert generation(text) != f"{release().id}/torn"
    assert generation(text.replace("@generation@", "@other@")) == f"{release().id}/torn"


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_no_piece_of_a_page_is_longer_than_nginx_reads(text: str) -> None:
    page = re.sub(r"[\0-\x1f\x7f-\x9f]", "$", text) * (20000 // len(text.encode()) + 1)
    found = gateway.render(app(maintenance={"page": page}), release(), "10.9.0.254")
    lines = [line for line in found.splitlines() if line.startswith('        set $gateway_page "')]
    assert len(lines) > 1
    assert max(len(line.encode()) for line in lines) < 4096


def test_plan_names_how_a_service_is_served() -> None:
    lines = describe.describe_route(routing.route_of(app(max_body_size="20M", read_timeout=30)))
    assert [line for line in lines if line.startswith("serving")] == [
        "serving: api: max_body_size: 20m",
        "serving: api: read_timeout: 30",
    ]


def test_what_cannot_change_beside_a_canary_is_told() -> None:
    first = planned(canaries(1), CANARIES)
    state = loads("labs", world_after(first, planned(canaries(2), CANARIES, canary=MANUAL)).state)
    closed = replace(
        CANARIES,
        services=tuple(replace(each, serving=Serving(maintenance=Maintenance())) for each in CANARIES.services),
    )

    def said(app: App, number: int) -> list[str]:
        return plan.put_off(state, plan.Desired(app, canaries(number).hash, None, {}, {}, MANUAL))

    assert said(CANARIES, 2) == []
    (warning,) = said(closed, 2)
    for word in ("maintenance of labs", f"canary {canaries(2).id}", "Deploy again"):
        assert word in warning
    # Another version takes the canary away, and brings its route along.
    assert said(closed, 3) == []
    assert plan.put_off(loads("labs", world_after(first).state), plan.Desired(closed, "x", None, {}, {}, MANUAL)) == []
