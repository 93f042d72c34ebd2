# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Look at the container engines of the host and at how they are set up. What cannot be seen becomes a finding."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.daffathan.platform.plugins.module_utils._audit import daemon, engines, processes, units
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import Engine
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine_client import EngineError
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import ROOT, Finding, finding, unknown
from ansible_collections.daffathan.platform.plugins.module_utils._audit.processes import Process

_BINARIES = ("/usr/sbin/dockerd", "/usr/bin/dockerd", "/usr/local/bin/dockerd", "/snap/bin/dockerd", "/snap/bin/docker")
_PODMAN = ("/usr/bin/podman", "/usr/local/bin/podman")
# Podman leaves these once it has run since the last boot.
_PODMAN_USED = ("/run/libpod/alive", "/run/libpod/alive.lck")
_UNITS = ("docker.service", "snap.docker.dockerd.service")
# A file of the same second as the start was there before it: times of files are coarse.
_TOLERANCE = 2.0


def _options(path: str, given: bool, problems: list[Finding]) -> dict[str, tuple[str, ...]] | None:
    """What a configuration file says; None where that cannot be told.

    :param given: the command line names the file, so that the engine does not start without it.
    """
    try:
        with open(path, "rb") as handle:
            return daemon.parse_file(daemon.decoded(handle.read(1 << 20)))
    except FileNotFoundError:
        if not given:
            return {}
        remedy = "Create the file, or remove --config-file; dockerd does not start without it."
        problems.append(unknown("daemon-file-not-read", f"{path}: there is no such file.", remedy, file=path))
    except OSError as error:
        problems.append(unknown("daemon-file-not-read", f"{path}: {error}.", ROOT, file=path))
    except EngineError as error:
        remedy = "Correct the file; dockerd does not start with it."
        problems.append(unknown("daemon-file-not-read", f"{path}: {error}.", remedy, file=path))
    return None


def _changed_after(path: str, pid: int, root: str) -> bool:
    start = processes.started(pid, f"{root}/proc")
    try:
        found = os.stat(path)
    except OSError:
        return False
    return bool(start) and max(found.st_mtime, found.st_ctime) > start + _TOLERANCE


def setup(running: Sequence[Process], problems: list[Finding], root: str = "") -> daemon.Daemon | None:
    """How the engines run, and how they will after the next start; None where there is no Docker."""
    files: dict[str, dict[str, tuple[str, ...]] | None] = {}

    def file_of(options: daemon.Options) -> tuple[str, daemon.Options]:
        named = (options.get("config-file") or ("",))[-1]
        path = named or f"{root}{daemon.FILE}"
        if path not in files:
            files[path] = _options(path, bool(named), problems)
        return path, files[path] or {}

    found: list[daemon.Configuration] = []
    newer = ""
    for process in running:
        arguments = daemon.parse_arguments(processes.arguments(process.pid, f"{root}/proc")[1:])
        path, options = file_of(arguments)
        found.append(daemon.configuration(f"the running dockerd (pid {process.pid})", True, arguments, options))
        if _changed_after(path, process.pid, root):
            newer = path
    for name in _UNITS:
        unit = units.load(name, root)
        if unit is None or unit.masked:
            continue
        arguments = daemon.parse_arguments(units.command(unit, variables := units.environment(unit, root))[1:])
        path, options = file_of(arguments)
        raw = {"no-raw": (variables[daemon.NO_RAW],)} if daemon.NO_RAW in variables else {}
        found.append(daemon.configuration(name, False, {**arguments, **raw}, options))
    socket = units.load("docker.socket", root)
    if socket is not None and not socket.masked:
        hosts = daemon.listened(socket.get("ListenStream"))
        base = next((item for item in found if item.source == "docker.service"), None)
        if hosts:
            options = {**(base.options if base else {}), "host": hosts}
            found.append(daemon.Configuration("docker.socket", False, options))
    if not found and not os.path.lexists(f"{root}{daemon.FILE}"):
        return None
    if not found:
        file_of({})
    return daemon.Daemon(tuple(found), newer)


def _unanswered(path: str, error: object) -> Finding:
    evidence = f"the engine behind {path} could not be examined: {error}."
    return unknown("engine-not-examined", evidence, f"See systemctl status docker. {ROOT}")


def _down(path: str, running: Sequence[Process]) -> Finding | None:
    """Why the main engine is not asked; None if it can be, or if there is none."""
    installed = next((binary for binary in _BINARIES if os.path.exists(binary)), "")
    remedy = "Start the engine (systemctl start docker), or name its socket with engine_socket."
    if not os.path.exists(path):
        if not installed and not running and not os.path.lexists(path):
            return None
        what = installed or (f"dockerd runs (pid {running[0].pid})" if running else f"{path} is a broken link")
        evidence = f"{what}{' is installed' if installed else ''}, but there is no socket {path}: "
        return unknown("engine-not-examined", f"{evidence}containers could not be examined.", remedy)
    if not running and installed and "podman" not in os.path.realpath(path) and units.load("docker.socket"):
        evidence = f"dockerd does not run, and a question to {path} would start it: containers could not be examined."
        return unknown("engine-not-examined", evidence, remedy)
    return None


def _elsewhere(problems: list[Finding]) -> None:
    """A client of this host may talk to an engine of another one: that one is not part of the answer."""
    host = os.environ.get("DOCKER_HOST", "")
    if host and not host.startswith("unix://"):
        problems.append(
            finding(
                "engine-elsewhere",
                "low",
                f"DOCKER_HOST is {host}: that engine is not looked at, only those of this host are.",
                "Run the audit on the host of that engine.",
            )
        )


def look(
    path: str, timeout: float, table: Sequence[Process], problems: list[Finding]
) -> tuple[Engine | None, daemon.Daemon | None]:
    """All engines of the host as one, and the configuration of Docker's."""
    own = processes.namespace("self")
    running = [item for item in table if item.name == "dockerd" and item.namespace in (own, "")]
    configured = setup(running, problems)
    _elsewhere(problems)
    down = _down(path, running)
    wanted = (
        []
        if down or not os.path.exists(path)
        else [engines.Endpoint(path, "podman" if "podman" in os.path.realpath(path) else "docker")]
    )
    if down:
        problems.append(down)
    hosts = [host for item in (configured.configurations if configured else ()) if item.running for host in item.hosts]
    wanted += engines.endpoints(path, [host[7:] for host in hosts if host.startswith("unix://")])
    if not any(endpoint.engine == "podman" and not endpoint.user for endpoint in wanted):
        problems += _podman_without_socket()

    def answer(endpoint: engines.Endpoint) -> Engine | EngineError:
        try:
            return engines.read(endpoint.path, timeout, endpoint.engine, endpoint.user)
        except EngineError as error:
            return error

    with ThreadPoolExecutor(max_workers=len(wanted) or 1) as pool:
        answers = list(pool.map(answer, wanted))
    joined: Engine | None = None
    for endpoint, found in zip(wanted, answers):
        if isinstance(found, EngineError):
            problems.append(_unanswered(endpoint.path, found))
            continue
        problems += [_unanswered(endpoint.path, text) for text in found.problems]
        joined = found if joined is None else joined.joined(found, endpoint.label)
    return joined, configured


def _podman_without_socket() -> list[Finding]:
    """Rootful podman needs no service to run containers; without its socket only the packet filter tells of them."""
    used = any(os.path.exists(path) for path in _PODMAN_USED)
    if not used or not any(os.path.exists(binary) for binary in _PODMAN):
        return []
    evidence = "podman is used on this host, but there is no socket /run/podman/podman.sock: its stopped containers "
    return [
        unknown(
            "podman-not-asked",
            f"{evidence}and mounts could not be examined; what it publishes now is seen in the packet filter.",
            "systemctl enable --now podman.socket",
        )
    ]
