# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Docker engine of the lab: the one that runs already, or one of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpslab import shell
from vpslab.config import Lab, LabError

TOOLS = {"debootstrap": "debootstrap", "ssh": "openssh-client", "openssl": "openssl", "ip": "iproute2"}


@dataclass(frozen=True)
class Engine:
    """How to call the engine; `host` is None for the engine the client finds by itself."""

    host: str | None

    def argv(self, *arguments: str) -> list[str]:
        return ["docker", *(("--host", self.host) if self.host else ()), *arguments]

    def run(
        self, *arguments: str, check: bool = True, stdin: bytes | None = None, timeout: float | None = 600
    ) -> subprocess.CompletedProcess[str]:
        return shell.run(self.argv(*arguments), check=check, stdin=stdin, timeout=timeout)

    def out(self, *arguments: str) -> str:
        return self.run(*arguments).stdout.strip()

    def ok(self, *arguments: str, timeout: float | None = 600) -> bool:
        return self.run(*arguments, check=False, timeout=timeout).returncode == 0

    def inspect(self, kind: str, names: Sequence[str]) -> list[dict[str, Any]]:
        """What the engine knows about the objects that exist among names."""
        if not names:
            return []
        done = self.run(kind, "inspect", *names, check=False)
        found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
        return found

    def image_id(self, reference: str) -> str | None:
        found = self.inspect("image", [reference])
        return str(found[0]["Id"]) if found else None


def socket(lab: Lab) -> str:
    return f"unix://{lab.run}/docker.sock"


def _answers(engine: Engine) -> bool:
    if shutil.which("docker") is None:
        return False
    # `docker info` of some clients exits 0 without an engine: the server's version proves one.
    done = engine.run("version", "--format", "{{.Server.Version}}", check=False, timeout=30)
    return done.returncode == 0 and bool(done.stdout.strip())


def find(lab: Lab) -> Engine | None:
    """The lab's own engine when it runs, else the one the docker client reaches."""
    own = Engine(socket(lab))
    if (lab.run / "docker.sock").exists() and _answers(own):
        return own
    ambient = Engine(None)
    return ambient if _answers(ambient) else None


def require(lab: Lab) -> Engine:
    engine = find(lab)
    if engine is None:
        raise LabError("no engine runs; start the lab with `lab.py up`")
    return engine


def ensure(lab: Lab) -> Engine:
    """An engine that answers; installed and started when there is none."""
    _install(lab, [package for tool, package in TOOLS.items() if _missing(tool)])
    engine = find(lab)
    if engine is not None:
        return engine
    others = _foreign_daemons()
    if others:
        raise LabError(
            f"a Docker engine runs (pid {', '.join(map(str, others))}) but does not answer; "
            "set DOCKER_HOST to its socket: a second engine would rewrite the packet filter of the first"
        )
    wanted = ["docker.io"] if _missing("dockerd") else []
    wanted += ["iptables"] if _missing("iptables") else []
    _install(lab, wanted)
    if _missing("docker"):
        _install(lab, ["docker-cli"])
    return _start(lab)


def _missing(tool: str) -> bool:
    return shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None


def _install(lab: Lab, packages: Sequence[str]) -> None:
    if not packages:
        return
    if _missing("apt-get"):
        raise LabError(f"missing on this machine: {', '.join(packages)}; install them (there is no apt-get to do it)")
    argv = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    with shell.step(f"installing {' '.join(packages)} on this machine"):
        log = lab.run / "log" / "apt.log"
        try:
            shell.run_logged(argv, log)
        except LabError:
            shell.run_logged(["apt-get", "update"], lab.run / "log" / "apt-update.log")
            shell.run_logged(argv, log)


def _foreign_daemons() -> list[int]:
    """Engines that share this network namespace."""
    here = os.readlink("/proc/self/ns/net")
    found = []
    for entry in Path("/proc").iterdir():
        try:
            daemon = entry.name.isdigit() and _alive(int(entry.name), "dockerd")
            if daemon and os.readlink(entry / "ns/net") == here:
                found.append(int(entry.name))
        except OSError:
            continue
    return sorted(found)


def mtu() -> int:
    """MTU of the interface of the default route: larger packets from the lab would be lost on the way out."""
    routes = json.loads(shell.run(["ip", "-json", "route", "show", "default"]).stdout or "[]")
    if not routes:
        return 1500
    links = json.loads(shell.run(["ip", "-json", "link", "show", routes[0]["dev"]]).stdout)
    return int(links[0]["mtu"])


def _alive(pid: int, name: str) -> bool:
    """Whether the process runs; one that was killed may stay as a zombie where nobody reaps it."""
    command, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    return command == name and rest.split()[0] != "Z"


def _pid(lab: Lab) -> int | None:
    """The process of the lab's own engine, or None."""
    return _recorded(lab.run / "docker.pid", "dockerd")


def _recorded(pid_file: Path, name: str) -> int | None:
    """The living process of that name that a pid file records."""
    try:
        pid = int(pid_file.read_text())
        return pid if _alive(pid, name) else None
    except (OSError, ValueError):
        return None


def _start(lab: Lab) -> Engine:
    pid_files = {lab.run / "docker.pid": "dockerd", lab.run / "exec/containerd/containerd.pid": "containerd"}
    for pid_file, name in pid_files.items():
        # One of an earlier boot may name a living stranger or a zombie: dockerd would refuse to start, or wait for it.
        if _recorded(pid_file, name) is None:
            pid_file.unlink(missing_ok=True)
    log = lab.run / "dockerd.log"
    argv = [
        "dockerd",
        f"--data-root={lab.home}/docker",
        f"--exec-root={lab.run}/exec",
        f"--pidfile={lab.run}/docker.pid",
        f"--host={socket(lab)}",
        f"--mtu={mtu()}",
        "--log-level=warn",
    ]
    with shell.step("starting the engine of the lab"):
        with log.open("ab") as file:
            environment = dict(os.environ, PATH=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        engine = Engine(socket(lab))
        deadline = time.monotonic() + 60
        while not ((lab.run / "docker.sock").exists() and _answers(engine)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"dockerd does not come up; log {log}\n{shell.tail(log.read_text(errors='replace'))}")
            time.sleep(0.2)
    return engine


def revive(lab: Lab) -> Engine | None:
    """The lab's engine, started once more if it died: only it can clear away what it left."""
    engine = find(lab)
    if engine is None and (lab.home / "docker").is_dir() and not _missing("dockerd"):
        return _start(lab)
    return engine


def stop(lab: Lab) -> None:
    """Stop the engine if this lab started it."""
    pid = _pid(lab)
    if pid is None:
        return
    with shell.step(f"stopping the engine of the lab (pid {pid})"):
        os.kill(pid, signal.SIGTERM)
        for _ in range(300):
            if _pid(lab) is None:
                return
            time.sleep(0.1)
    raise LabError(f"the engine (pid {pid}) does not stop; log {lab.run}/dockerd.log")
