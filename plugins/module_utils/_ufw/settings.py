# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The settings files of UFW and its application profiles."""

from __future__ import annotations

import configparser
import re

from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import DIRECTIONS, InputError

_POLICIES = {"ACCEPT": "allow", "DROP": "deny", "REJECT": "reject"}
_VALUES = {policy: value for value, policy in _POLICIES.items()}


def get(text: str, key: str) -> str | None:
    """The value of a shell-like setting, without its quotes; the last one counts, as for the shell."""
    found = re.findall(rf"^[ \t]*{key}=(.*)$", text, re.MULTILINE)
    return re.sub(r"\s+#.*", "", found[-1]).strip().strip("\"'") if found else None


def is_on(text: str, key: str) -> bool:
    """Whether a setting says yes; ufw takes capitals too."""
    return (get(text, key) or "").lower() == "yes"


def put(text: str, key: str, value: str) -> str:
    """The text with the setting changed in its place, or added."""
    line = f'{key}="{value}"' if key.startswith("DEFAULT_") else f"{key}={value}"
    changed, count = re.subn(rf"^[ \t]*{key}=.*$", line, text, flags=re.MULTILINE)
    if count:
        return changed
    return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{line}\n"


def default_policy(text: str, direction: str) -> str:
    """The policy of /etc/default/ufw for incoming, outgoing or routed."""
    value = get(text, DIRECTIONS[direction][0]) or ""
    if value not in _POLICIES:
        known = ", ".join(_POLICIES)
        raise InputError(
            f"/etc/default/ufw: {DIRECTIONS[direction][0]}={value!r} is none of {known}. Correct the file."
        )
    return _POLICIES[value]


def put_policy(text: str, direction: str, policy: str) -> str:
    return put(text, DIRECTIONS[direction][0], _VALUES[policy])


def parse_profiles(text: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """Application profiles of one file of applications.d: name to (ports, protocol) pairs.

    As for ufw: a file that is no INI file has no profiles, and one without title, description or ports is none.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    profiles: dict[str, tuple[tuple[str, str], ...]] = {}
    for name in parser.sections():
        if all(parser.get(name, field, fallback="") for field in ("title", "description", "ports")):
            pairs = (part.partition("/") for part in parser.get(name, "ports").split("|"))
            profiles[name] = tuple((ports.strip(), proto.strip() or "any") for ports, _slash, proto in pairs)
    return profiles


def is_profile_file(path: str) -> bool:
    """Whether ufw reads a file of applications.d: not what an editor or dpkg left there."""
    leftovers = ("~", ".dpkg-new", ".dpkg-old", ".dpkg-dist", ".rpmnew", ".rpmsave")
    return not path.rpartition("/")[2].startswith(".") and not path.endswith(leftovers)
