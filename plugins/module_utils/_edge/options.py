# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The options that every site has, each parsed by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._common import networks
from ansible_collections.daffathan.platform.plugins.module_utils._edge.model import Access, InputError

REDIRECTS = (301, 302, 307, 308)
PATH = re.compile(r"/[A-Za-z0-9._~/-]*")
HEADER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
# Neither `{$`, which Caddy replaces when it reads the file, nor what would end the quotes around it.
HEADER_VALUE = re.compile(r"(?!.*\{\$)[ !#-\[\]-~\"]+")
BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53}")
USER = re.compile(r"[A-Za-z0-9._@-]{1,64}")
HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
TARGET = re.compile(rf"https?://{HOST}(?::[0-9]{{1,5}})?(?:/[A-Za-z0-9._~/%-]*)?")
UPSTREAM = re.compile(rf"(?:(?P<scheme>https?|h2c)://)?{HOST}:[0-9]{{1,5}}|unix/(?P<path>/[A-Za-z0-9._/-]+)")
# Networks that Caddy knows by name.
PRIVATE = "private_ranges"
# A browser's list of sites that are reached by HTTPS only takes no site with less: https://hstspreload.org
PRELOAD_MIN_AGE = 31536000
# A cheaper hash is tried out too fast, and a dearer one keeps the processor busy for anybody who sends a password.
BCRYPT_COSTS = range(10, 16)


def parse_bool(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{where}: {value!r} is not true or false.")
    return value


def parse_seconds(where: str, value: object) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,10}", str(value)):
        raise InputError(f"{where}: {value!r} is not a number of seconds from 0.")
    return int(str(value))


def parse_list(where: str, value: object, example: str) -> list[Any]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise InputError(f"{where}: {value!r} is not a list. Write for example {example}.")
    return list(value)


def parse_redirect_status(where: str, value: object) -> int:
    if str(value) not in map(str, REDIRECTS):
        raise InputError(f"{where}: {value!r} is not one of {', '.join(map(str, REDIRECTS))}.")
    return int(str(value))


def parse_redirect_to(where: str, value: object) -> str:
    if not isinstance(value, str) or not TARGET.fullmatch(value):
        raise InputError(
            f"{where}: {value!r} is not the begin of a URL like https://www.example.com; path and query of the request "
            "are put behind it."
        )
    return value.rstrip("/")


def parse_proxy_to(where: str, value: object) -> tuple[str, ...]:
    upstreams = parse_list(where, value, "[127.0.0.1:9000]")
    schemes = set()
    for upstream in upstreams:
        match = UPSTREAM.fullmatch(upstream) if isinstance(upstream, str) else None
        if match is None:
            raise InputError(f"{where}: {upstream!r} is not an address like 127.0.0.1:9000 or unix//run/app.sock.")
        schemes.add(match["scheme"] or "http")
    if len(schemes) > 1:
        raise InputError(
            f"{where}: {', '.join(upstreams)} differ in their scheme. Requests go to any of them: use one."
        )
    return tuple(upstreams)


def parse_hsts(where: str, age: object, subdomains: object, preload: object) -> str:
    """The value of the header, or an empty text for none. :param where: what stands before `hsts_max_age` and so on."""
    seconds = parse_seconds(f"{where}hsts_max_age", age)
    all_below = parse_bool(f"{where}hsts_include_subdomains", subdomains)
    listed = parse_bool(f"{where}hsts_preload", preload)
    if listed and (seconds < PRELOAD_MIN_AGE or not all_below):
        raise InputError(
            f"{where}hsts_preload: true needs hsts_include_subdomains and hsts_max_age from {PRELOAD_MIN_AGE} on "
            f"(it is {seconds}); browsers list no other site."
        )
    if not seconds:
        return ""
    words = [f"max-age={seconds}", *(["includeSubDomains"] if all_below else []), *(["preload"] if listed else [])]
    return "; ".join(words)


def parse_headers(where: str, value: object) -> dict[str, str]:
    """By name, an empty text where the header is left out."""
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: {value!r} is not a mapping. Write for example {{X-Frame-Options: DENY}}.")
    headers = {}
    for name, content in value.items():
        if not isinstance(name, str) or not HEADER_NAME.fullmatch(name):
            raise InputError(f"{where}: {name!r} is not the name of a header (letters, digits and hyphens).")
        if name.lower() == "strict-transport-security":
            raise InputError(f"{where}.{name}: has variables of its own. Use hsts_max_age and those beside it.")
        text = "" if content is None else str(content)
        if text and not HEADER_VALUE.fullmatch(text):
            raise InputError(
                f"{where}.{name}: {text!r} has a line break, a backslash, `{{$` or a sign that is not ASCII. Write one "
                "line without them, or an empty text to leave the header out."
            )
        headers[name.title()] = text
    return headers


def parse_network(where: str, value: object) -> str:
    text = str(value)
    if text == PRIVATE:
        return text
    try:
        return networks.parse_network(text, f", or {PRIVATE}")
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None


def parse_access_rule(where: str, value: object) -> Access:
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: is not a mapping. Write for example {{paths: [/admin], allow: [203.0.113.0/24]}}.")
    known = ("paths", "allow", "users")
    unknown = sorted(set(map(str, value)) - set(known))
    if unknown:
        raise InputError(f"{where}.{unknown[0]}: there is no such key. Known are {', '.join(known)}.")
    given = {key: content for key, content in value.items() if content is not None}
    paths = []
    for path in parse_list(f"{where}.paths", given.get("paths", ["/"]), "[/admin]"):
        if not isinstance(path, str) or not PATH.fullmatch(path):
            raise InputError(
                f"{where}.paths: {path!r} is not a path like /admin, which stands for itself and all below it."
            )
        paths.append(path.rstrip("/"))
    if not paths:
        raise InputError(f"{where}.paths: is empty. Leave it out for the whole site, or write for example [/admin].")
    allow = parse_list(f"{where}.allow", given.get("allow", []), "[203.0.113.0/24]")
    users = given.get("users", {})
    if not isinstance(users, Mapping):
        raise InputError(f"{where}.users: is not a mapping of names to bcrypt hashes.")
    if not allow and not users:
        raise InputError(f"{where}: has neither `allow` nor `users`, so it would let everybody in. Give one of them.")
    for name, content in users.items():
        _check_user(f"{where}.users", name, content)
    return Access(
        tuple(dict.fromkeys(paths)),
        tuple(parse_network(f"{where}.allow", network) for network in allow),
        {str(name): str(content) for name, content in users.items()},
    )


def _check_user(where: str, name: object, value: object) -> None:
    """The value may be a password in the clear: no message holds it."""
    if not isinstance(name, str) or not USER.fullmatch(name):
        raise InputError(f"{where}: {name!r} is not a name (letters, digits and . _ @ -, at most 64).")
    match = BCRYPT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise InputError(
            f"{where}.{name}: is not a bcrypt hash. Make one with `caddy hash-password` or `htpasswd -nBC 12 {name}`, "
            "and keep it in the vault; the password itself is never given."
        )
    if int(match["cost"]) not in BCRYPT_COSTS:
        raise InputError(
            f"{where}.{name}: is a bcrypt hash of cost {int(match['cost'])}. Use one from {BCRYPT_COSTS[0]} to "
            f"{BCRYPT_COSTS[-1]}, for example by `htpasswd -nBC 12 {name}`."
        )
