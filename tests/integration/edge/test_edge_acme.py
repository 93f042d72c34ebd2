# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate from a real ACME authority, which is the Caddy of another host: issued, and renewed under requests."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.lab import Host, attacker, wait_until
from tests.support.load import ROOT_CERTIFICATE
from tests.support.outside import trust
from tests.support.oven import clients

ROLE = "tests/integration/edge/role.yml"
AUTHORITY, SITE = "ca.example.test", "acme.example.test"
ROOT = "/usr/local/share/acme-authority.crt"
# The shortest that the authority issues.
LIFETIME = "5m"
# Caddy looks every second, and renews when three quarters of the time are left: half a minute after it got one.
SOON = "renew_interval 1s\nrenewal_window_ratio 0.75"


def names(host: Host, **addresses: str) -> None:
    lines = "".join(f"{address} {name}.example.test\n" for name, address in addresses.items())
    host.run("sh", "-c", 'printf %s "$1" >> /etc/hosts', "sh", lines)


def serial(host: Host) -> str:
    """Of the certificate that the site shows."""
    asked = f"openssl s_client -connect {host.address}:443 -servername {SITE} </dev/null 2>/dev/null"
    return attacker("sh", "-c", f"{asked} | openssl x509 -noout -serial", check=False).strip()


def test_a_certificate_is_issued_by_another_host_and_renewed_without_a_failed_request(
    bare_host: Host, extra_host: Callable[[str], Host]
) -> None:
    authority = extra_host("it-edge-authority")
    names(authority, acme=bare_host.address)
    names(bare_host, ca=authority.address)
    server = {"domains": [AUTHORITY], "directives": f"acme_server {{\n\tlifetime {LIFETIME}\n}}"}
    authority.converge(ROLE, apps=[], caddy_tls="internal", caddy_sites=[server])
    assert wait_until(lambda: authority.rc("test", "-e", ROOT_CERTIFICATE) == 0, seconds=30)
    bare_host.write(ROOT, authority.run("cat", ROOT_CERTIFICATE))
    bare_host.converge(
        ROLE,
        apps=[],
        caddy_tls="acme",
        caddy_email="ops@example.test",
        caddy_acme_ca=f"https://{AUTHORITY}/acme/local/directory",
        caddy_acme_ca_root=ROOT,
        caddy_sites=[{"domains": [SITE], "directives": "respond hello"}],
        caddy_options=SOON,
    )
    assert wait_until(lambda: serial(bare_host), seconds=60), bare_host.run("journalctl", "-u", "caddy", "-n", "50")
    first = serial(bare_host)

    with clients(bare_host, domain=SITE, path="/", rate=20, authority=trust(authority)) as answers:
        renewed = wait_until(lambda: serial(bare_host) not in ("", first), seconds=90)
        assert renewed, bare_host.run("journalctl", "-u", "caddy", "-n", "50")
    assert answers.failed() == {}
    assert sum(answers.values()) > 100
