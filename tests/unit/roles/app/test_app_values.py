# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role app refuses before it changes anything, where its argument specs cannot, and what it passes on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving_options import parse_maintenance

ROLE = Path(__file__).resolve().parents[4] / "roles" / "app"


def problems(**app: Any) -> list[str]:
    known: dict[str, Any] = {"apps": [{"name": "labs", "compose": str(ROLE / "vars/main.yml"), **app}]}
    for part in ("defaults", "vars"):
        known.update(DataLoader().load_from_file(str(ROLE / part / "main.yml"), trusted_as_template=True))
    found: list[str] = Templar(loader=DataLoader(), variables=known).template(trust_as_template("{{ __app_problems }}"))
    return found


def test_mistakes_in_how_an_app_is_served_are_told_with_all_others() -> None:
    api = {"port": 3001, "routes": ["/api/"]}
    good = {"services": {"api": {**api, "rate_limit": {"rate": "10/s"}}}, "maintenance": True}
    assert problems(**good, domains=["labs.example.test"]) == []
    assert len(problems(**good)) == 2, "without domains nobody from outside comes"
    found = problems(services={"api": {**api, "port": 70000, "rate_limit": {"rate": "10/h"}}}, maintenance="yes")
    assert [line.partition(":")[0] for line in found] == [
        "apps[labs].services.api.port",
        "apps[labs].maintenance",
        "apps[labs].services.api.rate_limit.rate",
    ]


@pytest.mark.parametrize(
    ("asked", "closed"),
    [({}, False), ({"maintenance": None}, False), ({"maintenance": False}, False), ({"maintenance": True}, True)]
    + [({"maintenance": {}}, True), ({"maintenance": {"retry_after": 60}}, True)],
)
def test_maintenance_of_an_app_is_what_it_is_of_a_service(asked: dict[str, Any], closed: bool) -> None:
    (expression,) = re.findall(r'^ *maintenance: "(.*)"$', (ROLE / "tasks/release.yml").read_text(), re.MULTILINE)
    passed = Templar(loader=DataLoader(), variables={"__app": asked}).template(trust_as_template(expression))
    assert (parse_maintenance("maintenance", passed) is not None) == closed
    assert (parse_maintenance("maintenance", asked.get("maintenance")) is not None) == closed
