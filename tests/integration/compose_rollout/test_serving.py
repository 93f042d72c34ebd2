# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the requests of a service are served, seen by a client of Caddy; nothing of it takes a new release.

What the gateway makes of each option is tested request by request in tests/unit/roles/gateway; here is what needs a
host.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import outside
from tests.support.app import APP, version
from tests.support.lab import Host, wait_until
from tests.support.load import SITE, site_load
from tests.support.rollout import (
    GATEWAY_LOGS,
    SECOND,
    SECOND_SITE,
    SOCKETS,
    assert_settled,
    containers_of,
    rollout,
    second,
    site,
)

SERVICES = {"ui": 1, "api": 1, "ai": 1}
# The neighbour host, as the gateway has to see it.
CLIENT = "10.231.0.6"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def host(platform_host: Host) -> Host:
    return platform_host


@pytest.fixture(scope="module")
def authority(host: Host) -> str:
    return outside.trust(host)


@pytest.fixture
def options(host: Host) -> Iterator[dict[str, Any]]:
    """Those of the release that serves; it serves as it did when the test has ended."""
    plain = site(host, version(host))
    yield site(host, version(host))
    assert not rollout(host, plain)["failed"]
    assert_settled(host, APP, SERVICES)


def status(host: Host, authority: str, path: str, *arguments: str) -> str:
    told = ("--output", "/dev/null", "--write-out", "%{http_code} %header{retry-after}")
    return outside.answer(host, authority, SITE, path, *told, *arguments)


def routed(host: Host, options: dict[str, Any]) -> None:
    """Have it served like this: by a reload, with the containers that are there."""
    before = containers_of(host, options["app"])
    result = rollout(host, options)
    assert not result["failed"], result["msg"]
    assert [operation["kind"] for operation in result["operations"]] == ["route"]
    assert containers_of(host, options["app"]) == before


def test_a_client_is_limited_by_the_address_that_caddy_saw(host: Host, authority: str, options: dict[str, Any]) -> None:
    options["services"]["api"]["rate_limit"] = {"rate": "6/m", "burst": 2}
    routed(host, options)
    spoofed = ("--header", "X-Forwarded-For: 198.51.100.7", "--header", "X-Real-IP: 198.51.100.7")
    seen = [status(host, authority, "/api/version", *spoofed) for _ in range(5)]
    assert [each.split()[0] for each in seen] == ["200", "200", "200", "429", "429"]
    assert seen[-1].split()[1] == "10"
    assert status(host, authority, "/version").split()[0] == "200", "another service"
    logged = [json.loads(line) for line in host.run("tail", "-n", "50", f"{GATEWAY_LOGS}/access.log").splitlines()]
    refused = [entry for entry in logged if entry["status"] == 429]
    assert {entry["client"] for entry in refused} == {CLIENT}
    # Another reload keeps what was counted.
    options["services"]["api"]["rate_limit"]["exempt"] = ["192.0.2.1"]
    routed(host, options)
    assert status(host, authority, "/api/version").split()[0] == "429"
    options["services"]["api"]["rate_limit"]["exempt"] = [CLIENT]
    routed(host, options)
    assert {status(host, authority, "/api/version").split()[0] for _ in range(5)} == {"200"}


def test_maintenance_of_one_app_is_not_noticed_by_another(host: Host) -> None:
    other = second(host, "1.0.0")
    page = "<h1>Back for $5</h1>\n" * 500
    assert not rollout(host, other)["failed"]
    with site_load(host, rate=40) as load:
        for closed, answer in (
            ({"retry_after": 60}, "503 60"),
            ({"page": page}, "503 300"),
            ({"allow": [CLIENT]}, "200"),
            (False, "200"),
        ):
            routed(host, {**other, "maintenance": closed})
            # As Caddy asks for a client.
            ask = ("--header", f"X-Forwarded-For: {CLIENT}", "--header", "Accept: text/html")
            gateway = ("--unix-socket", f"{SOCKETS}/public/http.sock", f"http://{SECOND_SITE}/api/version")
            told = ("--output", "/root/answer", "--write-out", "%{http_code} %header{retry-after}")
            assert host.run("curl", "--silent", *told, *ask, *gateway).strip() == answer, closed
            assert (host.run("cat", "/root/answer") == page) == (closed == {"page": page})
            peer = "import urllib.request; print(urllib.request.urlopen('http://api:3001/version', timeout=10).status)"
            name = next(one["name"] for one in containers_of(host, SECOND) if one["service"] == "ai")
            assert host.run("docker", "exec", name, "python3", "-c", peer).strip() == "200", (
                "containers reach each other"
            )
        report = load.stop()
    assert report.failed == 0, report.describe()


def test_a_trace_is_the_same_on_the_whole_way(host: Host, authority: str) -> None:
    chosen = ("--header", f"traceparent: {TRACE}", "--header", "X-Request-ID: chosen-outside")
    outside.curl(host, authority, SITE, "/api/version?trace", *chosen)

    def entries() -> list[dict[str, Any]]:
        lines = host.run("tail", "-n", "50", f"{GATEWAY_LOGS}/access.log").splitlines()
        return [entry for entry in map(json.loads, lines) if entry["uri"] == "/api/version?trace"]

    assert wait_until(entries, seconds=10)
    assert entries()[-1]["traceparent"] == TRACE
    assert entries()[-1]["request_id"] != "chosen-outside", "an id from outside is Caddy's to make"


def test_metrics_are_for_root_of_the_host(host: Host) -> None:
    ask = f"curl --silent --fail --unix-socket {SOCKETS}/admin/admin.sock http://localhost"
    assert "nginx_connections_active " in host.run("sh", "-c", f"{ask}/metrics")
    assert "Active connections" in host.run("sh", "-c", f"{ask}/status")
    assert host.rc("setpriv", "--reuid=caddy", "--regid=caddy", "--clear-groups", "sh", "-c", f"{ask}/metrics") != 0


def test_a_base_configuration_of_before_is_refused_before_anything_is_done(host: Host, options: dict[str, Any]) -> None:
    path = "/etc/daffathan/gateway/nginx.conf"
    known = "map $binary_remote_addr $gateway_client"
    assert not rollout(host, second(host, "1.0.0"))["failed"]
    host.run("cp", path, "/root/nginx.conf")
    host.run("sed", "--in-place", f"s/{known}/{known}_of_another_name/", path)
    try:
        options["services"]["api"]["max_body_size"] = "2m"
        result = rollout(host, options)
        assert result["failed"] and "does not know $gateway_client" in result["msg"], result
        assert "Run role daffathan.platform.gateway again" in result["msg"]
        removed = rollout(host, {"app": SECOND, "state": "absent"})
        assert not removed["failed"] and removed["changed"], removed
    finally:
        host.run("cp", "/root/nginx.conf", path)
