# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import json
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._backup.model import RecoveryPoint
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.bake import Bake
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    InputError,
    RolloutError,
    choose_addresses,
    gateway_address,
    other_colour,
    release_id,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import (
    RELEASE_ID,
    parse_app,
    parse_release_id,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import (
    Migration,
    Network,
    Progress,
    Route,
    State,
    loads,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.rollout.models import options, release, service

POINT = RecoveryPoint("20260101t000000z", "labs", "2026-01-01T00:00:00Z", 9, ("labs",), 0.5, "x", release().id)


# What is wrong: its options, and what the message has to name: the option, the value, the remedy.
BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    ("app in capitals", options(app="Labs"), ["app:", "'Labs'", "my-app"]),
    ("app with two hyphens", options(app="a--b"), ["app:", "'a--b'", "single"]),
    ("app that ends in a hyphen", options(app="a-"), ["app:", "'a-'", "my-app"]),
    ("app that is a path", options(app="../x"), ["app:", "'../x'", "my-app"]),
    ("app of 32 letters", options(app="a" * 32), ["app:", "a" * 32, "at most 30"]),
    ("no services", options(services={}), ["services:", "empty", "at least one"]),
    ("service that is a number", options(services={"api": 3001}), ["services.api:", "3001", "{port: 3000"]),
    ("unknown option", service(healthcheck="/x"), ["services.api.healthcheck", "Known are", "health"]),
    ("routes without a port", service(port=None), ["services.api.routes", "['/']", "worker", "Give the port"]),
    (
        "health without a port",
        options(services={"api": {"health": "/health"}}),
        ["services.api.health", "'/health'", "worker", "remove `health`"],
    ),
    (
        "uptime that start_timeout cuts off",
        service(min_uptime=61),
        ["services.api.min_uptime", "61", "start_timeout", "60"],
    ),
    ("negative uptime", service(min_uptime=-1), ["services.api.min_uptime", "-1", "0 to 3600"]),
    ("port 0", service(port=0), ["services.api.port", "0", "1 to 65535"]),
    ("port too large", service(port=65536), ["services.api.port", "65536", "1 to 65535"]),
    ("port that is a word", service(port="http"), ["services.api.port", "'http'", "1 to 65535"]),
    ("port that is true", service(port=True), ["services.api.port", "True", "1 to 65535"]),
    ("no replicas", service(replicas=0), ["services.api.replicas", "0", "1 to 50"]),
    ("half a replica", service(replicas=1.5), ["services.api.replicas", "1.5", "1 to 50"]),
    ("no time to start", service(start_timeout=0), ["services.api.start_timeout", "0", "1 to 3600"]),
    ("negative drain", service(drain_timeout=-1), ["services.api.drain_timeout", "-1", "0 to 3600"]),
    ("stop of a day", service(stop_timeout=86400), ["services.api.stop_timeout", "86400", "0 to 3600"]),
    ("routes as text", service(routes="/"), ["services.api.routes", "'/'", "list", "[/api/]"]),
    ("route without a slash", service(routes=["api"]), ["services.api.routes", "'api'", "/api/"]),
    ("route that leaves its block", service(routes=["/ { return 200; }"]), ["services.api.routes", "return", "/api/"]),
    ("route with a variable", service(routes=["/$host"]), ["services.api.routes", "'/$host'", "/api/"]),
    ("route over two lines", service(routes=["/a\n"]), ["services.api.routes", "/a", "/api/"]),
    ("route that is a number", service(routes=[1]), ["services.api.routes", "1", "/api/"]),
    ("health without a slash", service(health="up"), ["services.api.health", "'up'", "/health", "`port`"]),
    ("health over two lines", service(health="/a\r\nX: y"), ["services.api.health", "/health"]),
    (
        "job with a port",
        options(services={"api": {"port": 1, "routes": ["/"]}, "seed": {"job": "before_start", "port": 2}}),
        ["services.seed.port", "2", "job", "Remove it"],
    ),
    (
        "job of another time",
        options(services={"api": {"port": 1, "routes": ["/"]}, "seed": {"job": "nightly"}}),
        ["services.seed.job", "'nightly'", "before_start"],
    ),
    (
        "job without an end",
        options(services={"api": {"port": 1, "routes": ["/"]}, "seed": {"job": "before_start", "timeout": 0}}),
        ["services.seed.timeout", "0", "1 to 86400"],
    ),
    ("nothing but jobs", options(services={"seed": {"job": "before_start"}}), ["services:", "jobs", "at least one"]),
    ("migration as text", options(migrate="up"), ["migrate:", "'up'", "{service: api"]),
    ("migration by nobody", options(migrate={"command": ["x"]}), ["migrate.service", "None", "api"]),
    ("migration without a command", options(migrate={"service": "api"}), ["migrate.command", "missing", "Give"]),
    (
        "unknown step of a migration",
        options(migrate={"service": "api", "command": ["x"], "before": ["y"]}),
        ["migrate.before", "Known are", "rollback"],
    ),
    (
        "migration in one string",
        options(migrate={"service": "api", "command": "./migrate up"}),
        ["migrate.command", "'./migrate up'", "[./migrate, up]"],
    ),
    (
        "rollback to a version nobody asked for",
        options(migrate={"service": "api", "command": ["x"], "rollback": ["goto", "{version}"]}),
        ["migrate.rollback", "{version}", "Give `version`"],
    ),
    (
        "recovery point that is a word",
        options(migrate={"service": "api", "command": ["x"], "recovery_point": "always"}),
        ["migrate.recovery_point", "'always'", "true or false"],
    ),
    ("unknown strategy", service(strategy="ramped"), ["services.api.strategy", "'ramped'", "blue_green"]),
    ("surge of a whole", service(surge=2), ["services.api.surge: 2", "rolling", "blue_green", "Remove it"]),
    (
        "unavailable of a canary",
        service(strategy="canary", unavailable=1),
        ["services.api.unavailable", "1", "strategy: rolling", "canary", "Remove it"],
    ),
    (
        "surge of what must not run twice",
        service(strategy="stop_first", surge=1),
        ["services.api.surge", "1", "strategy: rolling", "stop_first", "Remove it"],
    ),
    ("timeout of a service that runs on", service(timeout=5), ["services.api.timeout", "Known are", "start_timeout"]),
    (
        "nothing to be replaced",
        service(strategy="rolling", surge=0),
        ["services.api.surge", "0", "`unavailable` 0", "Raise one"],
    ),
    (
        "all of two away at once",
        service(strategy="rolling", replicas=2, unavailable=2),
        ["services.api.unavailable", "2", "0 to 1"],
    ),
    (
        "worker one by one",
        options(services={"api": {"port": 1, "routes": ["/"]}, "mailer": {"strategy": "rolling"}}),
        ["services.mailer.strategy", "rolling", "worker", "Remove it"],
    ),
    ("unknown protocol", service(protocol="udp"), ["services.api.protocol", "'udp'", "http, tcp"]),
    (
        "TCP with routes",
        service(protocol="tcp"),
        ["services.api.routes", "['/']", "protocol: tcp", "Remove the routes"],
    ),
    (
        "TCP with a path to ask for health",
        options(services={"api": {"port": 1883, "protocol": "tcp", "health": "/up"}}),
        ["services.api.health", "'/up'", "protocol: tcp", "healthcheck"],
    ),
    (
        "TCP without a port",
        options(services={"api": {"protocol": "tcp"}}),
        ["services.api.protocol", "'tcp'", "worker", "remove `protocol`"],
    ),
    (
        "TCP as a canary",
        options(services={"api": {"port": 1883, "protocol": "tcp", "strategy": "canary"}}),
        ["services.api.strategy", "'canary'", "protocol: tcp", "Remove `strategy`"],
    ),
    ("idle time of HTTP", service(idle_timeout=60), ["services.api.idle_timeout", "protocol: tcp", "Remove it"]),
    (
        "no idle time",
        options(services={"api": {"port": 1883, "protocol": "tcp", "idle_timeout": 0}}),
        ["services.api.idle_timeout", "0", "1 to 2592000"],
    ),
    (
        "TCP on the port of HTTP",
        options(services={"api": {"port": 1883}, "broker": {"port": 1883, "protocol": "tcp"}}),
        ["services.broker.port", "1883", "api", "another port"],
    ),
    (
        "TCP on a port twice",
        options(services={"a": {"port": 1883, "protocol": "tcp"}, "b": {"port": 1883, "protocol": "tcp"}}),
        ["services.b.port", "1883", "of a", "another port"],
    ),
    (
        "one route twice",
        options(services={"a": {"port": 1, "routes": ["/x"]}, "b": {"port": 2, "routes": ["/x"]}}),
        ["services:", "a and b", "/x", "its own prefix"],
    ),
    (
        "one route twice in a service",
        service(routes=["/x", "/", "/x"]),
        ["services.api.routes: /x", "twice"],
    ),
    ("domain with a space", options(domains=["a b"]), ["domains:", "'a b'", "app.example.com"]),
    ("domain that is an address", options(domains=["https://a.test"]), ["domains:", "https://a.test", "app.example"]),
    ("domain that ends its line", options(domains=["a.test;"]), ["domains:", "'a.test;'", "app.example.com"]),
    ("star in the middle", options(domains=["a.*.test"]), ["domains:", "'a.*.test'", "app.example.com"]),
    ("domains without routes", options(services={"api": {"port": 1}}), ["services:", "routes", "domains"]),
    ("name of a variable", options(env={"A-B": "1"}), ["env.A-B", "letters, digits"]),
    ("secret that is a path", options(secrets={"../x": "value"}), ["secrets.../x", "letters, digits"]),
    ("secret without a value", options(secrets={"TOKEN": ""}), ["secrets.TOKEN", "not empty"]),
    ("secret that is a list", options(secrets={"TOKEN": ["a"]}), ["secrets.TOKEN", "text"]),
]


@pytest.mark.parametrize(("given", "named"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_input_is_refused_by_option_value_and_remedy(given: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(InputError) as error:
        parse_app(given)
    for word in named:
        assert word in str(error.value)


def test_service_without_a_port_is_a_worker_that_has_to_stay_up() -> None:
    app = parse_app(options(services={"api": {"port": 3001, "routes": ["/"]}, "mailer": {"strategy": "stop_first"}}))
    mailer = app.service("mailer")
    assert (mailer.port, mailer.min_uptime, mailer.strategy) == (None, 5, "stop_first")
    assert app.service("api").min_uptime == 0
    assert app.served == ("api",)


def test_service_that_speaks_tcp_is_served_by_its_port_alone() -> None:
    services = {"api": {"port": 3001, "protocol": "http"}, "broker": {"port": 1883, "protocol": "tcp"}}
    app = parse_app(options(services=services, domains=[]))
    assert app.served == ("api", "broker")
    assert [service.name for service in app.speaking("tcp")] == ["broker"]
    assert app.service("broker").idle_timeout == 86400


def test_the_value_of_a_bad_secret_is_not_repeated() -> None:
    with pytest.raises(InputError) as error:
        parse_app(options(secrets={"TOKEN": ["hunter2-canary"]}))
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("value", ["latest", "r1", "r20260101t000000-0000000G", "r20260101t000000-00000001\n"])
def test_release_id_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="release: .* is not a release id like r2026"):
        parse_release_id(value)


def test_good_input_is_normalised() -> None:
    app = parse_app(
        options(
            services={"web": {"port": "3000", "routes": ["/"], "replicas": None}, "api": {"port": 3001}},
            domains=["A.Example.test", "a.example.test", "*.b.test"],
            env={"A": 1, "B": True},
            secrets={"TOKEN": 12345},
        )
    )
    assert [(s.name, s.port, s.replicas) for s in app.services] == [("api", 3001, 1), ("web", 3000, 1)]
    assert app.domains == ("a.example.test", "*.b.test")
    assert app.env == {"A": "1", "B": "true"}
    assert app.secrets == {"TOKEN": "12345"}
    assert app.network == "labs_private"


@given(st.text(max_size=40))
def test_every_name_is_refused_or_safe_in_a_path_and_a_configuration(name: str) -> None:
    try:
        app = parse_app(options(app=name))
    except InputError:
        return
    assert app.name == name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and name[0].isalpha() and "--" not in name


@given(st.text(max_size=30))
def test_every_route_and_domain_is_refused_or_one_word_of_nginx(text: str) -> None:
    for given_options in (service(routes=[text]), options(domains=[text])):
        try:
            parse_app(given_options)
        except InputError:
            continue
        assert not set(text) & set(" \t\r\n;{}$\"'\\#")


def test_addresses_come_from_the_half_that_the_engine_leaves_alone() -> None:
    assert choose_addresses("10.9.0.0/24", 2, ["10.9.0.128"]) == ["10.9.0.129", "10.9.0.130"]
    assert gateway_address("10.9.0.0/24") == "10.9.0.254"


def test_full_network_is_an_error_with_a_remedy() -> None:
    with pytest.raises(RolloutError, match="10.9.0.0/29.*default-address-pools"):
        choose_addresses("10.9.0.0/29", 3, [])


@given(st.integers(16, 28), st.integers(1, 6), st.sets(st.integers(0, 20)))
def test_chosen_addresses_are_free_and_never_the_gateway(prefix: int, count: int, used: set[int]) -> None:
    network = ipaddress.IPv4Network(f"10.0.0.0/{prefix}")
    half = int(network.network_address) + network.num_addresses // 2
    taken = [str(ipaddress.IPv4Address(half + offset)) for offset in used]
    try:
        chosen = choose_addresses(str(network), count, taken)
    except RolloutError:
        free = {half + o for o in range(network.num_addresses // 2 - 2)} - {half + o for o in used}
        assert len(free) < count
        return
    assert len(set(chosen)) == count
    assert not set(chosen) & {*taken, gateway_address(str(network)), str(network.broadcast_address)}
    assert all(half <= int(ipaddress.IPv4Address(address)) for address in chosen)


def test_release_id_is_one_and_sorts_by_time() -> None:
    ids = [release_id(datetime(2026, 1, 1, hour, tzinfo=timezone.utc), "f" * 64) for hour in (1, 2)]
    assert ids == sorted(ids) and all(RELEASE_ID.fullmatch(entry) for entry in ids)
    assert [other_colour(colour) for colour in (None, "blue", "green")] == ["blue", "green", "blue"]


def state(*, late: bool = True) -> State:
    route = Route(("a.test",), {"api": {"port": 3001, "routes": ["/"]}})
    return State(
        "labs",
        phase="shift",
        live=release(),
        candidate=release("green"),
        network=Network("labs_private", "10.9.0.0/24", "10.9.0.254"),
        base_images={"db": "x"},
        base_references={"db:17": "sha256:0"},
        route=route,
        next_route=route,
        older=(release(),) if late else (),
        progress={"hash": Progress(("migrate.command",), "1", POINT)} if late else {},
        migrations={release().id: Migration("1", "2", POINT)} if late else {},
        bake=Bake(60, since="2026-01-01T00:00:00+00:00") if late else None,
        schema="2" if late else None,
        contracted=release().id if late else None,
    ).with_event("deployed", release().id, "2026-01-01T00:00:00+00:00")


def test_state_of_a_version_before_jobs_and_older_releases_can_be_read() -> None:
    data = json.loads(state(late=False).dumps())
    for key in ("older", "progress", "migrations", "schema", "contracted"):
        del data[key]
    del data["live"]["jobs"], data["candidate"]["jobs"]
    for key in ("min_uptime", "strategy", "protocol"):
        del data["live"]["services"]["api"][key]
    assert loads("labs", json.dumps(data)) == state(late=False)


def test_state_survives_being_written_and_read() -> None:
    assert loads("labs", state().dumps()) == state()


def test_state_remembers_fifty_events() -> None:
    state = State("labs")
    for number in range(60):
        state = state.with_event("deployed", str(number), "now")
    assert [entry["release"] for entry in state.history] == [str(number) for number in range(10, 60)]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", state().dumps()[:-40]])
def test_state_that_cannot_be_read_is_an_error_with_a_remedy(text: str) -> None:
    with pytest.raises(RolloutError, match="state.json of labs cannot be read.*backup"):
        loads("labs", text)


def test_state_of_a_later_version_is_refused() -> None:
    text = json.dumps({**json.loads(state().dumps()), "version": 99})
    with pytest.raises(RolloutError, match="version 99.*Upgrade"):
        loads("labs", text)
