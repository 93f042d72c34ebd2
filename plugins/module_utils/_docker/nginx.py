# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The running gateway: load a configuration, know when it is in force."""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError, run
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import (
    FileLock,
    LockTimeout,
    fsync_directory,
    read_text,
    write_atomic,
)
from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import Engine
from ansible_collections.daffathan.platform.plugins.module_utils._docker.log_files import ERROR_LOG
from ansible_collections.daffathan.platform.plugins.module_utils._docker.process import (
    Process,
    alive,
    process,
    program,
    stat,
)
from ansible_collections.daffathan.platform.plugins.module_utils._docker.reloads import Queue
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import streams
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.claims import check_claims
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import (
    APPS,
    STREAMS,
    generation,
    knows_streams,
    lacks,
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
# For so many seconds a gateway that ended is waited for: Docker starts it again.
PATIENCE = 15.0
HELD = "gateway: {}. Try again when that has ended."
# In the order in which they are written: the one of HTTP, which names the generation, is the last.
KINDS = (STREAMS, APPS)


class NoGateway(RolloutError):
    """There is no gateway that runs."""


class Gateway:
    """The gateway as one app sees it."""

    def __init__(self, engine: Engine, app: str) -> None:
        self.engine = engine
        self.app = app
        self.queue = Queue()
        self._lock = FileLock(LOCK, timeout=LOCK_TIMEOUT, holder=f"the rollout of {app}, process {os.getpid()}")
        self._tested: set[str] = set()
        self._master: Process | None = None
        # Workers with what was in force before, and the processes that there were; none where another run loaded.
        self._leaving: list[Process] = []
        self._before: set[int] = set()

    def container(self, patience: float = PATIENCE) -> Any:
        """The container, which runs. :param patience: seconds to wait for one that has ended to be started again"""
        deadline = time.monotonic() + patience
        container = self.engine.container(GATEWAY)
        while container is not None and container.status != "running" and time.monotonic() < deadline:
            time.sleep(0.1)
            container = self.engine.container(GATEWAY)
        if container is None or container.status != "running":
            what = "does not exist" if container is None else f"is {container.status}"
            raise NoGateway(
                f"gateway: the container {GATEWAY} {what}, so no request could reach the app. Run role "
                "daffathan.platform.gateway first"
                f"{'' if container is None else f'; `docker logs {GATEWAY}` and {ERROR_LOG} tell why it ended'}."
            )
        # There is none of one that ends this moment: its number is 0.
        self._master = process(int(container.attrs["State"]["Pid"]))
        return container

    def check_base(self, *, tcp: bool) -> None:
        """Raise where the base configuration is of a version that could not serve the app. :param tcp: also by TCP"""
        base = self._base()
        missing = lacks(base)
        if missing or (tcp and not knows_streams(base)):
            what = f"does not know {missing[0]}" if missing else "cannot serve `protocol: tcp`"
            raise RolloutError(
                f"gateway: {DIRECTORY}/nginx.conf is of a version before this one, which {what}. Run role "
                "daffathan.platform.gateway again."
            )

    def read(self) -> str | None:
        return _read(self.app)

    def written_generation(self) -> str | None:
        return generation(self.read())

    def loaded_generation(self) -> str | None:
        """What the gateway answers on a fresh connection; None where it does not know the app or does not run."""
        try:
            return _answer(ADMIN_SOCKET, self.app, "/generation")
        except OSError:
            return None

    def settle(self) -> None:
        """Return when nothing that a killed run of this app wanted will be loaded any more."""
        if not self.queue.withdraw(self.app):
            with self._locked():
                self.queue.clear(self.app)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except LockTimeout as error:
            raise RolloutError(HELD.format(error)) from error

    def load(self, text: str | None) -> list[Process]:
        """Test, write and load the app's files, or take them away (None); the workers that still have the old ones."""
        return self._queued(text, self._load)

    def put_back(self, text: str | None) -> list[Process] | None:
        """The same for what was in force before; None where the gateway does not run, which reads it when it starts."""
        running = True

        def write(wanted: str | None) -> list[Process]:
            nonlocal running
            try:
                return self._load(wanted, patience=1)
            except NoGateway:
                running = False
                _write(self.app, wanted)
                return []

        workers = self._queued(text, write)
        return workers if running else None

    def _queued(self, text: str | None, load: Callable[[str | None], list[Process]]) -> list[Process]:
        """Wait for the lock. Who had it before may have loaded the text along with its own."""
        ticket = self.queue.ask(self.app, text)
        self._before = set()
        while True:
            try:
                with self._lock:
                    try:
                        workers = self.queue.answer(self.app, ticket)
                        self._leaving = load(text) if workers is None else workers
                        return self._leaving
                    finally:
                        self.queue.clear(self.app)
            except LockTimeout as error:
                # One that is being granted is waited for: it must not come true after this run has given up.
                if self.queue.withdraw(self.app):
                    raise RolloutError(HELD.format(error)) from error

    def _load(self, text: str | None, patience: float = PATIENCE) -> list[Process]:
        self._running(patience)
        wanted = {self.app: text}
        if text is None:
            self._remove_candidate()
        if text is not None and text != self.read():
            self._test(wanted)
        others = self.queue.claim(self.app)
        if others:
            together = {**{app: wish.text for app, wish in others.items()}, **wanted}
            try:
                self._test(together)
                wanted = together
            except RolloutError:
                # Each by itself then: who is to blame will be told.
                self.queue.give_back(others)
                others = {}
        for app, content in wanted.items():
            if content != _read(app):
                _write(app, content)
        master, workers = self._listening(patience)
        self._before = _processes()
        # Not through the engine: it takes any signal it sends for a stop by hand, and then does not start an
        # `unless-stopped` container after the next boot. One that has ended meanwhile reads the files when it starts.
        with contextlib.suppress(ProcessLookupError):
            os.kill(master.pid, signal.SIGHUP)
        self.queue.grant(others, workers)
        return workers

    def _running(self, patience: float) -> Process:
        """The first process of nginx. Where that is known the engine is not asked: it would work beside requests."""
        deadline = time.monotonic() + patience
        while self._master is None or not self._master.alive():
            if time.monotonic() > deadline:
                raise NoGateway(f"gateway: the process of the container {GATEWAY} is gone. Run the same command again.")
            self.container(max(deadline - time.monotonic(), 0))
            time.sleep(0.01)
        return self._master

    def _listening(self, patience: float) -> tuple[Process, list[Process]]:
        """The same and its workers. Until it has some it may have read its files already, but would lose a signal."""
        deadline = time.monotonic() + patience
        while True:
            master = self._running(max(deadline - time.monotonic(), 0))
            # What starts it may have children too.
            workers = _children(master.pid) if program(master.pid) == "nginx" else []
            if workers:
                return master, workers
            if time.monotonic() > deadline:
                raise NoGateway(f"gateway: nginx does not start; the end of {ERROR_LOG} tells why.")
            time.sleep(0.01)

    def _base(self) -> str:
        base = read_text(f"{DIRECTORY}/nginx.conf")
        if base is None:
            raise RolloutError(
                f"gateway: {DIRECTORY}/nginx.conf is missing. Run role daffathan.platform.gateway first."
            )
        return base

    def test_candidate(self, text: str) -> None:
        """Whether nginx takes files for this app beside what else it has; not asked a second time about the same."""
        self._test({self.app: text})

    def _test(self, wanted: Mapping[str, str | None]) -> None:
        """The same for files of several apps."""
        base, others = self._base(), {kind: _others(kind, wanted) for kind in KINDS}
        # By what they hold: `INSIDE` is this directory.
        contents = {kind: [read_text(f"{DIRECTORY}/{kind}/{name}") for name in names] for kind, names in others.items()}
        everything = canonical_hash([base, dict(wanted), others, contents])
        if everything in self._tested:
            return
        # Each run has asked for this when it began; two that began together did not see each other.
        rest = {name.removesuffix(".conf") for names in others.values() for name in names}
        check_claims(wanted, {app: _read(app) for app in sorted(rest)})
        included = {kind: [f"{INSIDE}/{kind}/{name}" for name in names] for kind, names in others.items()}
        written: dict[str, str] = {}
        for app, text in wanted.items():
            for kind, part in _parts(text).items():
                name = f".{self.app}.{app}.{kind}.candidate"
                if part:
                    written[name] = part
                    included[kind].append(f"{INSIDE}/{name}")
        whole = f".{self.app}.nginx.candidate"
        written[whole] = test_configuration(base, included, INSIDE)
        try:
            for name, part in written.items():
                write_atomic(f"{DIRECTORY}/{name}", part, mode=0o644)
            self._nginx_test(f"{INSIDE}/{whole}")
            self._tested.add(everything)
        finally:
            self._remove_candidate()

    def _remove_candidate(self) -> None:
        """Also what a run that was killed in the middle of a test left."""
        for path in glob.glob(f"{glob.escape(DIRECTORY)}/.{self.app}.*candidate"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _nginx_test(self, path: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                run(["docker", "exec", GATEWAY, "nginx", "-t", "-q", "-c", path], timeout=30)
                return
            except CommandError as error:
                said = (error.completed.stderr or str(error)).strip()
                if "nginx: " in said:
                    raise RolloutError(
                        f"gateway: nginx refuses the configuration of {self.app}; the one in force was not touched. It "
                        f"says:\n{said}"
                    ) from error
                if time.monotonic() > deadline:
                    raise RolloutError(f"gateway: the configuration of {self.app} cannot be tested: {said}") from error
            # It was not nginx that spoke: the gateway, or the engine, went away under the test.
            self.engine.came_back()
            self.container()
            time.sleep(0.1)

    def fence(self, wanted: str | None, rounds: int = 0) -> None:
        """Return when many fresh connections in a row meet the generation: no worker with the old one accepts any more.

        :param rounds: how many; 0 for four times the number of workers of the gateway, at least 16.
        """
        needed = rounds or max(16, 4 * (os.cpu_count() or 1))
        deadline = time.monotonic() + FENCE_TIMEOUT
        row, last, told = 0, None, False
        while row < needed:
            last = self.loaded_generation()
            row = row + 1 if last == wanted else 0
            if row == 0:
                told = told or self._send_away()
                if time.monotonic() > deadline:
                    # One that does not run at all has more to say.
                    self.container(patience=0)
                    raise RolloutError(
                        f"gateway: after {FENCE_TIMEOUT:.0f} s it still answers with generation {last} instead of "
                        f"{wanted}. The end of {ERROR_LOG} tells why the configuration was not loaded."
                    )
                time.sleep(0.01)

    def _send_away(self) -> bool:
        """Tell the old workers to leave once a new one waits for connections; whether they were told.

        nginx does so itself 100 ms after it started the new ones; until then the old ones take nearly all connections,
        as Linux wakes who waits longest. All accept from the same queues, so nothing is lost, and a worker that is told
        twice heeds the first, see https://nginx.org/en/docs/control.html.
        """
        master = self._master
        # Each look at all processes would cost requests their share of the processor.
        found = [] if master is None else _children(master.pid, _processes() - self._before)
        new = [worker for worker in found if worker not in self._leaving]
        if not any(worker.waits() for worker in new):
            return False
        for worker in alive(self._leaving):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGQUIT)
        return True


def _answer(path: str, host: str, target: str, timeout: float = 2) -> str | None:
    """The text that nginx answers on a connection of its own to a Unix socket; None where it is no 200.

    A fence asks dozens of times in the moment of the switch, where each millisecond is one less for requests.

    :raises OSError: nobody answers
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(f"GET {target} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    head, _end, body = b"".join(parts).partition(b"\r\n\r\n")
    return body.decode("utf-8", "replace").strip() if head.split(b" ", 2)[1:2] == [b"200"] else None


def _processes() -> set[int]:
    return {int(entry) for entry in os.listdir("/proc") if entry.isdigit()}


def _children(master: int, among: Collection[int] | None = None) -> list[Process]:
    """The workers of an nginx, seen from the host. :param among: the processes to look at; None for all"""
    found = []
    for pid in _processes() if among is None else among:
        fields = stat(pid)
        if fields is not None and fields[1] == str(master):
            found.append(Process(pid, fields[19]))
    return found


def _path(app: str, kind: str) -> str:
    return f"{DIRECTORY}/{kind}/{app}.conf"


def _parts(text: str | None) -> dict[str, str]:
    http, tcp = streams.divide(text or "")
    return {APPS: http, STREAMS: tcp}


def _read(app: str) -> str | None:
    return streams.unite(read_text(_path(app, APPS)), read_text(_path(app, STREAMS)))


def _write(app: str, text: str | None) -> None:
    """A kill between the two files leaves what no generation fits, see `generation`."""
    parts = _parts(text)
    for kind in KINDS:
        path = _path(app, kind)
        if parts[kind]:
            write_atomic(path, parts[kind], mode=0o644)
        elif os.path.exists(path):
            os.unlink(path)
            fsync_directory(os.path.dirname(path))


def _others(kind: str, apps: Collection[str]) -> list[str]:
    """The names of the files of the other apps."""
    names = map(os.path.basename, sorted(glob.glob(f"{glob.escape(DIRECTORY)}/{kind}/*.conf")))
    return [name for name in names if name not in {f"{app}.conf" for app in apps}]
