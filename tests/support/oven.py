# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small app of one service for deploys that go wrong, and clients that ask it all the while."""

from __future__ import annotations

import contextlib
import json
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.lab import ATTACKER, Host, execute, inside
from tests.support.rollout import ask

APP = "oven"
DOMAIN = "oven.example.test"
COMPOSE = f"/root/{APP}.yml"
IMAGE = "registry.lab:5000/daffathan/api"
ASKER = Path(__file__).with_name("ask_steadily.py")


def oven(
    host: Host,
    version: str,
    *,
    tag: str = "1.0.0",
    environment: Mapping[str, str] | None = None,
    entrypoint: Sequence[str] | None = None,
    container: Mapping[str, Any] | None = None,
    service: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The options for a version.

    :param container: more of the compose file for the service; `service` has options of the module for it
    """
    variables = {"PORT": "3001", "PREFIX": "/api", "VERSION": version, **(environment or {})}
    given: dict[str, Any] = {"image": f"{IMAGE}:{tag}", "environment": variables, **(container or {})}
    if entrypoint is not None:
        # Compose takes a dollar for a variable.
        given["entrypoint"] = [word.replace("$", "$$") for word in entrypoint]
    host.write(COMPOSE, json.dumps({"services": {"api": given}}))
    times = {"start_timeout": 20, "drain_timeout": 2, "stop_timeout": 5}
    return {
        "app": APP,
        "compose_file": COMPOSE,
        "domains": [DOMAIN],
        "services": {"api": {"port": 3001, "routes": ["/api/"], "health": "/health", **times, **(service or {})}},
        **options,
    }


def version(host: Host) -> str:
    return str(json.loads(ask(host, DOMAIN, "/api/version"))["version"])


class Answers(dict[str, int]):
    """How often each answer came, as "<status> <version>"; filled when the clients have ended."""

    def failed(self) -> dict[str, int]:
        return {answer: count for answer, count in self.items() if not answer.startswith("2")}


@contextlib.contextmanager
def clients(
    host: Host,
    *,
    domain: str = DOMAIN,
    path: str = "/api/version",
    rate: float = 40,
    slow: int = 0,
    body: str = "",
    authority: str = "",
) -> Iterator[Answers]:
    """Somebody asks the app; every so many (`slow`) requests one takes a second. Nobody asks twice.

    :param body: JSON that is sent, with NUMBER in place of the number of the request; nothing is sent where it is empty
    :param authority: certificate on the neighbour host (`outside.trust`), which then asks Caddy, by HTTPS; else the
        gateway is asked, on the host itself
    """
    asking = f"/run/asking-{uuid.uuid4().hex}"
    place = ATTACKER if authority else host.name
    execute(place, "touch", asking)
    asked = (domain, path, str(rate), str(slow), asking, body, *((host.address, authority) if authority else ()))
    argv = inside(place, "python3", "-c", ASKER.read_text(), *asked)
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    answers = Answers()
    try:
        yield answers
    finally:
        execute(place, "rm", asking)
        answers.update(json.loads(process.communicate(timeout=60)[0]))
