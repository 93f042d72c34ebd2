# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The services of technova with PostgreSQL: the schema grows under the release that serves, and goes back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import stores
from tests.support.ansible import PROJECT
from tests.support.stores import Process, request

SERVICES = PROJECT / "examples" / "technova" / "services"


@dataclass
class System:
    place: Path
    env: dict[str, str]
    stack: ExitStack
    count: int = 0

    def start(self, name: str, **env: str) -> int:
        """The port of a service."""
        port, self.count = stores.free_port(), self.count + 1
        log = self.place / f"{name}-{self.count}.log"
        process: Process = stores.service(
            SERVICES / name / "main.py", port, log, SERVICES, **{**self.env, "SERVICE": name, **env}
        )
        process.start()
        self.stack.callback(process.stop)
        return port

    def migrate(self, *verb: str, **env: str) -> subprocess.CompletedProcess[str]:
        known = stores.environment(**{**self.env, **env})
        known["PYTHONPATH"] += f":{SERVICES}"
        argv = [stores.PYTHON, str(SERVICES / "api" / "migrate.py"), *verb]
        return subprocess.run(argv, env=known, capture_output=True, text=True, check=False)

    def schema(self) -> str:
        """As the platform reads it: the last line that is printed."""
        done = self.migrate("version")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[int]:
    with stores.postgres(place, "technova") as port:
        yield port


@pytest.fixture
def system(place: Path, server: int) -> Iterator[System]:
    """With a database of version 1."""
    env = {"DATABASE_HOST": "127.0.0.1", "DATABASE_PORT": str(server), "DATABASE_NAME": "technova"}
    env |= {"DATABASE_USER": "technova", "DATABASE_PASSWORD_FILE": str(place / "password"), "VERSION": "1.0.0"}
    with ExitStack() as stack:
        found = System(place, {**env, "SCHEMA": "1"}, stack)
        for verb in (("up",), ("down", "1")):
            done = found.migrate(*verb)
            assert done.returncode == 0, done.stderr
        yield found


def test_the_schema_grows_under_the_release_that_serves(system: System) -> None:
    old = system.start("api")
    assert request(old, "/api/items", {"name": "router", "stock": 3}).status == 201
    new = system.start("api", VERSION="1.1.0", SCHEMA="2")
    assert request(new, "/ready").body["missing"] == "schema 2, the database has 1"
    assert system.migrate("up", SCHEMA="2").returncode == 0
    assert system.schema() == "2"
    assert [request(port, "/ready").status for port in (old, new)] == [200, 200]
    assert request(old, "/api/items", {"name": "switch", "stock": 2}).status == 201
    assert request(new, "/api/items", {"name": "cable", "stock": 5, "location": "A1"}).status == 201
    assert {item["name"]: item["location"] for item in request(new, "/api/items").body}.items() >= {
        ("router", "unknown"),
        ("switch", "unknown"),
        ("cable", "A1"),
    }
    assert "location" not in request(old, "/api/items").body[-1]


def test_a_migration_that_fails_is_undone_with_the_data_kept(system: System) -> None:
    old = system.start("api")
    assert request(old, "/api/items", {"name": "kept", "stock": 1}).status == 201
    before = system.schema()
    done = system.migrate("up", SCHEMA="2", FAULT="bad-migration")
    assert (done.returncode, system.schema()) == (1, "2")
    assert "bad-migration" in done.stderr
    assert system.migrate("down", before, SCHEMA="2", FAULT="bad-migration").returncode == 0
    assert system.schema() == before == "1"
    assert request(old, "/api/items").body[-1]["name"] == "kept"
    assert request(old, "/ready").status == 200


def test_an_older_release_leaves_the_schema_as_it_is(system: System) -> None:
    assert system.migrate("up", SCHEMA="2").returncode == 0
    assert system.migrate("up", SCHEMA="1").returncode == 0
    assert system.schema() == "2"


def test_two_migrations_at_once_do_it_once(system: System) -> None:
    known = stores.environment(**{**system.env, "SCHEMA": "2"})
    known["PYTHONPATH"] += f":{SERVICES}"
    argv = [stores.PYTHON, str(SERVICES / "api" / "migrate.py"), "up"]
    both = [subprocess.Popen(argv, env=known, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate(timeout=30)[0].strip() for process in both)
    assert ([process.returncode for process in both], said) == ([0, 0], ["", "schema 1 -> 2"])


def test_the_page_shows_what_the_api_has_and_says_when_it_is_away(system: System) -> None:
    api = system.start("api")
    request(api, "/api/items", {"name": "<b>", "stock": 7})
    page = request(system.start("web", API_URL=f"http://127.0.0.1:{api}/api/items"), "/")
    assert (page.status, page.headers["x-version"]) == (200, "1.0.0")
    assert "<li>&lt;b&gt;: 7</li>" in page.body
    away = request(system.start("web", API_URL=f"http://127.0.0.1:{stores.free_port()}/"), "/")
    assert (away.status, away.headers["x-version"]) == (502, "1.0.0")


def test_metrics_have_requests_latency_and_the_stock(system: System) -> None:
    api = system.start("api")
    begun = sum(item["stock"] for item in request(api, "/api/items").body)
    request(api, "/api/items", {"name": "more", "stock": 4})
    assert request(api, "/api/items", {"name": "more"}).status == 400
    text = request(api, "/metrics").body
    for line in (
        'http_requests_total{status="201"} 1',
        'http_requests_total{status="400"} 1',
        'http_request_seconds_bucket{le="+Inf"} 3',
        f"inventory_items_in_stock {begun + 4:g}",
    ):
        assert line in text.splitlines(), text


def test_versions_that_are_broken_on_purpose_are(system: System) -> None:
    assert request(system.start("pricing", FAULT="not-ready"), "/ready").status == 503
    errors = system.start("pricing", FAULT="errors")
    assert request(errors, "/ready").status == 200
    assert request(errors, "/prices/router").status == 500
    good = [request(system.start("pricing", FACTOR=factor), "/prices/router").body["price"] for factor in ("1", "2")]
    assert good[1] == pytest.approx(2 * good[0], abs=0.01)
    with pytest.raises(AssertionError, match="ended with status 1"):
        system.start("web", API_URL="http://127.0.0.1:1", FAULT="crash")
