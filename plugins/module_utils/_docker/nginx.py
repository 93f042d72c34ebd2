# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The running gateway: load a configuration, know when it is in force, see who still holds on to the old one."""

from __future__ import annotations

import calendar
import contextlib
import glob
import http.client
import ipaddress
import os
import signal
import socket
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError, run
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import (
    FileLock,
    LockTimeout,
    fsync_directory,
    read_text,
    write_atomic,
)
from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import SDK_ERRORS, Engine
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import streams
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import (
    APPS,
    STREAMS,
    generation,
    knows_streams,
    test_configuration,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    GATEWAY,
    RolloutError,
    canonical_hash,
)

DIRECTORY = "/etc/daffathan/gateway"
INSIDE = "/etc/gateway"
ADMIN_SOCKET = "/run/daffathan/gateway/admin/admin.sock"
LOCK = "/run/daffathan/gateway.lock"
LOCK_TIMEOUT = 120
FENCE_TIMEOUT = 15.0
ESTABLISHED = "01"


@dataclass(frozen=True)
class Process:
    """A process that cannot be confused with a later one of the same number."""

    pid: int
    started: str

    def alive(self) -> bool:
        stat = _stat(self.pid)
        return stat is not None and stat[19] == self.started and stat[0] != "Z"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Gateway:
    """The gateway as one app sees it."""

    def __init__(self, engine: Engine, app: str) -> None:
        self.engine = engine
        self.app = app
        # By kind, in the order in which they are written: the one of HTTP, which names the generation, is the last.
        self.files = {kind: f"{DIRECTORY}/{kind}/{app}.conf" for kind in (STREAMS, APPS)}
        self._tested: str | None = None

    def container(self) -> Any:
        container = self.engine.container(GATEWAY)
        if container is None or container.status != "running":
            what = "does not exist" if container is None else f"is {container.status}"
            raise RolloutError(
                f"gateway: the container {GATEWAY} {what}, so no request could reach the app. Run role "
                "daffathan.platform.gateway first"
                f"{'' if container is None else f'; `docker logs {GATEWAY}` tells why it ended'}."
            )
        return container

    def check_streams(self) -> None:
        """Raise where services that speak TCP could not be served."""
        if not knows_streams(self._base()):
            raise RolloutError(
                f"gateway: {DIRECTORY}/nginx.conf is of a version that cannot serve `protocol: tcp`. Run role "
                "daffathan.platform.gateway again."
            )

    def read(self) -> str | None:
        return streams.unite(read_text(self.files[APPS]), read_text(self.files[STREAMS]))

    def _write(self, text: str | None) -> None:
        """A kill between the two files leaves what no generation fits, see `generation`."""
        http, tcp = streams.divide(text or "")
        for kind, part in ((STREAMS, tcp), (APPS, http)):
            path = self.files[kind]
            if part:
                write_atomic(path, part, mode=0o644)
            elif os.path.exists(path):
                os.unlink(path)
                fsync_directory(os.path.dirname(path))

    def written_generation(self) -> str | None:
        return generation(self.read())

    def loaded_generation(self) -> str | None:
        """What the gateway answers on a fresh connection; None where it does not know the app or does not run."""
        connection = UnixConnection(ADMIN_SOCKET, 2)
        try:
            connection.request("GET", "/generation", headers={"Host": self.app, "Connection": "close"})
            answer = connection.getresponse()
            body = answer.read().decode("utf-8", "replace").strip()
            return body if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def test(self) -> None:
        """Whether nginx takes the configuration as it is on disk."""
        self._nginx_test(f"{INSIDE}/nginx.conf")

    def load(self, text: str | None) -> list[Process]:
        """Test, write and load the app's files, or take them away (None); the workers that still have the old ones."""
        try:
            with FileLock(LOCK, timeout=LOCK_TIMEOUT):
                container = self.container()
                if text is None:
                    self._remove_candidate()
                if text != self.read():
                    if text is not None:
                        self.test_candidate(text)
                    self._write(text)
                workers = self.workers(container)
                # Not through the engine: it takes any signal it sends for a stop by hand, and then does not start
                # an `unless-stopped` container after the next boot.
                os.kill(int(container.attrs["State"]["Pid"]), signal.SIGHUP)
                return workers
        except LockTimeout as error:
            raise RolloutError(f"gateway: {error}. Another rollout holds it; try again when it has ended.") from error

    def _base(self) -> str:
        base = read_text(f"{DIRECTORY}/nginx.conf")
        if base is None:
            raise RolloutError(
                f"gateway: {DIRECTORY}/nginx.conf is missing. Run role daffathan.platform.gateway first."
            )
        return base

    def test_candidate(self, text: str) -> None:
        """Whether nginx takes files for this app beside what else it has; not asked a second time about the same."""
        base, others = self._base(), {kind: self._others(kind) for kind in (APPS, STREAMS)}
        # By what they hold: `INSIDE` is this directory.
        contents = {kind: [read_text(f"{DIRECTORY}/{kind}/{name}") for name in names] for kind, names in others.items()}
        everything = canonical_hash([base, text, others, contents])
        if everything == self._tested:
            return
        http, tcp = streams.divide(text)
        own = {kind: f".{self.app}.{kind}.candidate" for kind, part in ((APPS, http), (STREAMS, tcp)) if part}
        included = {
            kind: [f"{INSIDE}/{kind}/{name}" for name in names] + ([f"{INSIDE}/{own[kind]}"] if kind in own else [])
            for kind, names in others.items()
        }
        whole = f".{self.app}.nginx.candidate"
        written = {whole: test_configuration(base, included, INSIDE)}
        written.update({name: http if kind == APPS else tcp for kind, name in own.items()})
        try:
            for name, part in written.items():
                write_atomic(f"{DIRECTORY}/{name}", part, mode=0o644)
            self._nginx_test(f"{INSIDE}/{whole}")
            self._tested = everything
        finally:
            self._remove_candidate()

    def _remove_candidate(self) -> None:
        """Also what a run that was killed in the middle of a test left."""
        for path in glob.glob(f"{glob.escape(DIRECTORY)}/.{self.app}.*candidate"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _others(self, kind: str) -> list[str]:
        """The names of the files of the other apps."""
        paths = sorted(glob.glob(f"{glob.escape(DIRECTORY)}/{kind}/*.conf"))
        return [os.path.basename(path) for path in paths if path != self.files[kind]]

    def _nginx_test(self, path: str) -> None:
        try:
            run(["docker", "exec", GATEWAY, "nginx", "-t", "-q", "-c", path], timeout=30)
        except CommandError as error:
            said = (error.completed.stderr or str(error)).strip()
            raise RolloutError(
                f"gateway: nginx refuses the configuration of {self.app}; the one in force was not touched. It "
                f"says:\n{said}"
            ) from error

    def log(self, since: str) -> str:
        """The lines of the access log from the second of a time stamp on, each behind the engine's time stamp."""
        # A whole second: older versions of the SDK take no others.
        second = calendar.timegm(time.strptime(since[:19], "%Y-%m-%dT%H:%M:%S"))
        try:
            text = self.container().logs(stdout=True, stderr=False, timestamps=True, since=second)
        except SDK_ERRORS as error:
            raise RolloutError(f"gateway: its access log cannot be read: {error}") from error
        return str(text.decode("utf-8", "replace"))

    def workers(self, container: Any) -> list[Process]:
        """The children of the gateway's nginx, seen from the host."""
        container.reload()
        master = str(container.attrs["State"]["Pid"])
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                stat = _stat(int(entry))
                if stat is not None and stat[1] == master:
                    found.append(Process(int(entry), stat[19]))
        return found

    def fence(self, wanted: str | None, rounds: int = 0) -> None:
        """Return when many fresh connections in a row meet the generation: no worker with the old one accepts any more.

        :param rounds: how many; 0 for four times the number of workers of the gateway, at least 16.
        """
        needed = rounds or max(16, 4 * (os.cpu_count() or 1))
        deadline = time.monotonic() + FENCE_TIMEOUT
        row, last = 0, None
        while row < needed:
            last = self.loaded_generation()
            row = row + 1 if last == wanted else 0
            if row == 0:
                if time.monotonic() > deadline:
                    raise RolloutError(
                        f"gateway: after {FENCE_TIMEOUT:.0f} s it still answers with generation {last} instead of "
                        f"{wanted}. `docker logs --tail 20 {GATEWAY}` tells why the configuration was not loaded."
                    )
                time.sleep(0.01)


def alive(processes: Collection[Process]) -> list[Process]:
    return [process for process in processes if process.alive()]


def holders(pid: int, port: int) -> list[str]:
    """The addresses behind the connections from elsewhere to a port in the network namespace of a process."""
    found = []
    for family in ("tcp", "tcp6"):
        for local, remote, state in _sockets(f"/proc/{pid}/net/{family}"):
            if state == ESTABLISHED and int(local.rsplit(":", 1)[1], 16) == port and not _is_loopback(remote):
                found.append(_address(remote))
    return found


def _sockets(path: str) -> Iterator[tuple[str, str, str]]:
    try:
        with open(path, encoding="ascii") as handle:
            next(handle, None)
            for line in handle:
                fields = line.split()
                yield fields[1], fields[2], fields[3]
    except (FileNotFoundError, ProcessLookupError):
        return


def _address(remote: str) -> str:
    digits = remote.rpartition(":")[0]
    # The kernel writes each word in the byte order of the host.
    words = b"".join(bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8))
    address = ipaddress.ip_address(words)
    return str(getattr(address, "ipv4_mapped", None) or address)


def _is_loopback(remote: str) -> bool:
    address = remote.rsplit(":", 1)[0]
    # The kernel writes each word in the byte order of the host: 127.0.0.1 ends in 7F, mapped or not.
    return (address.endswith("7F") and len(address) in (8, 32)) or address == "0" * 24 + "01000000"


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on: state, parent, ..., start time at 19."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as handle:
            return handle.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
