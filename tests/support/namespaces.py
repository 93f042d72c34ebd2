# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands for a network of their own, which also somebody who is not root can have: in a user namespace."""

from __future__ import annotations

import os


def apart(*argv: str, mounts: bool = False) -> list[str]:
    """Runs a command in a network of its own. :param mounts: and with mounts of its own"""
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *own, "--net", *["--mount"] * mounts, *argv]


def beside(pid: int, *argv: str) -> list[str]:
    """Runs a command in the network of a process that was started by `apart`."""
    own = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    return ["nsenter", *own, "--net", "--target", str(pid), *argv]
