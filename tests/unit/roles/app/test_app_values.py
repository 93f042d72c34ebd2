# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role app refuses before it changes anything, of what its argument specs cannot express."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).resolve().parents[4] / "roles" / "app"


def problems(**app: Any) -> list[str]:
    known: dict[str, Any] = {"apps": [{"name": "labs", "compose": str(ROLE / "vars/main.yml"), **app}]}
    for part in ("defaults", "vars"):
        known.update(DataLoader().load_from_file(str(ROLE / part / "main.yml"), trusted_as_template=True))
    found: list[str] = Templar(loader=DataLoader(), variables=known).template(trust_as_template("{{ __app_problems }}"))
    return found


def test_mistakes_in_how_an_app_is_served_are_told_with_all_others() -> None:
    api = {"port": 3001, "routes": ["/api/"]}
    assert problems(services={"api": {**api, "rate_limit": {"rate": "10/s"}}}, maintenance=True) == []
    found = problems(services={"api": {**api, "port": 70000, "rate_limit": {"rate": "10/h"}}}, maintenance="yes")
    assert [line.partition(":")[0] for line in found] == [
        "apps[labs].services.api.port",
        "apps[labs].maintenance",
        "apps[labs].services.api.rate_limit.rate",
    ]
