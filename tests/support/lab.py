# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lab hosts and playbook runs as Python values."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.ansible import PROJECT, Run

LAB = PROJECT / "tests" / "lab" / "lab.py"
sys.path.insert(0, str(LAB.parent))

from vpslab.config import Lab, from_environment  # noqa: E402
from vpslab.engine import Engine, require  # noqa: E402

BUILD = PROJECT / ".build" / "lab"
BIN = Path(sys.executable).parent
ATTACKER = "attacker"


class LabError(Exception):
    """A verb of the lab failed; the message ends with what it printed."""


def lab(*arguments: str, check: bool = True, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """Run a verb of the lab and return what it printed."""
    result = subprocess.run(
        [sys.executable, str(LAB), *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )
    if check and result.returncode != 0:
        raise LabError(f"lab {' '.join(arguments)}: exit status {result.returncode}\n{result.stdout}{result.stderr}")
    return result


@functools.cache
def _engine() -> tuple[Lab, Engine]:
    settings = from_environment()
    return settings, require(settings)


# Per host: the identity of its container, and the process that is its init.
_inits: dict[str, tuple[str, str]] = {}


def _init(host: str) -> str:
    """The init of a host that is up, as a process of this machine. :raises LabError: the host is not up."""
    identity, pid = _inits.get(host, ("", ""))
    with contextlib.suppress(OSError):
        if identity and identity in Path("/proc", pid, "cgroup").read_text():
            return pid
    settings, engine = _engine()
    known = engine.run("inspect", "--format", "{{.Id}} {{.State.Pid}}", settings.container(host), check=False)
    identity, _, pid = known.stdout.strip().partition(" ")
    if pid in ("", "0"):
        raise LabError(f"{host}: it is not up. {known.stderr}")
    _inits[host] = (identity, pid)
    return pid


def inside(host: str, *argv: str) -> list[str]:
    """A command that runs another one as root on a host of the lab.

    It does what `lab.py exec` does for a twentieth of the processor time, and the tests run thousands.
    """
    environment = ("HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return ["env", "-i", *environment, "nsenter", "--target", _init(host), "--all", *argv]


def execute(host: str, *argv: str, check: bool = True, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """Run a command as root on a host of the lab, to its end."""
    result = subprocess.run(
        inside(host, *argv),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check and result.returncode != 0:
        command = " ".join(argv)
        raise LabError(f"{host}: {command}: exit status {result.returncode}\n{result.stdout}{result.stderr}")
    return result


@dataclass(frozen=True)
class PlayResult:
    """A playbook run: its exit status, everything it printed, and the counters of its recap per host."""

    rc: int
    output: str
    recap: dict[str, dict[str, int]]

    def changed(self, host: str) -> int:
        return self.recap[host]["changed"]


def parse_recap(output: str) -> dict[str, dict[str, int]]:
    """The counters of the last PLAY RECAP of a run, per host."""
    _, found, recap = output.rpartition("PLAY RECAP")
    hosts: dict[str, dict[str, int]] = {}
    for line in recap.splitlines() if found else []:
        match = re.match(r"^(\S+)\s+:\s+(ok=.*)$", line)
        if match:
            hosts[match[1]] = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", match[2])}
    return hosts


@dataclass(frozen=True)
class Host:
    """A VPS of the lab."""

    name: str
    inventory: Path

    @property
    def variables(self) -> dict[str, str]:
        tree = yaml.safe_load(self.inventory.read_text())
        return tree["all"]["children"]["vps"]["hosts"][self.name]

    @property
    def address(self) -> str:
        return self.variables["ansible_host"]

    @property
    def address6(self) -> str:
        return f"fd00:231::{self.address.rsplit('.', 1)[1]}"

    def run(self, *argv: str, check: bool = True, timeout: float = 300) -> str:
        """Standard output of a command that root runs on the host."""
        return execute(self.name, *argv, check=check, timeout=timeout).stdout

    def write(self, path: str, text: str) -> None:
        """Make the text the content of a file."""
        self.run("sh", "-c", 'printf %s "$1" > "$2"', "sh", text, path)

    def rc(self, *argv: str) -> int:
        return execute(self.name, *argv, check=False).returncode

    def play(self, playbook: str, *arguments: str, timeout: float = 1200, **extra: object) -> PlayResult:
        """Run a playbook of the collection on this host with the variables of the demo."""
        return play([self], playbook, *arguments, timeout=timeout, **extra)

    def converge(self, playbook: str, timeout: float = 1200, **extra: object) -> None:
        """Run a playbook that has to succeed.

        :raises LabError: it failed; the message ends with what it printed last.
        """
        result = self.play(playbook, timeout=timeout, **extra)
        if result.rc != 0:
            raise LabError(f"{playbook} failed on {self.name}:\n{result.output[-8000:]}")

    def lose_power(self) -> None:
        """All that runs there is killed, and the host boots. What it has written to its disk is not lost."""
        lab("restart", self.name, "--power-loss")

    def down(self) -> None:
        lab("down", self.name)


def play_arguments(hosts: Sequence[Host], playbook: str, *arguments: str, **extra: object) -> list[str]:
    """What `ansible-playbook` takes to run a playbook on these hosts with the variables of the demo."""
    inventories = [word for host in hosts for word in ("--inventory", str(host.inventory))]
    path = playbook if "/" in playbook else f"playbooks/{playbook}.yml"
    variables = json.dumps({"target": ",".join(host.name for host in hosts), **extra})
    return [path, *inventories, "--inventory", "inventories/demo", "--extra-vars", variables, *arguments]


def play(hosts: Sequence[Host], playbook: str, *arguments: str, timeout: float = 1200, **extra: object) -> PlayResult:
    """Run a playbook of the collection on these hosts with the variables of the demo."""
    argv = play_arguments(hosts, playbook, *arguments, **extra)
    result = Run("ansible-playbook", *argv, merged=True).result(timeout)
    return PlayResult(result.returncode, result.stdout, parse_recap(result.stdout))


def up(name: str, *, suite: str = "trixie", snapshot: str | None = None) -> Host:
    """A new VPS: bare, or a clone of a snapshot. What an interrupted run left of that name is taken down first."""
    lab("down", name)
    lab("up", name, "--suite", suite, *(["--from", snapshot] if snapshot else []))
    return running(name)


def running(name: str) -> Host:
    """A VPS that is up already."""
    BUILD.mkdir(parents=True, exist_ok=True)
    inventory = BUILD / f"{name}.yml"
    inventory.write_text(lab("inventory", name).stdout)
    return Host(name, inventory)


def attacker(*argv: str, check: bool = True, timeout: float = 600) -> str:
    """Standard output of a command on the neighbour host, the lab's view from outside."""
    return execute(ATTACKER, *argv, check=check, timeout=timeout).stdout


def wait_until(condition: Callable[[], object], *, seconds: float) -> bool:
    """Whether the condition came true in time; a question that cannot be asked yet counts as no."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return True
        except LabError:
            pass
        time.sleep(0.5)
    return False
