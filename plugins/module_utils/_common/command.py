# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The one place of the collection that starts a process on the managed host."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

# /usr/sbin is not on the path of an unprivileged login, and ufw, nft and iptables live there.
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Completed:
    """A process that has ended: what was run, its exit status and its output as text."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str


class CommandError(Exception):
    """A command failed, was not found (rc 127) or ran out of time (rc 124)."""

    def __init__(self, completed: Completed, reason: str) -> None:
        self.completed = completed
        super().__init__(f"{' '.join(completed.argv)}: {reason}")


def run(
    argv: Sequence[str],
    *,
    timeout: float = 60,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    cwd: str | None = None,
    pass_fds: Collection[int] = (),
) -> Completed:
    """Run argv without a shell, in the C locale, and return what it printed.

    :param timeout: seconds until the process is killed.
    :param env: variables added to the environment of this process; values are never part of an error message.
    :param pass_fds: file descriptors that stay open in the process, and in those that it starts.
    :param check: raise CommandError on a non-zero exit status.
    """
    path = os.environ.get("PATH", "")
    environment = dict(os.environ, LC_ALL="C", LANGUAGE="C", PATH=f"{path}:{SEARCH_PATH}" if path else SEARCH_PATH)
    environment.update(env or {})
    binary = shutil.which(argv[0], path=environment["PATH"])
    if binary is None:
        raise CommandError(Completed(tuple(argv), 127, "", ""), "command not found")
    try:
        process = subprocess.run(  # pylint: disable=ansible-bad-function  # no AnsibleModule here
            [binary, *argv[1:]],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL if stdin is None else None,
            pass_fds=tuple(pass_fds),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(Completed(tuple(argv), 124, "", ""), f"no result after {timeout} s") from error
    completed = Completed(tuple(argv), process.returncode, process.stdout, process.stderr)
    if check and process.returncode != 0:
        said = (process.stderr.strip() or process.stdout.strip()).splitlines()
        raise CommandError(completed, f"exit status {process.returncode}: {' | '.join(said[-5:])}")
    return completed
