# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the module reads of the host besides the packet filter: files, profiles, SSH sessions, the unit."""

from __future__ import annotations

import glob
import json
import os

from ansible_collections.daffathan.platform.plugins.module_utils._common.command import run
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import read_text
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import guard, plan, settings
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import InputError

PROFILES = "/etc/ufw/applications.d/*"


def read_files() -> dict[str, str]:
    """Every file of UFW that is compared or loaded."""
    paths = [plan.DEFAULTS, plan.CONFIGURATION, *plan.USER_RULES.values()]
    paths += [path for pair in plan.STATIC_RULES.values() for path in pair]
    files = {}
    for path in paths:
        text = read_text(path)
        if text is None:
            raise InputError(f"{path} is missing. Install UFW (`apt-get install ufw`), or reinstall it.")
        files[path] = text
    return files


def read_profiles() -> dict[str, tuple[tuple[str, str], ...]]:
    profiles: dict[str, tuple[tuple[str, str], ...]] = {}
    for path in filter(settings.is_profile_file, sorted(glob.glob(PROFILES))):
        profiles.update(settings.parse_profiles(read_text(path) or ""))
    return profiles


def ssh_peers() -> list[guard.Peer]:
    """The SSH session this module runs in, found in the environment of its ancestors: sudo drops it from our own."""
    links = json.loads(run(["ip", "-json", "address"]).stdout)
    interfaces = [(link["ifname"], entry["local"]) for link in links for entry in link["addr_info"] if "local" in entry]
    pid, found = os.getpid(), []
    while pid > 1:
        try:
            with open(f"/proc/{pid}/environ", "rb") as handle:
                environment = handle.read().split(b"\0")
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as handle:
                pid = int(handle.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            break
        for variable in environment:
            if variable.startswith(b"SSH_CONNECTION="):
                peer = guard.parse_connection(variable.partition(b"=")[2].decode(errors="replace"), interfaces)
                if peer is not None and peer not in found:
                    found.append(peer)
    return found


def unit_enabled() -> bool:
    return run(["systemctl", "is-enabled", "ufw.service"], check=False).stdout.strip() == "enabled"
