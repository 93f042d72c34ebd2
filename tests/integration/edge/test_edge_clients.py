# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The edge as the field's own clients see it: testssl.sh, curl over HTTP/3, nghttp and h2load over HTTP/2."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.support.certificates import Authority
from tests.support.lab import Host, up, wait_until

ROLE = "tests/integration/edge/role.yml"
SITE = "shop.example.test"
AUTHORITY = "/root/authority.crt"
PACKAGES = ("curl", "nghttp2-client", "testssl.sh")
# More than a frame, a window or a buffer on the way holds.
BODY = 3_000_000


@pytest.fixture(scope="module")
def clients(bare_host: Host) -> Iterator[Host]:
    """A host with these clients, which trusts the authority of the site."""
    authority = Authority()
    issued = authority.issue([SITE])
    site = {"domains": [SITE], "directives": "root * /srv\nfile_server"}
    bare_host.run("sh", "-c", f"mkdir -p /srv; echo hello >/srv/index.html; head -c {BODY} /dev/urandom >/srv/large")
    bare_host.converge(
        ROLE,
        apps=[],
        caddy_sites=[site],
        caddy_tls="acme",
        caddy_certificate=issued.certificate,
        caddy_certificate_key=issued.key,
    )
    host = up("it-edge-visitor")
    host.run("apt-get", "-q", "update")
    host.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qy", "install", *PACKAGES, timeout=600)
    host.write(AUTHORITY, authority.certificate)
    host.run("sh", "-c", 'echo "$1" >> /etc/hosts', "sh", f"{bare_host.address} {SITE}")
    assert wait_until(lambda: host.rc("curl", "-sS", "--cacert", AUTHORITY, f"https://{SITE}/") == 0, seconds=30)
    yield host
    host.down()


def test_testssl_gives_the_best_grade_and_finds_nothing_that_matters(clients: Host) -> None:
    report = "/root/testssl.json"
    argv = ("testssl", "--quiet", "--color", "0", "--warnings", "batch", "--add-ca", AUTHORITY, "--jsonfile", report)
    clients.run(*argv, f"https://{SITE}/", check=False, timeout=900)
    found = {entry["id"]: entry for entry in json.loads(clients.run("cat", report))}
    assert found["overall_grade"]["finding"] in ("A", "A+"), [
        entry["finding"] for name, entry in found.items() if name.startswith("grade_cap")
    ]
    offered = {name for name in ("SSLv2", "SSLv3", "TLS1", "TLS1_1") if "not offered" not in found[name]["finding"]}
    assert offered == set()
    assert "offered" in found["TLS1_3"]["finding"]
    bad = {name: entry["finding"] for name, entry in found.items() if entry["severity"] in ("HIGH", "CRITICAL")}
    # The certificate is the test's own, for a day and of an authority that revokes nothing.
    assert {name: finding for name, finding in bad.items() if not name.startswith("cert_")} == {}


def test_http_3_is_announced_and_answered(clients: Host) -> None:
    head = clients.run("curl", "-sS", "--cacert", AUTHORITY, "--head", f"https://{SITE}/")
    assert re.search(r'^alt-svc: h3=":443"', head, re.MULTILINE), head
    told = ("--output", "/root/large", "--write-out", "%{http_version} %{http_code} %{size_download}")
    argv = ("curl", "-sS", "--cacert", AUTHORITY, "--http3-only", *told, f"https://{SITE}/large")
    assert clients.run(*argv) == f"3 200 {BODY}"


def test_nghttp_is_served_over_http_2(clients: Host) -> None:
    said = clients.run("nghttp", "--verbose", "--null-out", "--no-dep", f"https://{SITE}/", f"https://{SITE}/large")
    assert "The negotiated protocol: h2" in said
    assert said.count(":status: 200") == 2
    assert not re.search(r"recv (RST_STREAM|GOAWAY)", said), said


def test_many_streams_of_many_connections_are_all_answered(clients: Host) -> None:
    said = clients.run(
        "h2load", "--requests", "3000", "--clients", "10", "--max-concurrent-streams", "50", f"https://{SITE}/"
    )
    assert "3000 succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert "3000 2xx" in said
