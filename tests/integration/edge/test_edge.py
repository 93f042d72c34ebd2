# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role caddy on a VPS: the distribution's old Caddy first, then a current one with more options, seen from outside.

What Caddy makes of the configuration is tested request by request in tests/unit/roles/caddy; here is what needs a host.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority, Issued
from tests.support.lab import ATTACKER, Host, PlayResult, attacker, inside, wait_until

HERE = Path(__file__).parent
ROLE = "tests/integration/edge/role.yml"
SITE = "shop.example.test"
# The neighbour host, which is the proxy in front.
PROXY = "10.231.0.6"
# The password is `test`.
USER = {"ops": "$2a$10$gPi3c5W5RhHsxMOtV3nKEebXzCPlfo1JzsgFbkI94mzswp.nYEmi2"}
AUTHORITY = "/root/edge-authority.crt"
CLIENT = "203.0.113.9"
SHOP: dict[str, Any] = {
    "domains": [SITE],
    "proxy_to": ["127.0.0.1:9000"],
    "redirect_from": ["www.shop.example.test"],
    "access_rules": [
        {"paths": ["/admin"], "users": USER},
        {"paths": ["/office"], "allow": ["203.0.113.0/24"]},
    ],
}


@pytest.fixture(scope="module")
def authority() -> Authority:
    made = Authority()
    attacker("python3", "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])", AUTHORITY, made.certificate)
    return made


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue(["*.example.test", "www.shop.example.test"])


@pytest.fixture(scope="module")
def host(bare_host: Host) -> Host:
    bare_host.write("/root/app.py", (HERE / "app.py").read_text())
    bare_host.run("systemd-run", "--unit=edge-app", "/usr/bin/python3", "/root/app.py")
    return bare_host


def edge(host: Host, issued: Issued, *arguments: str, sites: list[dict[str, Any]], **variables: Any) -> PlayResult:
    own = {"caddy_certificate": issued.certificate, "caddy_certificate_key": issued.key}
    return host.play(ROLE, *arguments, **{"apps": [], "caddy_sites": sites, **own, **variables})


def changes(result: PlayResult, host: Host) -> int:
    assert result.rc == 0, result.output[-6000:]
    return result.changed(host.name)


def said(result: PlayResult) -> str:
    """What it printed, without the line breaks that Ansible puts into messages."""
    return " ".join(result.output.split())


def current(host: Host, issued: Issued, *more: dict[str, Any], **variables: Any) -> PlayResult:
    return edge(
        host,
        issued,
        sites=[SHOP, *more],
        caddy_trusted_proxies=[PROXY],
        caddy_metrics_address="127.0.0.1:9180",
        **variables,
    )


def curl(host: Host, path: str, *arguments: str, site: str = SITE) -> str:
    return attacker(
        *("curl", "--silent", "--show-error", "--max-time", "20", "--cacert", AUTHORITY),
        *("--resolve", f"{site}:443:{host.address}", *arguments, f"https://{site}{path}"),
        check=False,
    )


def status(host: Host, path: str, *arguments: str, site: str = SITE) -> str:
    told = ("--output", "/dev/null", "--write-out", "%{http_code} %{redirect_url}")
    return curl(host, path, *told, *arguments, site=site).strip()


def test_the_distributions_caddy_serves_what_it_can(host: Host, issued: Issued) -> None:
    result = edge(host, issued, sites=[SHOP], caddy_package_source="distribution")
    assert changes(result, host) > 0
    assert host.run("caddy", "version").startswith("2.6")
    assert "ends WebSockets at every reload" in said(result)
    assert wait_until(lambda: status(host, "/") == "200", seconds=20)
    assert status(host, "/a?b=c", site="www.shop.example.test") == f"308 https://{SITE}/a?b=c"
    assert status(host, "/admin/") == "401"
    assert status(host, "/admin/", "--user", "ops:test") == "200"
    assert status(host, "/office") == "403"
    assert status(host, "/office", "--header", f"X-Forwarded-For: {CLIENT}") == "403", "nobody is trusted"


def test_what_needs_a_newer_caddy_is_refused(host: Host, issued: Issued) -> None:
    result = edge(
        host, issued, sites=[SHOP], caddy_package_source="distribution", caddy_trusted_proxies=["203.0.113.0/24"]
    )
    assert result.rc != 0
    assert "caddy_trusted_proxies: needs Caddy 2.8" in said(result), result.output[-3000:]
    assert result.changed(host.name) == 0


def test_a_current_caddy_takes_its_place(host: Host, issued: Issued) -> None:
    assert changes(current(host, issued), host) > 0
    assert host.run("caddy", "version").startswith("2.11")
    assert wait_until(lambda: status(host, "/") == "200", seconds=20)
    assert changes(current(host, issued), host) == 0, "a second run has nothing to do"


def test_behind_a_trusted_proxy_the_clients_address_counts(host: Host, issued: Issued) -> None:
    assert status(host, "/office") == "403"
    spoofed = ("--header", f"X-Forwarded-For: {CLIENT}, 198.51.100.7")
    assert status(host, "/office", *spoofed) == "403", "what the client claimed itself does not count"
    asked = json.loads(curl(host, "/office", "--header", f"X-Forwarded-For: 198.51.100.7, {CLIENT}"))
    assert asked["headers"]["x-forwarded-for"] == CLIENT
    logged = [json.loads(line) for line in host.run("cat", "/var/log/caddy/access.log").splitlines()]
    assert logged[-1]["request"]["client_ip"] == CLIENT


def test_answers_are_compressed_and_carry_the_headers(host: Host, issued: Issued) -> None:
    head = curl(host, "/page", "--header", "Accept-Encoding: gzip", "--dump-header", "-", "--output", "/dev/null")
    fields = dict(line.lower().split(": ", 1) for line in head.splitlines() if ": " in line)
    assert fields["content-encoding"] == "gzip"
    assert fields["strict-transport-security"] == "max-age=31536000"
    assert fields["x-content-type-options"] == "nosniff"
    assert not {"server", "x-powered-by"} & set(fields)


def test_metrics_are_for_the_host_alone(host: Host, issued: Issued) -> None:
    assert "caddy_http_requests_total" in host.run("curl", "--silent", "http://127.0.0.1:9180/metrics")
    reached = attacker("curl", "--silent", "--max-time", "5", f"http://{host.address}:9180/metrics", check=False)
    assert reached == ""
    assert "caddy_http" not in curl(host, "/metrics")


def test_secrets_are_for_caddy_alone(host: Host, issued: Issued) -> None:
    found = host.run(
        "sh", "-c", "stat -c '%a %U %G %n' /etc/caddy/Caddyfile /etc/caddy/environment /etc/caddy/certificates/*"
    )
    assert {line.rsplit(" ", 1)[0] for line in found.splitlines()} == {"640 root caddy", "600 root root"}
    shown = edge(host, issued, "--check", "--diff", "-vvv", sites=[{**SHOP, "compression": False}])
    assert changes(shown, host) > 0
    assert USER["ops"] not in shown.output
    assert issued.key.splitlines()[2] not in shown.output


def test_a_websocket_outlives_a_new_site_and_a_new_certificate(
    host: Host, issued: Issued, authority: Authority
) -> None:
    script = (HERE / "echo_client.py").read_text()
    with subprocess.Popen(
        inside(ATTACKER, "python3", "-c", script, host.address, SITE, AUTHORITY),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as held:
        assert held.stdin and held.stdout
        head = [held.stdout.readline().strip()]
        assert head[0].startswith("HTTP/1.1 101"), head
        while "before" not in head[-1:]:
            if len(head) == 1:
                held.stdin.write("before\n")
            head.append(held.stdout.readline().strip())
            assert len(head) < 30, head

        other = {"domains": ["other.example.test"], "redirect_to": f"https://{SITE}"}
        assert changes(current(host, issued, other), host) > 0
        assert status(host, "/x", site="other.example.test") == f"308 https://{SITE}/x"
        held.stdin.write("after a new site\n")
        assert held.stdout.readline().strip() == "after a new site"

        renewed = authority.issue(["*.example.test", "www.shop.example.test"])
        assert changes(current(host, renewed, other), host) > 0
        held.stdin.write("after a new certificate\n")
        assert held.stdout.readline().strip() == "after a new certificate"
        held.stdin.close()
    served = attacker(
        "sh",
        "-c",
        f"openssl s_client -connect {host.address}:443 -servername {SITE} </dev/null 2>/dev/null | openssl x509",
    )
    assert served.strip() in renewed.certificate
    files = host.run("sh", "-c", "cat /etc/caddy/certificates/*.pem")
    assert issued.certificate.strip() not in files, "what no site uses any more is removed"


def test_a_dns_provider_without_its_module_is_refused(host: Host, issued: Issued) -> None:
    wildcard = {"domains": ["*.cloud.example.test"], "redirect_to": f"https://{SITE}", "tls": "acme"}
    result = current(host, issued, wildcard, caddy_acme_dns="cloudflare {env.TOKEN}", caddy_email="ops@example.test")
    assert result.rc != 0
    assert "has no module dns.providers.cloudflare" in said(result), result.output[-3000:]
    assert "xcaddy build" in said(result)
