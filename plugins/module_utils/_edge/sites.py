# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""All sites of a host from the variables of role caddy, with everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._edge import options
from ansible_collections.daffathan.platform.plugins.module_utils._edge.certificates import covers, parse_certificate
from ansible_collections.daffathan.platform.plugins.module_utils._edge.domains import Owners, is_address, parse_domain
from ansible_collections.daffathan.platform.plugins.module_utils._edge.model import (
    Access,
    Certificate,
    InputError,
    Site,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import APP_NAME

# Each of them is, with `caddy_` before it, also a variable of the role: the default of all sites.
SHARED = (
    *("tls", "certificate", "certificate_key", "hsts_max_age", "hsts_include_subdomains", "hsts_preload", "headers"),
    "compression",
)
OF_ALL_SITES = (*SHARED, "redirect_from", "redirect_status", "access_rules", "directives")
OF_OWN_SITES = ("domains", "redirect_to", "proxy_to", *OF_ALL_SITES)
ISSUERS = ("acme", "internal")
OWN = "own"


@dataclass
class Edge:
    """What Caddy is to serve. With problems it must not be written anywhere."""

    sites: list[Site] = field(default_factory=list)
    certificates: dict[str, str] = field(default_factory=dict, repr=False)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Entry:
    """One site as the user wrote it."""

    where: str
    domains_at: str
    domains: object
    given: Mapping[str, Any]
    known: tuple[str, ...]
    app: bool


class _Collector:
    """Goes on behind what is wrong, so that one run shows all of it."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        if isinstance(error, InputError):
            self.problems.append(str(error))
            return True
        return False


def parse_edge(apps: object, own_sites: object, role: Mapping[str, Any], now: datetime) -> Edge:
    """:param role: the variables of the role without `caddy_`, the defaults of all sites among them."""
    collect = _Collector()
    edge = Edge(problems=collect.problems)
    owners = Owners()
    issued: list[tuple[_Entry, Site]] = []
    own: list[tuple[_Entry, Certificate]] = []
    for entry in _entries(apps, own_sites, collect):
        before = len(collect.problems)
        site, certificate = _parse_site(entry, role, owners, now, collect)
        if len(collect.problems) == before:
            edge.sites.append(site)
            issued.append((entry, site))
            if certificate is not None:
                edge.certificates[certificate.name] = certificate.pem
                own.append((entry, certificate))
    _check_covered(issued, own, collect)
    # A wrong default of the role is wrong in each site.
    edge.problems = list(dict.fromkeys(collect.problems))
    return edge


def _check_covered(
    issued: list[tuple[_Entry, Site]], own: list[tuple[_Entry, Certificate]], collect: _Collector
) -> None:
    """Caddy asks nobody for a certificate of a name that it has one for already, whichever site that belongs to."""
    for entry, site in issued:
        if site.tls == OWN or "tls" not in entry.given:
            continue
        for other, certificate in own:
            taken = [name for name in (*site.domains, *site.redirect_from) if covers(certificate.covers, name)]
            if taken:
                collect.problems.append(
                    f"{entry.where}.tls: {site.tls} for {', '.join(taken)}, but the certificate of {other.where} is "
                    "for it too, and Caddy serves that one. Leave `tls` out, or give that site a certificate for its "
                    "own names alone."
                )


def _entries(apps: object, own_sites: object, collect: _Collector) -> list[_Entry]:
    entries = []
    for app in apps if isinstance(apps, list) else []:
        where = f"apps[{app.get('name')}]"
        with collect:
            if not APP_NAME.fullmatch(str(app.get("name"))):
                raise InputError(f"apps: {app.get('name')!r} is not a name of an app like my-app.")
            given = _mapping(f"{where}.site", app.get("site") or {})
            domains = app.get("domains") or []
            if given and not domains:
                raise InputError(f"{where}.site: the app has no `domains`, so nothing would be served. Give it some.")
            if domains:
                entries.append(_Entry(f"{where}.site", f"{where}.domains", domains, given, OF_ALL_SITES, True))
    for number, own in enumerate(own_sites if isinstance(own_sites, list) else []):
        where = f"caddy_sites[{number}]"
        with collect:
            given = _mapping(where, own)
            entries.append(_Entry(where, f"{where}.domains", given.get("domains") or [], given, OF_OWN_SITES, False))
    return entries


def _mapping(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: is not a mapping. Write for example {{compression: false}}.")
    return {str(key): content for key, content in value.items() if content is not None}


def _parse_site(
    entry: _Entry, role: Mapping[str, Any], owners: Owners, now: datetime, collect: _Collector
) -> tuple[Site, Certificate | None]:
    given, where = entry.given, entry.where
    with collect:
        unknown = sorted(set(given) - set(entry.known))
        if unknown:
            raise InputError(f"{where}.{unknown[0]}: there is no such option. Known are {', '.join(entry.known)}.")
    found: dict[str, Any] = {}
    found["domains"] = _parse_names(entry.domains_at, entry.domains, owners, collect)
    if not entry.domains:
        collect.problems.append(f"{entry.domains_at}: is empty. Give the host names of the site.")
    redirected = given.get("redirect_from", [])
    found["redirect_from"] = _parse_names(f"{where}.redirect_from", redirected, owners, collect)
    if found["redirect_from"]:
        plain = [domain for domain in found["domains"] if not domain.startswith("*.")]
        found["canonical"] = plain[0] if plain else ""
        if found["domains"] and not plain:
            collect.problems.append(
                f"{where}.redirect_from: {', '.join(found['domains'])} is no name to redirect to. "
                "Put one without a wildcard first."
            )
    for key, parse in (
        ("redirect_status", options.parse_redirect_status),
        ("redirect_to", options.parse_redirect_to),
        ("proxy_to", options.parse_proxy_to),
    ):
        if key in given:
            with collect:
                found[key] = parse(f"{where}.{key}", given[key])
    found["directives"] = str(given.get("directives", "")).strip()
    _check_purpose(entry, found, collect)

    shared = {key: given.get(key, role[key]) for key in SHARED}
    with collect:
        # Where one of them is the site's, the rule they break is the site's as well.
        ours = any(key in given for key in ("hsts_max_age", "hsts_include_subdomains", "hsts_preload"))
        found["hsts"] = options.parse_hsts(
            f"{where}." if ours else "caddy_",
            shared["hsts_max_age"],
            shared["hsts_include_subdomains"],
            shared["hsts_preload"],
        )
    with collect:
        headers = options.parse_headers("caddy_headers", role["headers"])
        headers.update(options.parse_headers(f"{where}.headers", given.get("headers", {})))
        found["headers"] = tuple((name, text) for name, text in sorted(headers.items()) if text)
    with collect:
        at = f"{where}.compression" if "compression" in given else "caddy_compression"
        found["compression"] = options.parse_bool(at, shared["compression"])
    found["access_rules"] = _parse_access(f"{where}.access_rules", given.get("access_rules", []), collect)
    certificate = None
    with collect:
        found["tls"], certificate = _parse_tls(entry, role, (*found["domains"], *found["redirect_from"]), now)
    if certificate is not None:
        found["certificate"] = certificate.name
    return Site(where=where, app=entry.app, **found), certificate


def _parse_names(where: str, value: object, owners: Owners, collect: _Collector) -> tuple[str, ...]:
    names = []
    listed: list[Any] = []
    with collect:
        listed = options.parse_list(where, value, "[www.example.com]")
    for name in listed:
        with collect:
            names.append(parse_domain(where, name))
            owners.claim(where, names[-1])
    return tuple(names)


def _check_purpose(entry: _Entry, found: Mapping[str, Any], collect: _Collector) -> None:
    """Something has to answer a request, and one thing only."""
    where = entry.where
    answers = [key for key in ("redirect_to", "proxy_to") if found.get(key)]
    if len(answers) > 1:
        collect.problems.append(f"{where}.redirect_to: {found['redirect_to']} beside proxy_to. Remove one of them.")
    given = [key for key in ("redirect_to", "proxy_to", "directives") if entry.given.get(key)]
    if not entry.app and not given:
        collect.problems.append(
            f"{where}: nothing would answer. Give redirect_to (https://www.example.com), proxy_to ([127.0.0.1:9000]), "
            "or directives of the Caddyfile."
        )
    target = str(found.get("redirect_to", "")).partition("://")[2].partition("/")[0]
    if target in found["domains"]:
        collect.problems.append(
            f"{where}.redirect_to: {found['redirect_to']} leads back to the site itself. Redirect to another host name."
        )


def _parse_access(where: str, value: object, collect: _Collector) -> tuple[Access, ...]:
    rules = []
    listed: list[Any] = []
    with collect:
        listed = options.parse_list(where, value, "[{paths: [/admin], allow: [203.0.113.0/24]}]")
    for number, rule in enumerate(listed):
        with collect:
            rules.append(options.parse_access_rule(f"{where}[{number}]", rule))
    return tuple(rules)


def _parse_tls(
    entry: _Entry, role: Mapping[str, Any], names: tuple[str, ...], now: datetime
) -> tuple[str, Certificate | None]:
    given, where = entry.given, entry.where
    own = [key for key in ("certificate", "certificate_key") if given.get(key)]
    if own and "tls" in given:
        raise InputError(f"{where}.tls: {given['tls']} beside {own[0]}. Remove one of them.")
    shared = not own and "tls" not in given and (role["certificate"] or role["certificate_key"])
    if own or shared:
        pair = role if shared else given
        certificate = parse_certificate(
            "caddy_" if shared else f"{where}.",
            str(pair.get("certificate", "")),
            str(pair.get("certificate_key", "")),
            names,
            now,
        )
        return OWN, certificate
    issuer = given.get("tls", role["tls"])
    at = f"{where}.tls" if "tls" in given else "caddy_tls"
    if issuer not in ISSUERS:
        raise InputError(f"{at}: {issuer!r} is not one of {', '.join(ISSUERS)}.")
    if issuer == "acme":
        for name in names:
            if is_address(name):
                raise InputError(f"{entry.domains_at}: {name} is an address. Use a host name, or `tls: internal`.")
            if name.startswith("*.") and not role["acme_dns"]:
                raise InputError(
                    f"{entry.domains_at}: authorities issue a certificate for {name} by the DNS challenge only. Set "
                    "caddy_acme_dns, give a certificate and its certificate_key, or set `tls: internal`."
                )
    return str(issuer), None
