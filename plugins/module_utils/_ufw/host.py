# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the module reads of the host besides the packet filter: files, profiles, SSH sessions, the unit."""

from __future__ import annotations

import contextlib
import glob
import json
import os
from collections.abc import Iterable
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError, run
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import read_text
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import plan, preconditions, sessions, settings
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.guard import Peer
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import InputError

PROFILES = "/etc/ufw/applications.d/*"
SNAP = "/snap/bin/ufw"


def read_files() -> dict[str, str]:
    """Every file of UFW that is compared or loaded."""
    paths = [plan.DEFAULTS, plan.CONFIGURATION, *plan.USER_RULES.values()]
    paths += [path for pair in plan.STATIC_RULES.values() for path in pair]
    files = {}
    for path in paths:
        try:
            text = read_text(path)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}: byte {error.start + 1} is not UTF-8 ({error.reason}). Convert the file, for example with "
                "`iconv -f latin1 -t utf8`. Nothing was changed."
            ) from None
        if text is None:
            raise InputError(preconditions.missing_ufw(path, snap=os.path.exists(SNAP)))
        files[path] = text
    return files


def read_profiles() -> dict[str, tuple[tuple[str, str], ...]]:
    profiles: dict[str, tuple[tuple[str, str], ...]] = {}
    for path in filter(settings.is_profile_file, sorted(glob.glob(PROFILES))):
        # As for ufw: a file that cannot be read as text has no profiles.
        with contextlib.suppress(UnicodeDecodeError):
            profiles.update(settings.parse_profiles(read_text(path) or ""))
    return profiles


def is_bare() -> bool:
    """Whether UFW has yet to be installed."""
    return not os.path.exists(plan.CONFIGURATION) and not os.path.exists(SNAP)


def check(options: dict[str, Any]) -> None:
    """Refuse a host on which the options cannot be carried out, before anything is read or changed."""
    lacking = preconditions.missing_capability(_proc("self/status"))
    if lacking:
        raise InputError(lacking)
    found = [entry for entry in preconditions.ipv6_addresses(_proc("net/if_inet6")) if _is_up(entry[0])]
    wrong = preconditions.wrong_ipv6(options["ipv6"], available=has_ipv6(), addresses=found)
    if wrong:
        raise InputError(wrong)


def has_ipv6() -> bool:
    return os.path.exists("/proc/net/if_inet6")


def families() -> tuple[int, ...]:
    """The families that the kernel can filter."""
    return (4, 6) if has_ipv6() else (4,)


def _is_up(interface: str) -> bool:
    flags = read_text(f"/sys/class/net/{interface}/flags")
    return bool(int(flags or "0", 16) & 1)


def check_writable(operations: Iterable[plan.Operation]) -> None:
    """Refuse before the first write what the last one would fail on."""
    for operation in operations:
        directory = os.path.dirname(operation.path)
        if operation.kind == "file" and not os.access(directory, os.W_OK):
            raise InputError(
                f"{directory} cannot be written, and {operation.path} must be. Is the file system read-only "
                f"(`findmnt --target {directory}`)? Make it writable (`mount -o remount,rw`). Nothing was changed."
            )


def legacy_rules() -> str:
    """The warning of rules that iptables-save does not show; asked only where the kernel knows legacy tables."""
    for names, program in (("net/ip_tables_names", "iptables"), ("net/ip6_tables_names", "ip6tables")):
        if _proc(names).strip():
            with contextlib.suppress(CommandError):
                version = run([f"{program}-save", "--version"]).stdout
                warning = preconditions.legacy_beside_nft(version, run([f"{program}-legacy-save"]).stdout)
                if warning:
                    return warning
    return ""


def ssh_peers() -> tuple[list[Peer], list[Peer]]:
    """The peers of the SSH session this module runs in, and those of other sessions."""
    links = json.loads(run(["ip", "-json", "address"]).stdout)
    interfaces = [(link["ifname"], entry["local"]) for link in links for entry in link["addr_info"] if "local" in entry]
    own = os.getpid()
    processes = _processes(own)
    holders = {pid: _holder(pid) for pid in processes}
    sockets = [socket for name in ("tcp", "tcp6") for socket in sessions.parse_tcp(_proc(f"net/{name}"))]
    return sessions.find(processes, own, holders, sockets, interfaces)


def _processes(pid: int) -> dict[int, sessions.Process]:
    """This process, its ancestors, and every daemon that may hold a session; `stat` costs too much to read all."""
    found: dict[int, sessions.Process] = {}
    wanted = [int(name) for name in os.listdir("/proc") if name.isdigit() and sessions.is_daemon(_proc(f"{name}/comm"))]
    wanted.append(pid)
    while wanted:
        pid = wanted.pop()
        process = sessions.parse_stat(_proc(f"{pid}/stat"))
        if process is not None and pid > 1 and pid not in found:
            found[pid] = process
            wanted.append(process.parent)
    return found


def _holder(pid: int) -> sessions.Holder:
    """sudo drops SSH_CONNECTION from our own environment, but not from that of our ancestors."""
    inodes = set()
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
                if target.startswith("socket:["):
                    inodes.add(int(target[8:-1]))
    title = _proc(f"{pid}/cmdline").replace("\0", " ").strip()
    variables = dict(variable.partition("=")[::2] for variable in _proc(f"{pid}/environ").split("\0"))
    children = bool(_proc(f"{pid}/task/{pid}/children").strip())
    return sessions.Holder(frozenset(inodes), title, variables.get("SSH_CONNECTION", ""), children)


def _proc(name: str) -> str:
    """A file in /proc; empty for a process that has ended, and for what the kernel does not have."""
    try:
        with open(f"/proc/{name}", encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def explain_denial(error: PermissionError) -> str:
    if os.geteuid() != 0:
        return f"The firewall belongs to root: {error}. Use `become: true`."
    return (
        f"Root may not do this: {error}. Is the file immutable (`lsattr`), or the file system shared with a container?"
    )


def unit_enabled() -> bool:
    return run(["systemctl", "is-enabled", "ufw.service"], check=False).stdout.strip() == "enabled"
