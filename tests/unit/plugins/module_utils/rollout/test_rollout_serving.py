# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a service is served: what is remembered of it, and what is a change."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import (
    describe,
    gateway,
    limits,
    routing,
    streams,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.claims import claims_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import generation, releases_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, Service
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import parse_app
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving import Maintenance
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving_options import problems
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State, loads
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.rollout.models import SERVED, release


def app(**options: Any) -> App:
    services = {"api": {"port": 3001, "routes": ["/api/"], **options}, "web": {"port": 3000, "routes": ["/"]}}
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
    good = {"name": "good", "maintenance": True, "services": {"api": {"port": 1, "routes": ["/"], **SERVED}, "job": {}}}
    bad = {
        "name": "bad",
        "maintenance": "yes",
        "services": {
            "api": {"port": 1, "routes": ["/"], "max_body_size": "1.5m", "read_timeout": 0},
            "inner": {"port": 2, "rate_limit": {"rate": "1/s"}},
            "ui": {"port": 3, "routes": ["/ui"], "max_body_size": None},
        },
    }
    found = problems([good, bad])
    assert [line.partition(":")[0] for line in found] == [
        "apps[bad].maintenance",
        "apps[bad].services.api.max_body_size",
        "apps[bad].services.inner.rate_limit",
    ]


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
    mine = Maintenance(allow=("192.0.2.1",))
    assert found["open"] == {"api": None, "files": mine, "status": None, "inner": None, "mailer": None}
    assert found["closed"] == {**found["open"], "api": Maintenance(retry_after=7)}


def test_a_page_is_nothing_but_a_page() -> None:
    """What reads the file of an app looks for lines: none of a page begins one."""
    with_page = app(maintenance={"page": SERVED["maintenance"]["page"]})
    text = gateway.render(with_page, release(), "10.9.0.254")
    assert streams.divide(text) == (text, "")
    assert claims_of(text) == claims_of(gateway.render(app(), release(), "10.9.0.254"))
    assert releases_of(generation(text)) == {release().id} and "torn" not in str(generation(text))


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
