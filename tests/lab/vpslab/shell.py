# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes, progress and the lock: the only place of the lab that starts something."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vpslab.config import Lab, LabError

_START = time.monotonic()


def say(message: str) -> None:
    """One line of progress on stderr; stdout belongs to the answer of the verb."""
    sys.stderr.write(f"lab: [{time.monotonic() - _START:5.1f}s] {message}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def step(message: str) -> Iterator[None]:
    """Announce something that takes long, and tell how long it took."""
    say(f"{message} ...")
    start = time.monotonic()
    yield
    say(f"{message}: done in {time.monotonic() - start:.1f}s")


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    return dict(os.environ, LC_ALL="C.UTF-8", DEBIAN_FRONTEND="noninteractive", **(extra or {}))


def run(
    argv: Sequence[str],
    *,
    check: bool = True,
    stdin: bytes | None = None,
    timeout: float | None = 600,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run argv and return its output as text; raise LabError with what it printed when it fails."""
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout,
            env=_environment(env),
            check=False,
        )
    except FileNotFoundError:
        raise LabError(f"{argv[0]}: command not found") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(argv)}: no end after {timeout} s") from None
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: exit status {done.returncode}\n{tail(err or out)}")
    return subprocess.CompletedProcess(list(argv), done.returncode, out, err)


def run_logged(
    argv: Sequence[str], log: Path, *, stdin: bytes | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Run something long with its output in a file; the end of the file is part of the error."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=_environment(env),
            check=False,
        )
    if done.returncode != 0:
        raise LabError(
            f"{' '.join(argv)}: exit status {done.returncode}; log {log}\n{tail(log.read_text(errors='replace'))}"
        )


def tail(text: str, lines: int = 25) -> str:
    return "\n".join(text.rstrip().splitlines()[-lines:])


def make_home(lab: Lab) -> None:
    """Create the lab's directory; refuse one that holds something else."""
    if os.geteuid() != 0:
        raise LabError("the lab starts containers, networks and routes: run it as root")
    if lab.home.exists() and not lab.marker.exists() and any(lab.home.iterdir()):
        raise LabError(f"{lab.home}: not empty and not a lab; set DAFFATHAN_LAB_HOME to a directory of its own")
    for path in (lab.home, lab.run, lab.cache, lab.ca, lab.ssh_key.parent):
        path.mkdir(parents=True, exist_ok=True)
    lab.ssh_key.parent.chmod(0o700)
    lab.ca.chmod(0o700)
    lab.marker.touch()


@contextlib.contextmanager
def exclusive(lab: Lab, purpose: str) -> Iterator[None]:
    """Hold the lab's lock; it dies with its holder. Others are told whom they wait for."""
    path = lab.home / "lock"
    while True:
        make_home(lab)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            say(f"waiting for another lab command ({holder or 'unknown'})")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # `purge` may have deleted the file while this process waited for it.
        if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
            break
        os.close(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}: {purpose}".encode(), 0)
        yield
    finally:
        os.close(descriptor)
