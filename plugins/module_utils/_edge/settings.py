# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Variables of role caddy that concern all sites: their form, and the version of Caddy that they need."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._edge.model import InputError
from ansible_collections.daffathan.platform.plugins.module_utils._edge.options import HEADER_NAME, parse_network

# What caddy_acme_ca knows by name.
AUTHORITIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "zerossl": "https://acme.zerossl.com/v2/DV90",
}
DURATION = (r"(?:0|(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+)", "a time span. Write it like 10s, 5m or 1h")
SIZE = (r"[1-9][0-9]*(?:[KMG]i?B)", "a size. Write it like 64KiB or 50MiB")
FORMS: dict[str, tuple[str, str]] = {
    "email": (r"|[^@\s{}\"]+@[^@\s{}\"]+", "an address of mail. Write it like ops@example.com"),
    "acme_ca": (
        rf"|{'|'.join(AUTHORITIES)}|https?://[^\s{{}}\"]+",
        f"an authority. Write {', '.join(AUTHORITIES)}, or the URL of a directory",
    ),
    "acme_ca_root": (r"|/[A-Za-z0-9._/-]+", "a path on the host. Write it like /etc/ssl/certs/ca.pem"),
    "gateway_socket": (r"/[A-Za-z0-9._/-]+", "the path of a socket"),
    "gateway_wait": DURATION,
    "stream_close_delay": DURATION,
    "read_header_timeout": DURATION,
    "idle_timeout": DURATION,
    "max_header_size": SIZE,
    "log_max_size": SIZE,
    "log_max_files": (r"[1-9][0-9]*", "a number from 1"),
}
PROVIDER = re.compile(r"[a-z0-9_]+")
ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check(role: Mapping[str, Any], version: str) -> list[str]:
    """What is wrong with the variables.

    :param version: of the Caddy that is to read them; empty where nobody knows it yet.
    """
    problems = [
        f"caddy_{name}: {role[name]} is not {remedy}."
        for name, (pattern, remedy) in FORMS.items()
        if isinstance(role[name], bool) or not re.fullmatch(pattern, str(role[name]))
    ]
    for each in (_check_proxies, _check_metrics, _check_acme, _check_environment):
        try:
            each(role)
        except InputError as error:
            problems.append(str(error))
    if role["trusted_proxies"] and version and _older(version, (2, 8)):
        problems.append(
            f"caddy_trusted_proxies: needs Caddy 2.8, and this is {version}: it cannot tell the client behind a proxy, "
            "so logs and allow lists would be wrong. Set caddy_package_source to vendor or file."
        )
    return problems


def _older(version: str, than: tuple[int, int]) -> bool:
    numbers = [int(word) for word in re.findall(r"[0-9]+", version)[:2]]
    return tuple(numbers) < than


def _check_proxies(role: Mapping[str, Any]) -> None:
    for network in role["trusted_proxies"]:
        found = parse_network("caddy_trusted_proxies", network)
        if "." in str(network).partition("/")[2]:
            raise InputError(f"caddy_trusted_proxies: {network} is not how Caddy reads a network. Write {found}.")
        if found.endswith("/0"):
            raise InputError(
                f"caddy_trusted_proxies: {network} is everybody, so any client could choose its address. Give the "
                "networks of the proxies alone."
            )
    for name in role["client_ip_headers"]:
        if not HEADER_NAME.fullmatch(str(name)):
            raise InputError(f"caddy_client_ip_headers: {name} is not the name of a header like X-Forwarded-For.")
    if role["trusted_proxies"] and not role["client_ip_headers"]:
        raise InputError("caddy_client_ip_headers: is empty. Give at least X-Forwarded-For.")


def _check_metrics(role: Mapping[str, Any]) -> None:
    address = str(role["metrics_address"])
    if not address:
        return
    host, found, port = address.rpartition(":")
    try:
        loopback = ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = False
    if not found or not port.isdigit() or not 1 <= int(port) <= 65535 or not loopback:
        raise InputError(
            f"caddy_metrics_address: {address} is not an address of loopback with a port. Write it like "
            "127.0.0.1:9180, or leave it empty for no metrics: they tell names and traffic of all sites."
        )


def _check_acme(role: Mapping[str, Any]) -> None:
    if role["acme_ca"] == "zerossl" and not role["email"]:
        raise InputError("caddy_email: is empty. ZeroSSL (caddy_acme_ca) issues to an address of mail only.")
    binding = role["acme_eab"]
    if binding and not (binding.get("key_id") and binding.get("mac_key")):
        raise InputError("caddy_acme_eab: needs both key_id and mac_key, as the authority gave them.")
    for key in ("key_id", "mac_key"):
        if not re.fullmatch(r"[A-Za-z0-9_=+/.-]*", str(binding.get(key, ""))):
            raise InputError(f"caddy_acme_eab.{key}: has signs that no authority gives out. Copy it again.")
    if role["acme_dns"] and not PROVIDER.fullmatch(provider(role["acme_dns"])):
        raise InputError(
            f"caddy_acme_dns: {provider(role['acme_dns'])} is not the name of a DNS provider. Write it like "
            "`cloudflare {env.CF_API_TOKEN}`."
        )


def provider(acme_dns: str) -> str:
    """The DNS provider that does the challenge; Caddy has its module as dns.providers.<name>."""
    return (acme_dns.split() or [""])[0]


def _check_environment(role: Mapping[str, Any]) -> None:
    for name, value in role["environment"].items():
        if not ENVIRONMENT.fullmatch(str(name)):
            raise InputError(f"caddy_environment.{name}: not a name of a variable (letters, digits and underscores).")
        if not re.fullmatch(r"[ !#-&(-\[\]-~]*", str(value)):
            raise InputError(
                f"caddy_environment.{name}: has a line break, a quote, a backslash or a sign that is not ASCII, which "
                "its file cannot hold."
            )
