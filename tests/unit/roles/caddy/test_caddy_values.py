# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role caddy says of variables before it changes anything."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.certificates import Authority
from tests.unit.roles.caddy.caddyfile import CURRENT, FAKE_HASH, OLD, problems

AUTHORITY = Authority()
SHOP = AUTHORITY.issue(["shop.example.com", "*.shop.example.com"])
OTHER = AUTHORITY.issue(["other.example.com"])
NOW = datetime.now(timezone.utc)
DAY = timedelta(days=1)
PASSWORD = "canary-2f9d41"


def app(**site: Any) -> dict[str, Any]:
    return {"apps": [{"name": "labs", "domains": ["labs.example.com"], "site": site}]}


def domain(*names: Any) -> dict[str, Any]:
    return {"apps": [{"name": "labs", "domains": list(names)}]}


def own(**site: Any) -> dict[str, Any]:
    return {"caddy_sites": [{"domains": ["shop.example.com"], "redirect_to": "https://labs.example.com", **site}]}


def rule(**content: Any) -> dict[str, Any]:
    return app(access_rules=[content])


BAD_VALUES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("URL", domain("https://labs.example.com/x"), ["apps[labs].domains: https", "a URL", "Write labs.example.com."]),
    ("path", domain("labs.example.com/x"), ["apps[labs].domains", "a path", "Write labs.example.com."]),
    ("port", domain("labs.example.com:8443"), ["labs.example.com:8443", "port", "Write labs.example.com."]),
    ("dot", domain("labs.example.com."), ["ends with a dot", "Write labs.example.com."]),
    ("IDN", domain("München.example"), ["München.example", "Write xn--mnchen-3ya.example."]),
    ("star inside", domain("a.*.example.com"), ["a.*.example.com", "whole first label"]),
    ("half a star", domain("a*.example.com"), ["a*.example.com", "whole first label"]),
    ("star alone", domain("*"), ["apps[labs].domains: *", "whole first label"]),
    ("whole top level", {**domain("*.com"), "caddy_tls": "internal"}, ["*.com", "top-level"]),
    ("space", domain("labs example.com"), ["'labs example.com'", "www.example.com"]),
    ("line break", domain("labs.example.com\nx"), ["is not a host name"]),
    ("hyphen", domain("-labs.example.com"), ["'-labs.example.com'"]),
    ("long label", domain("a" * 64 + ".example.com"), ["63"]),
    ("number", domain(7), ["7", "www.example.com"]),
    ("text for a list", {"apps": [{"name": "labs", "domains": "labs.example.com"}]}, ["is not a list"]),
    ("address by ACME", domain("192.0.2.7"), ["192.0.2.7", "tls: internal"]),
    ("wildcard by ACME", domain("*.example.com"), ["*.example.com", "caddy_acme_dns"]),
    ("twice", domain("labs.example.com", "LABS.example.com"), ["apps[labs].domains: labs.example.com", "twice"]),
    (
        "two apps",
        {"apps": [{"name": "labs", "domains": ["a.example.com"]}, {"name": "shop", "domains": ["A.Example.com"]}]},
        ["apps[shop].domains: a.example.com is in apps[labs].domains too", "remove one"],
    ),
    (
        "app and own site",
        {**app(), "caddy_sites": [{"domains": ["labs.example.com"], "directives": "abort"}]},
        ["caddy_sites[0].domains: labs.example.com is in apps[labs].domains too"],
    ),
    (
        "redirect of a domain",
        {**app(redirect_from=["www.example.com"]), **own(domains=["www.example.com"])},
        ["caddy_sites[0].domains: www.example.com is in apps[labs].site.redirect_from too"],
    ),
    (
        "redirect to itself",
        app(redirect_from=["labs.example.com"]),
        ["redirect_from: labs.example.com is in apps[labs]"],
    ),
    ("redirect loop", own(redirect_to="https://shop.example.com/x"), ["caddy_sites[0].redirect_to", "itself"]),
    ("redirect to a name", own(redirect_to="labs.example.com"), ["'labs.example.com'", "https://www.example.com"]),
    ("redirect to text", own(redirect_to="https://a.example.com/ {x}"), ["redirect_to"]),
    ("redirect status", app(redirect_from=["a.example.com"], redirect_status=200), ["redirect_status: 200", "308"]),
    (
        "redirect to a wildcard",
        {
            "caddy_tls": "internal",
            "apps": [{"name": "l", "domains": ["*.example.com"], "site": {"redirect_from": ["b.io"]}}],
        },
        ["apps[l].site.redirect_from", "without a wildcard first"],
    ),
    ("nothing answers", {"caddy_sites": [{"domains": ["a.example.com"]}]}, ["caddy_sites[0]: nothing", "proxy_to"]),
    ("two answer", own(proxy_to=["127.0.0.1:1"]), ["caddy_sites[0].redirect_to", "beside proxy_to"]),
    ("no domain", own(domains=[]), ["caddy_sites[0].domains: is empty"]),
    ("site of an app without domains", {"apps": [{"name": "a", "site": {"tls": "acme"}}]}, ["apps[a].site", "domains"]),
    ("unknown option", app(redirect_form=["a.example.com"]), ["apps[labs].site.redirect_form", "redirect_from"]),
    ("option of own sites", app(proxy_to=["127.0.0.1:1"]), ["apps[labs].site.proxy_to: there is no such option"]),
    ("site that is no mapping", {"apps": [{"name": "a", "domains": ["a.io"], "site": ["x"]}]}, ["not a mapping"]),
    ("name of an app", {"apps": [{"name": "a\n}", "domains": ["a.io"]}]}, ["is not a name of an app"]),
    (
        "upstream",
        {"caddy_sites": [{"domains": ["a.io"], "proxy_to": ["a.io"]}]},
        ["proxy_to: 'a.io'", "127.0.0.1:9000"],
    ),
    (
        "upstreams of two kinds",
        {"caddy_sites": [{"domains": ["a.io"], "proxy_to": ["127.0.0.1:1", "h2c://127.0.0.1:2"]}]},
        ["differ in their scheme"],
    ),
    ("tls", app(tls="letsencrypt"), ["apps[labs].site.tls: 'letsencrypt'", "acme, internal"]),
    ("hsts", app(hsts_max_age="1y"), ["apps[labs].site.hsts_max_age: '1y'", "seconds"]),
    ("hsts of the role", {**app(), "caddy_hsts_max_age": -1}, ["caddy_hsts_max_age: -1"]),
    ("preload", app(hsts_preload=True), ["apps[labs].site.hsts_preload", "hsts_include_subdomains", "31536000"]),
    ("compression", app(compression="gzip"), ["apps[labs].site.compression: 'gzip'", "true or false"]),
    ("name of a header", app(headers={"X Frame": "DENY"}), ["apps[labs].site.headers: 'X Frame'"]),
    ("line break in a header", app(headers={"X-A": "a\nb"}), ["apps[labs].site.headers.X-A", "line break"]),
    ("variable in a header", app(headers={"X-A": "{$HOME}"}), ["headers.X-A", "{$"]),
    ("hsts as a header", app(headers={"strict-transport-security": "max-age=1"}), ["hsts_max_age"]),
    ("header of the role", {**app(), "caddy_headers": {"X-A": "é"}}, ["caddy_headers.X-A"]),
    ("rule without effect", rule(paths=["/admin"]), ["apps[labs].site.access_rules[0]", "`allow`", "`users`"]),
    ("rule with a wrong key", rule(path="/admin"), ["access_rules[0].path", "paths, allow, users"]),
    ("rule for a pattern", rule(paths=["/admin/*"], allow=["192.0.2.1"]), ["'/admin/*'", "all below it"]),
    ("rule for nothing", rule(paths=[], allow=["192.0.2.1"]), ["paths: is empty"]),
    ("host bits", rule(allow=["203.0.113.7/24"]), ["203.0.113.7/24", "Write 203.0.113.0/24"]),
    ("network", rule(allow=["office"]), ["access_rules[0].allow: office", "203.0.113.0/24"]),
    ("password in the clear", rule(users={"ops": PASSWORD}), ["access_rules[0].users.ops", "bcrypt", "htpasswd"]),
    ("cheap hash", rule(users={"ops": FAKE_HASH.replace("$10$", "$04$")}), ["users.ops", "cost 4"]),
    ("dear hash", rule(users={"ops": FAKE_HASH.replace("$10$", "$20$")}), ["users.ops", "cost 20"]),
    ("name of a user", rule(users={"o p": FAKE_HASH}), ["users: 'o p'"]),
    (
        "key of another certificate",
        own(certificate=SHOP.certificate, certificate_key=OTHER.key),
        ["caddy_sites[0].certificate_key", "does not belong", "shop.example.com"],
    ),
    ("certificate without a key", own(certificate=SHOP.certificate), ["caddy_sites[0].certificate_key: missing"]),
    ("key without a certificate", own(certificate_key=SHOP.key), ["caddy_sites[0].certificate: missing"]),
    (
        "certificate by path",
        own(certificate="/etc/x.crt", certificate_key=SHOP.key),
        ["caddy_sites[0].certificate", "lookup"],
    ),
    (
        "key for a certificate",
        own(certificate=SHOP.key, certificate_key=SHOP.key),
        ["caddy_sites[0].certificate: cannot"],
    ),
    (
        "certificate for a key",
        own(certificate=SHOP.certificate, certificate_key=SHOP.certificate),
        ["certificate_key: cannot"],
    ),
    (
        "issuer beside a certificate",
        own(certificate=SHOP.certificate, certificate_key=SHOP.key, tls="acme"),
        ["caddy_sites[0].tls", "beside certificate"],
    ),
    (
        "certificate for another name",
        own(certificate=OTHER.certificate, certificate_key=OTHER.key),
        ["caddy_sites[0].certificate: is for other.example.com, not for shop.example.com"],
    ),
    (
        "certificate that leaves the redirect out",
        own(certificate=SHOP.certificate, certificate_key=SHOP.key, redirect_from=["a.b.shop.example.com"]),
        ["caddy_sites[0].certificate", "not for a.b.shop.example.com"],
    ),
    (
        "chain out of order",
        own(certificate=AUTHORITY.certificate + SHOP.certificate, certificate_key=SHOP.key),
        ["caddy_sites[0].certificate: the chain is out of order"],
    ),
    (
        "issuer for a name that has a certificate",
        {
            "caddy_sites": [
                {**own()["caddy_sites"][0], "certificate": SHOP.certificate, "certificate_key": SHOP.key},
                {"domains": ["a.shop.example.com"], "tls": "acme", "directives": "abort"},
            ]
        },
        ["caddy_sites[1].tls: acme for a.shop.example.com", "certificate of caddy_sites[0]"],
    ),
    (
        "certificate of the role",
        {**app(), "caddy_certificate": SHOP.certificate, "caddy_certificate_key": SHOP.key},
        ["caddy_certificate: is for shop.example.com", "labs.example.com"],
    ),
    (
        "proxies as a netmask",
        {"caddy_trusted_proxies": ["203.0.113.0/255.255.255.0"]},
        ["caddy_trusted_proxies: 203.0.113.0/255.255.255.0", "Write 203.0.113.0/24"],
    ),
    ("proxies", {"caddy_trusted_proxies": ["cdn"]}, ["caddy_trusted_proxies: cdn", "203.0.113.0/24"]),
    ("everybody a proxy", {"caddy_trusted_proxies": ["0.0.0.0/0"]}, ["caddy_trusted_proxies: 0.0.0.0/0", "everybody"]),
    ("client header", {"caddy_client_ip_headers": ["X IP"]}, ["caddy_client_ip_headers: X IP"]),
    (
        "no client header",
        {"caddy_trusted_proxies": ["192.0.2.1"], "caddy_client_ip_headers": []},
        ["caddy_client_ip_headers: is empty"],
    ),
    (
        "public metrics",
        {"caddy_metrics_address": "0.0.0.0:9180"},
        ["caddy_metrics_address: 0.0.0.0:9180", "127.0.0.1:9180"],
    ),
    ("metrics without a port", {"caddy_metrics_address": "127.0.0.1"}, ["caddy_metrics_address: 127.0.0.1"]),
    ("mail", {"caddy_email": "ops"}, ["caddy_email: ops", "ops@example.com"]),
    ("authority", {"caddy_acme_ca": "letsencrypt-stage"}, ["caddy_acme_ca: letsencrypt-stage", "letsencrypt-staging"]),
    ("ZeroSSL without mail", {"caddy_acme_ca": "zerossl"}, ["caddy_email: is empty", "ZeroSSL"]),
    ("half a binding", {"caddy_acme_eab": {"key_id": "a"}}, ["caddy_acme_eab", "mac_key"]),
    (
        "binding with a brace",
        {"caddy_acme_eab": {"key_id": "a", "mac_key": PASSWORD + "}"}},
        ["caddy_acme_eab.mac_key"],
    ),
    ("DNS provider", {"caddy_acme_dns": "Cloud-flare x"}, ["caddy_acme_dns: Cloud-flare", "cloudflare"]),
    ("name in the environment", {"caddy_environment": {"A B": "x"}}, ["caddy_environment.A B"]),
    ("value in the environment", {"caddy_environment": {"A": PASSWORD + "'"}}, ["caddy_environment.A", "quote"]),
    ("time span", {"caddy_stream_close_delay": "forever"}, ["caddy_stream_close_delay: forever", "1h"]),
    ("time span of the gateway", {"caddy_gateway_wait": 20}, ["caddy_gateway_wait: 20", "10s"]),
    ("size", {"caddy_max_header_size": "64"}, ["caddy_max_header_size: 64", "64KiB"]),
    ("number of logs", {"caddy_log_max_files": 0}, ["caddy_log_max_files: 0"]),
]

GOOD_VALUES: list[dict[str, Any]] = [
    {},
    app(),
    domain("Labs.Example.com", "xn--mnchen-3ya.example", "a-b.c"),
    {**domain("*.example.com", "example.com"), "caddy_tls": "internal"},
    {
        **domain("*.example.com"),
        "caddy_acme_dns": "cloudflare {env.CF_API_TOKEN}",
        "caddy_environment": {"CF_API_TOKEN": "x{y}$z %"},
    },
    {**domain("192.0.2.7"), "caddy_tls": "internal"},
    app(redirect_from=["www.labs.example.com", "example.org"], redirect_status=301, tls="internal"),
    app(hsts_max_age=0, headers={"X-Frame-Options": None, "Content-Security-Policy": "default-src 'self'; img-src *"}),
    app(hsts_preload=True, hsts_include_subdomains=True, directives="header X-A b"),
    app(
        access_rules=[
            {"paths": ["/admin", "/ops/"], "allow": ["private_ranges", "2001:db8::/32"], "users": {"a@b": FAKE_HASH}}
        ]
    ),
    own(
        certificate=SHOP.certificate + AUTHORITY.certificate,
        certificate_key=SHOP.key,
        redirect_from=["www.shop.example.com"],
    ),
    {**own(), "caddy_certificate": SHOP.certificate, "caddy_certificate_key": SHOP.key},
    {**own(tls="acme"), "caddy_certificate": OTHER.certificate, "caddy_certificate_key": OTHER.key},
    {"caddy_sites": [{"domains": ["a.io"], "proxy_to": ["h2c://[::1]:9000", "h2c://app.internal:9000"]}]},
    {"caddy_sites": [{"domains": ["a.io"], "proxy_to": ["unix//run/a.sock"], "directives": "header X-A b"}]},
    {
        "caddy_trusted_proxies": ["private_ranges", "203.0.113.0/24", "2001:db8::1"],
        "caddy_client_ip_headers": ["CF-Connecting-IP"],
    },
    {"caddy_acme_ca": "zerossl", "caddy_email": "ops@example.com", "caddy_acme_eab": {"key_id": "a", "mac_key": "b=="}},
    {"caddy_acme_ca": "https://ca.internal:9000/acme/directory", "caddy_acme_ca_root": "/etc/ssl/ca.pem"},
    {"caddy_metrics_address": "[::1]:9180", "caddy_stream_close_delay": "1h30m", "caddy_max_header_size": "1MB"},
]


@pytest.mark.parametrize(("what", "variables", "words"), BAD_VALUES, ids=[row[0] for row in BAD_VALUES])
def test_a_bad_value_alone_is_named_with_its_remedy(what: str, variables: dict[str, Any], words: list[str]) -> None:
    (problem,) = problems(variables)
    assert [word for word in words if word not in problem] == [], problem
    assert PASSWORD not in problem
    assert "PRIVATE" not in problem


@pytest.mark.parametrize("variables", GOOD_VALUES, ids=[str(row)[:60] for row in GOOD_VALUES])
def test_good_values_are_no_problem(variables: dict[str, Any]) -> None:
    assert problems(variables) == []


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [
        (NOW - 3 * DAY, NOW - DAY, ["caddy_sites[0].certificate", "shop.example.com expired on", "Renew"]),
        (NOW + DAY, NOW + 3 * DAY, ["caddy_sites[0].certificate", "valid from", "clock"]),
    ],
    ids=["expired", "not yet valid"],
)
def test_a_certificate_has_to_be_valid_now(begin: datetime, end: datetime, words: list[str]) -> None:
    issued = AUTHORITY.issue(["shop.example.com"], begin=begin, end=end)
    (problem,) = problems(own(certificate=issued.certificate, certificate_key=issued.key))
    assert [word for word in words if word not in problem] == [], problem


def test_an_encrypted_key_is_refused() -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from tests.support.certificates import pem_of_key

    key = pem_of_key(load_pem_private_key(SHOP.key.encode(), None), PASSWORD.encode())  # type: ignore[arg-type]
    (problem,) = problems(own(certificate=SHOP.certificate, certificate_key=key))
    assert "caddy_sites[0].certificate_key: is encrypted" in problem


def test_one_run_shows_all_problems() -> None:
    wrong = {
        **app(tls="x", compression=1, redirect_from=["a b"]),
        "caddy_email": "ops",
        "caddy_acme_eab": {"key_id": "a"},
    }
    assert len(problems(wrong)) == 5


def test_what_needs_a_newer_caddy_is_refused() -> None:
    variables = {"caddy_trusted_proxies": ["192.0.2.1"]}
    assert problems(variables, CURRENT) == []
    (problem,) = problems(variables, OLD)
    assert "caddy_trusted_proxies: needs Caddy 2.8, and this is 2.6.2" in problem
    assert "vendor or file" in problem


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=2, max_size=4).map(".".join).filter(lambda name: not name.replace(".", "").isdigit())


@given(st.lists(NAME, min_size=1, max_size=4, unique=True), st.data())
def test_each_name_belongs_to_one_site(names: list[str], data: st.DataObject) -> None:
    """Whatever the case, and wherever the second one stands."""
    sites = [{"domains": [name], "directives": "abort"} for name in names]
    assert problems({"caddy_sites": sites}) == []
    again = data.draw(st.sampled_from(names))
    other = "".join(letter.upper() if data.draw(st.booleans()) else letter for letter in again)
    place = data.draw(st.sampled_from(["domains", "redirect_from"]))
    more: dict[str, Any] = {"domains": ["unique.example.com"], "directives": "abort"}
    more[place] = [*more.get(place, []), other]
    (problem,) = problems({"caddy_sites": [*sites, more]})
    assert f"caddy_sites[{len(names)}].{place}: {again} is in caddy_sites[{names.index(again)}].domains too" in problem


@given(st.text(max_size=20))
def test_any_text_as_a_domain_is_taken_or_refused_by_name(text: str) -> None:
    for problem in problems({"caddy_sites": [{"domains": [text], "directives": "abort"}]}):
        assert problem.startswith("caddy_sites[0].domains: ")
