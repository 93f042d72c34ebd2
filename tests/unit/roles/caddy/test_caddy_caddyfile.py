# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Caddyfile that role caddy writes, as a whole, and what Caddy reads out of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.roles.caddy.caddyfile import CURRENT, FAKE_HASH, OLD, caddyfile, templated
from tests.unit.roles.caddy.served import CADDY

GOLDEN = Path(__file__).parent / "golden"
LABS: dict[str, Any] = {"name": "labs", "domains": ["labs.example.com", "labs.example.org"]}
EVERYTHING: dict[str, Any] = {
    "apps": [
        {
            **LABS,
            "site": {
                "redirect_from": ["www.labs.example.com"],
                "redirect_status": 301,
                "hsts_include_subdomains": True,
                "hsts_preload": True,
                "headers": {"Content-Security-Policy": 'default-src "self"', "X-Frame-Options": ""},
                "access_rules": [
                    {"paths": ["/admin", "/ops/"], "allow": ["203.0.113.0/24"], "users": {"ops": FAKE_HASH}},
                    {"paths": ["/office"], "allow": ["private_ranges", "2001:db8::/32"]},
                ],
                "directives": "request_body {\n\tmax_size 10MB\n}",
            },
        },
        {"name": "intern"},
        {"name": "shop", "domains": ["shop.example.com"], "site": {"hsts_max_age": 0, "compression": False}},
    ],
    "caddy_sites": [
        {"domains": ["old.example.com"], "redirect_to": "https://labs.example.com/new/"},
        {"domains": ["grafana.example.com"], "proxy_to": ["127.0.0.1:3000", "127.0.0.1:3001"], "tls": "internal"},
        {"domains": ["raw.example.com"], "directives": 'respond "hello"\n'},
    ],
    "caddy_email": "ops@example.com",
    "caddy_acme_ca": "letsencrypt-staging",
    "caddy_acme_eab": {"key_id": "id", "mac_key": "mac"},
    "caddy_http3": False,
    "caddy_metrics_address": "127.0.0.1:9180",
    "caddy_options": "renew_interval 1h\nstorage_clean_interval 7d\n",
}
# No older one has it.
CURRENT_ONLY = {
    "caddy_trusted_proxies": ["203.0.113.0/24", "private_ranges"],
    "caddy_client_ip_headers": ["CF-Connecting-IP"],
}
CASES = {
    "everything": (CURRENT, {**EVERYTHING, **CURRENT_ONLY}),
    "everything-2.6.2": (OLD, EVERYTHING),
    "defaults": (CURRENT, {"apps": [LABS]}),
}


def adapted(text: str) -> dict[str, Any]:
    """What Caddy makes of it."""
    argv = [CADDY, "adapt", "--adapter", "caddyfile", "--config", "-"]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_whole_file(case: str, tmp_path: Path) -> None:
    version, variables = CASES[case]
    text = caddyfile(variables, version)
    assert text == (GOLDEN / f"{case}.Caddyfile").read_text()
    # Validation opens the log.
    (tmp_path / "Caddyfile").write_text(text.replace("/var/log/caddy", str(tmp_path)))
    environment = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    argv = [CADDY, "validate", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile")]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("default", ["acme", "internal"])
@pytest.mark.parametrize("others", [["acme"], ["internal"], ["acme", "internal"]], ids="+".join)
def test_sites_may_differ_in_where_their_certificates_come_from(default: str, others: list[str]) -> None:
    sites = [{"domains": [f"{tls}.example.com"], "tls": tls, "directives": "abort"} for tls in others]
    found = adapted(caddyfile({"caddy_tls": default, "apps": [LABS], "caddy_sites": sites}))
    # Where no site differs there is nothing to be said.
    policies = found["apps"].get("tls", {"automation": {"policies": []}})["automation"]["policies"]
    issuers = {
        name: [issuer["module"] for issuer in policy.get("issuers", [{"module": "acme"}])]
        for policy in policies
        for name in policy.get("subjects", ["every other name"])
    }
    for name, wanted in [(LABS["domains"][0], default), *((f"{tls}.example.com", tls) for tls in others)]:
        assert issuers.get(name, issuers.get("every other name", ["acme"])) == [wanted]


def test_a_dns_provider_is_passed_on() -> None:
    dns = "example {\n\ttoken {env.TOKEN}\n}"
    text = caddyfile({"apps": [{"name": "labs", "domains": ["*.example.com"]}], "caddy_acme_dns": dns})
    assert "\tacme_dns example {\n\t\ttoken {env.TOKEN}\n\t}\n" in text
    assert templated("{{ __caddy_edge.dns_provider }}", {"caddy_acme_dns": dns}) == "example"


HEADER_VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"), min_size=1).filter(
    lambda text: "{$" not in text
)


@settings(max_examples=20)
@given(st.lists(HEADER_VALUE, min_size=1, max_size=20))
def test_whatever_a_header_holds_arrives_at_caddy_as_it_is(values: list[str]) -> None:
    headers = {f"X-{number}": value for number, value in enumerate(values)}
    text = caddyfile({"apps": [{**LABS, "site": {"headers": headers}}], "caddy_headers": {}})
    found: dict[str, str] = {}

    def collect(node: object) -> None:
        if isinstance(node, dict):
            for name, words in (node.get("response") or {}).get("set", {}).items() if "response" in node else ():
                found[name] = words[0]
            for child in node.values():
                collect(child)
        elif isinstance(node, list):
            for child in node:
                collect(child)

    collect(adapted(text))
    assert {name: value for name, value in found.items() if name in headers} == headers
