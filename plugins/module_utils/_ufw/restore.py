# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.
"""Puts the firewall back as it was, unless somebody confirmed the new one.

A copy of this file is left on the host while a policy waits for its confirmation. A timer starts it, or the boot, when
the controller may be gone and the collection with it: so it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DIRECTORY = "/var/lib/daffathan/ufw-rollback"
PLAN = "plan.json"
UNIT = "daffathan-ufw-rollback"
BOOT_UNIT = f"/etc/systemd/system/{UNIT}-boot.service"
BOOT_LINK = f"/etc/systemd/system/multi-user.target.wants/{UNIT}-boot.service"
LOCK = "/run/ufw.lock"
# Tokens of the policies that were kept: a controller may come to confirm what another one has confirmed already.
KEPT = "/run/daffathan-ufw-kept"
MOST_KEPT = 50
# For the lock of ufw; whoever holds it longer hangs, and the way in matters more.
PATIENCE = 20
BUILTIN = ("INPUT", "FORWARD", "OUTPUT")
SAVE = {4: "iptables-save", 6: "ip6tables-save"}
RESTORE = {4: "iptables-restore", 6: "ip6tables-restore"}
DONE, NOTHING_PENDING = 0, 3


@dataclass(frozen=True)
class Table:
    """The filter table of one family: policies of the builtin chains, and rules by chain."""

    policies: Mapping[str, str] = field(default_factory=dict)
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def own(self, wanted: Table | None = None) -> Table:
        """What UFW has to say: its chains, the builtin policies, and the builtin chains' jumps to its chains.

        What else is in the table belongs to others, and so do chains that only have UFW's prefix.

        :param wanted: the chains of UFW are those of this table.
        """
        names = {name for name in (wanted or self).chains if name.startswith("ufw")}
        chains = {name: rules for name, rules in self.chains.items() if name in names}
        for name in BUILTIN:
            chains[name] = tuple(rule for rule in self.chains.get(name, ()) if target(rule) in names)
        return Table(dict(self.policies), chains)

    @property
    def running(self) -> bool:
        """Whether UFW is at work: its chains stay, empty, when it is stopped."""
        ours = [rules for name, rules in self.chains.items() if name.startswith("ufw")]
        closed = any(self.policies.get(name) == "DROP" for name in ("INPUT", "OUTPUT"))
        return any(ours) or bool(ours and closed)


def target(rule: str) -> str:
    """The chain or verdict that a rule jumps to."""
    found = re.search(r" -[jg] (\S+)", re.sub(r'"[^"]*"', "", rule))
    return found[1] if found else ""


def parse(text: str) -> Table:
    """The filter table in the output of iptables-save."""
    policies: dict[str, str] = {}
    chains: dict[str, list[str]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif table == "filter" and line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chains.setdefault(name, [])
            if policy != "-":
                policies[name] = policy
        elif table == "filter" and line.startswith("-A "):
            chains.setdefault(line.split()[1], []).append(line)
    return Table(policies, {name: tuple(rules) for name, rules in chains.items()})


def undo(now: Table, before: Table) -> str:
    """The transaction that makes UFW's part of the table what it was, and leaves what belongs to others."""
    names = sorted(name for name in {*now.chains, *before.chains} if name.startswith("ufw"))
    lines = ["*filter", *(f":{name} {policy} [0:0]" for name, policy in before.policies.items())]
    lines += [f":{name} - [0:0]" for name in names]
    for builtin in BUILTIN:
        present, former = (
            [rule for rule in table.chains.get(builtin, ()) if target(rule) in names] for table in (now, before)
        )
        if present != former:
            lines += [*(rule.replace("-A ", "-D ", 1) for rule in present), *former]
    for name in names:
        lines += before.chains.get(name, ())
    # A chain that somebody else jumps to cannot go; it stays, empty.
    others = {target(rule) for name, rules in now.chains.items() if name not in (*names, *BUILTIN) for rule in rules}
    lines += [f"-X {name}" for name in names if name not in before.chains and name not in others]
    return "\n".join([*lines, "COMMIT", ""])


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
        return handle.read().strip()


def _run(argv: Sequence[str], text: str = "") -> str:
    # Standard library alone, see above.
    return subprocess.run(  # pylint: disable=ansible-bad-function
        argv,
        input=text,
        stdout=subprocess.PIPE,
        timeout=60,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"},
        check=True,
    ).stdout


def _put(path: str, content: str, mode: int) -> None:
    """Replace a file in one step that survives a power loss."""
    temporary = f"{path}.rollback"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    os.chmod(temporary, mode)
    os.replace(temporary, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def put_back(former: Mapping[str, object], *, restarted: bool) -> list[str]:
    """Put one former state back; one part that fails does not keep the others from being done.

    :param restarted: after a restart ufw.service loads the files; before one, the kernel has to be told.
    :return: what failed.
    """
    problems = []
    for path, (content, mode) in dict(former["files"]).items():  # type: ignore[call-overload]
        try:
            _put(path, content, mode)
        except OSError as error:
            problems.append(f"{path}: {error}")
    if not restarted:
        for family, saved in dict(former["kernel"]).items():  # type: ignore[call-overload]
            version = int(family)
            try:
                now = parse(_run([SAVE[version], "-t", "filter"]))
                _run([RESTORE[version], "--noflush", "--wait", "10"], undo(now, parse(saved)))
            except (OSError, subprocess.SubprocessError) as error:
                problems.append(f"IPv{family}: {error}")
    if not former["unit_enabled"]:
        try:
            _run(["systemctl", "disable", "ufw.service"])
        except (OSError, subprocess.SubprocessError) as error:
            problems.append(f"ufw.service: {error}")
    return problems


@dataclass(frozen=True)
class Waiting:
    """Policies that wait for their confirmation, oldest first: each with its token and the state before it."""

    boot_id: str
    entries: tuple[Mapping[str, object], ...]

    @property
    def restarted(self) -> bool:
        return self.boot_id != boot_id()

    @property
    def tokens(self) -> list[str]:
        return [str(entry["token"]) for entry in self.entries]

    def save(self) -> None:
        _put(os.path.join(DIRECTORY, PLAN), json.dumps({"boot_id": self.boot_id, "entries": self.entries}), 0o600)


def pending() -> Waiting | None:
    """The policies that wait, if there are any."""
    try:
        with open(os.path.join(DIRECTORY, PLAN), encoding="utf-8") as handle:
            plan = json.load(handle)
    except FileNotFoundError:
        return None
    return Waiting(plan["boot_id"], tuple(plan["entries"]))


def keep(waiting: Waiting, count: int) -> None:
    """The oldest `count` policies stay; what is put back, if it must be, is the state after them."""
    known: list[str] = []
    with contextlib.suppress(FileNotFoundError), open(KEPT, encoding="utf-8") as handle:
        known = handle.read().splitlines()
    _put(KEPT, "".join(f"{token}\n" for token in [*known, *waiting.tokens[:count]][-MOST_KEPT:]), 0o600)
    _drop(Waiting(waiting.boot_id, waiting.entries[count:]))


def _drop(rest: Waiting) -> None:
    """Only these wait any more. Without any, the plan goes first: whatever is left without it does nothing."""
    if rest.entries:
        rest.save()
        return
    for path in (os.path.join(DIRECTORY, PLAN), BOOT_LINK, BOOT_UNIT):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    shutil.rmtree(DIRECTORY, ignore_errors=True)


def undo_last(waiting: Waiting) -> list[str]:
    """Put back the state before the newest policy; those before it go on waiting."""
    problems = put_back(waiting.entries[-1], restarted=waiting.restarted)
    if not problems:
        _drop(Waiting(waiting.boot_id, waiting.entries[:-1]))
    return problems


@contextlib.contextmanager
def _ufw_lock():  # type: ignore[no-untyped-def]
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            time.sleep(0.1)
    try:
        yield
    finally:
        os.close(descriptor)


def _say(text: str) -> None:
    """For the journal."""
    sys.stdout.write(f"{text}\n")


def main(arguments: Sequence[str]) -> int:
    """`restore.py` puts back; `restore.py --confirm TOKEN` keeps the policy of this token and those before it."""
    confirming = arguments[:1] == ["--confirm"]
    with _ufw_lock():
        waiting = pending()
        if waiting is None:
            _say("No policy waits for a confirmation.")
            return NOTHING_PENDING
        if confirming:
            token = "".join(arguments[1:])
            if token not in waiting.tokens:
                _say("Another policy waits for its confirmation.")
                return NOTHING_PENDING
            keep(waiting, waiting.tokens.index(token) + 1)
            _say("The policy is confirmed.")
        else:
            _say("Nobody confirmed the new policy: the firewall is put back as it was.")
            problems = put_back(waiting.entries[0], restarted=waiting.restarted)
            if problems:
                _say("\n".join(problems))
                return 1
            _drop(Waiting(waiting.boot_id, ()))
        done = pending() is None
    if done and confirming:
        stop_timer()
    return DONE


def stop_timer() -> None:
    """Left alone, it would find no plan and end; but it would be there to see."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        _run(["systemctl", "stop", f"{UNIT}.timer"])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
