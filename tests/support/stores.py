# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backing stores and services of the examples as processes: what `make stores` has unpacked, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.ansible import PROJECT

STORES = PROJECT / ".build" / "stores"
ROOT = STORES / "root"
COMPOSE = STORES / "compose" / "usr" / "libexec" / "docker" / "cli-plugins" / "docker-compose"
# Python of the distribution, for which the unpacked libraries were built.
PYTHON = "/usr/bin/python3"
# PostgreSQL refuses to run as root.
NOBODY = 65534
PASSWORD = "only-for-tests"
MISSING = "the backing stores are not unpacked: make stores"


def unpacked() -> bool:
    return (STORES / "stamp").exists()


def compose(directory: Path, *arguments: str, **env: str) -> dict[str, Any]:
    """A compose file as Compose of Debian 13 understands it; it must have nothing to say against it."""
    argv = [str(COMPOSE), *arguments, "config", "--format", "json"]
    done = subprocess.run(argv, cwd=directory, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    model: dict[str, Any] = json.loads(done.stdout)
    return model


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**values: str) -> dict[str, str]:
    """What a program of the unpacked packages needs to find its files."""
    machine = next((ROOT / "usr" / "lib").glob("*-linux-gnu*"), ROOT)
    return {
        "PATH": f"{ROOT}/usr/lib/erlang/bin:{ROOT}/usr/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LD_LIBRARY_PATH": str(machine),
        "PYTHONPATH": f"{ROOT}/usr/lib/python3/dist-packages",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        **values,
    }


def wait_for(true: Callable[[], object], process: subprocess.Popen[bytes], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, f"{what} ended with status {process.returncode}"
        assert time.monotonic() < deadline, f"{what} is not there after {seconds} s"
        time.sleep(0.05)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Process:
    """A program that can be ended and started again, with the same data."""

    def __init__(
        self, what: str, argv: list[str], ready: Callable[[], object], log: Path, env: Mapping[str, str], **how: Any
    ) -> None:
        self.what, self.argv, self.ready, self.log, self.env, self.how = what, argv, ready, log, env, how
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.argv, env=dict(self.env), stdout=log, stderr=log, start_new_session=True, **self.how
            )
        wait_for(self.ready, self.running, f"{self.what} ({self.log})")

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> int | None:
        """Its exit status."""
        if self.running is None:
            return None
        self.running.send_signal(kind)
        try:
            return self.running.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.running.pid, signal.SIGKILL)
            return self.running.wait()
        finally:
            # A store is a group of processes.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.running.pid, signal.SIGKILL)
            self.running = None


def binaries(pattern: str) -> Path:
    """The directory of a program below /usr/lib, unpacked or installed."""
    return next(path for base in (ROOT, Path("/")) for path in base.glob(f"usr/lib/{pattern}")).parent


@contextmanager
def postgres(directory: Path, database: str) -> Iterator[int]:
    """A server with a database whose owner has its name; the port."""
    port, data = free_port(), directory / "postgres"
    data.mkdir()
    as_nobody: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(data, NOBODY, NOBODY)
        as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    programs, env = binaries("postgresql/*/bin/initdb"), environment(PGPASSWORD=PASSWORD)
    password = directory / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    argv = [str(programs / "initdb"), "--pgdata", str(data / "data"), "--username", database, "--auth=scram-sha-256"]
    argv += ["--pwfile", str(password), "--no-sync"]
    subprocess.run(argv, env=env, check=True, capture_output=True, cwd=directory, **as_nobody)
    argv = [str(programs / "postgres"), "-D", str(data / "data"), "-p", str(port), "-k", str(data), "-F"]
    argv += ["-c", "listen_addresses=127.0.0.1"]
    client = ["psql", "--host=127.0.0.1", f"--port={port}", f"--username={database}", "--no-psqlrc", "--quiet"]
    client = [str(programs / client[0]), *client[1:]]

    def answers() -> bool:
        argv = [*client, "--dbname=postgres", "--command=SELECT 1"]
        return subprocess.run(argv, env=env, capture_output=True, check=False).returncode == 0

    server = Process("PostgreSQL", argv, answers, directory / "postgres.log", env, cwd=directory, **as_nobody)
    server.start()
    try:
        argv = [*client, "--dbname=postgres", f"--command=CREATE DATABASE {database}"]
        subprocess.run(argv, env=env, check=True, capture_output=True)
        yield port
    finally:
        server.stop(signal.SIGINT)


@contextmanager
def redis(directory: Path) -> Iterator[int]:
    port = free_port()
    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", ""]
    argv[0] = shutil.which(argv[0], path=environment()["PATH"]) or argv[0]
    server = Process("Redis", argv, lambda: listens(port), directory / "redis.log", environment(), cwd=directory)
    server.start()
    try:
        yield port
    finally:
        server.stop()


@dataclass(frozen=True)
class Rabbit:
    """A broker; its data outlive a restart."""

    port: int
    server: Process


@contextmanager
def rabbitmq(directory: Path, user: str) -> Iterator[Rabbit]:
    port, home = free_port(), directory / "rabbitmq"
    home.mkdir()
    config = home / "rabbitmq.conf"
    config.write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\ndefault_user = {user}\ndefault_pass = {PASSWORD}\n"
        "disk_free_limit.absolute = 1MB\n"
    )
    (home / "enabled_plugins").write_text("[].\n")
    programs = binaries("rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
    env = environment(
        HOME=str(home),
        RABBITMQ_CONFIG_FILE=str(config),
        RABBITMQ_ENABLED_PLUGINS_FILE=str(home / "enabled_plugins"),
        RABBITMQ_MNESIA_BASE=str(home / "data"),
        RABBITMQ_LOG_BASE=str(home / "log"),
        RABBITMQ_PID_FILE=str(home / "pid"),
        RABBITMQ_NODENAME=f"test{port}@localhost",
        # Neither a port mapper nor a port for other nodes, on any address.
        RABBITMQ_DIST_PORT=str(free_port()),
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
        ERL_EPMD_PORT=str(free_port()),
    )
    argv = [str(programs / "rabbitmq-server")]
    server = Process("RabbitMQ", argv, lambda: listens(port), directory / "rabbitmq.log", env, cwd=home)
    server.start()
    try:
        yield Rabbit(port, server)
    finally:
        server.stop()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any


def request(port: int, path: str, body: object = None, **headers: str) -> Answer:
    """A request to a service on loopback; the body of the answer as JSON where it is."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data, {name.replace("_", "-"): value for name, value in headers.items()}
    )
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            status, found, text = answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, found, text = error.code, error.headers, error.read().decode()
    is_json = found.get_content_type() == "application/json"
    return Answer(status, {name.lower(): value for name, value in found.items()}, json.loads(text) if is_json else text)


def service(source: Path, port: int, log: Path, *beside: Path, **env: str) -> Process:
    """A service of an example, not started yet. :param beside: directories of what it imports"""
    found = environment(PORT=str(port), PYTHONUNBUFFERED="1", **env)
    found["PYTHONPATH"] = os.pathsep.join([found["PYTHONPATH"], *map(str, beside)])
    return Process(source.parent.name, [PYTHON, str(source)], lambda: listens(port), log, found)
