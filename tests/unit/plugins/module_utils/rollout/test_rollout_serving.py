# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a service is served: what is remembered of it, and what is a change."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import describe, routing
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import parse_app
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State, loads

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


def test_plan_names_how_a_service_is_served() -> None:
    lines = describe.describe_route(routing.route_of(app(max_body_size="20M", read_timeout=30)))
    assert [line for line in lines if line.startswith("serving")] == [
        "serving: api: max_body_size: 20m",
        "serving: api: read_timeout: 30",
    ]
