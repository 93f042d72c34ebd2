# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports that HTTP and TCP cannot share, and what a release without TCP makes of a route with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import describe, routing
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.canary_options import Canary, Step
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    HTTP,
    TCP,
    App,
    InputError,
    Service,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.ports import check_ports
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.split import split_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State, Trial

from tests.unit.plugins.module_utils.rollout.apps import STREAMS, release


def app(name: str, port: int, protocol: str) -> App:
    return App(name, (), (Service("api", port, protocol=protocol), Service("worker")))


def running(name: str, port: int, protocol: str) -> State:
    return State(name, route=routing.route_of(app(name, port, protocol)))


@pytest.mark.parametrize(
    ("state", "named"),
    [
        (running("other", 3000, HTTP), ["service api of app other", "`protocol: http`"]),
        (replace(State("other"), next_route=running("other", 3000, HTTP).route), ["service api of app other"]),
        (running("labs", 3000, HTTP), ["service api as it runs", "`protocol: http`"]),
    ],
    ids=["another app", "another app under way", "the app before"],
)
def test_port_of_http_is_refused_to_tcp(state: State, named: list[str]) -> None:
    with pytest.raises(InputError) as error:
        check_ports(app("labs", 3000, TCP), {state.app: state})
    for word in ["services.api.port: 3000", "`protocol: tcp`", "another port", *named]:
        assert word in str(error.value)


def test_port_of_tcp_is_refused_to_http() -> None:
    with pytest.raises(InputError, match=r"(?s)services.api.port: 1883.*`protocol: http`.*other.*`protocol: tcp`"):
        check_ports(app("labs", 1883, HTTP), {"other": running("other", 1883, TCP)})


@pytest.mark.parametrize("protocol", [HTTP, TCP])
def test_apps_share_a_port_of_one_protocol(protocol: str) -> None:
    check_ports(app("labs", 1883, protocol), {name: running(name, 1883, protocol) for name in ("labs", "other")})
    check_ports(app("labs", 1884, protocol), {"other": running("other", 1883, HTTP), "none": State("none")})


def test_route_of_a_version_before_protocols_is_one_of_http() -> None:
    route = running("other", 3000, HTTP).route
    assert route is not None
    old = {name: {k: v for k, v in one.items() if k != "protocol"} for name, one in route.services.items()}
    with pytest.raises(InputError, match="`protocol: http`"):
        check_ports(app("labs", 3000, TCP), {"other": State("other", route=replace(route, services=old))})


def test_release_is_served_as_it_was_released_whatever_the_route_says_now() -> None:
    route = routing.route_of(App("labs", (), (Service("api", 3001, ("/",)), Service("broker", 5000, ("/b/",)))))
    found = routing.app_of("labs", route, release(1, app=STREAMS))
    assert [(one.name, one.port, one.protocol, one.routes) for one in found.services] == [
        ("api", 3001, HTTP, ("/",)),
        ("broker", 1883, TCP, ()),
    ]


def test_idle_time_of_the_route_is_kept() -> None:
    patient = App("labs", (), (Service("broker", 1883, protocol=TCP, idle_timeout=7),))
    assert routing.app_of("labs", routing.route_of(patient), release(1, app=patient)).services == patient.services


def test_containers_of_a_canary_meet_the_old_version_of_a_service_that_speaks_another_protocol_now() -> None:
    was = App("labs", (), (Service("api", 3001), Service("broker", 8080)))
    state = State(
        "labs",
        live=release(1, app=was),
        candidate=release(2, app=STREAMS),
        route=routing.route_of(was),
        next_route=routing.route_of(STREAMS),
        trial=Trial(Canary((Step(10, None),))),
    )
    assert set(split_of(state).candidate.services) == {"api"}


def test_plan_names_what_is_served_by_tcp() -> None:
    assert describe.describe_route(routing.route_of(app("labs", 1883, TCP))) == ["stream: api:1883"]
