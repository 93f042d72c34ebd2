# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The generator, as a command and from a test, on the real sample service: exit status, TLS, how the service ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load import Load, LoadError
from tests.support.certificates import Authority
from tests.support.stores import free_port
from tests.unit.load.server import Loader, Server

PROJECT = Path(__file__).resolve().parents[3]
APP = PROJECT / "examples" / "daffathan-labs" / "service" / "app.py"


@contextlib.contextmanager
def sample(port: int, stdout: int = subprocess.DEVNULL, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """The sample service as a process, from its first answer on."""
    process = subprocess.Popen(
        [sys.executable, str(APP)],
        env={**os.environ, "PORT": str(port), "VERSION": "1.0.0", **env},
        stdout=stdout,
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None and time.monotonic() < deadline, "the sample service does not listen"
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def port() -> int:
    return free_port()


def get(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.load", *arguments]
    return subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_ends_with_a_report_and_status_0(port: int, tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    with sample(port, SERVICE_NAME="api"):
        url = f"http://127.0.0.1:{port}"
        done = command(
            *("--url", url, "--rate", "50", "--seconds", "2", "--lag-limit", "1"), *("--output", str(output))
        )
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    assert report["sent"] == report["ok"] == 100
    assert report["failed"] == 0
    assert list(report["versions"]) == ["1.0.0"]


def test_failures_are_status_1(port: int, tmp_path: Path) -> None:
    with sample(port) as service:
        argv = [sys.executable, "-m", "tests.load", "--url", f"http://127.0.0.1:{port}"]
        argv += ["--rate", "50", "--seconds", "2", "--lag-limit", "1", "--output", str(tmp_path / "report.json")]
        load = subprocess.Popen(argv, cwd=PROJECT, stderr=subprocess.PIPE, text=True)
        assert load.stderr is not None
        assert "started" in load.stderr.readline()
        service.kill()
        _, printed = load.communicate(timeout=30)
    assert load.returncode == 1, printed
    assert json.loads((tmp_path / "report.json").read_text())["failed_requests"]["connect_error"] > 10


def test_refused_options_are_status_2(port: int) -> None:
    for arguments, words in (
        (("--url", f"http://0.0.0.0:{port}"), "load goes only to loopback"),
        (("--url", f"http://127.0.0.1:{port}", "--rate", "0"), "--rate 0"),
        (("--url", f"http://127.0.0.1:{port}"), "does not answer as the sample service"),
    ):
        done = command(*arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_a_generator_that_cannot_keep_up_is_status_3(port: int, tmp_path: Path) -> None:
    with sample(port):
        output = tmp_path / "report.json"
        argv = [sys.executable, "-m", "tests.load", "--url", f"http://127.0.0.1:{port}", "--rate", "50"]
        load = subprocess.Popen([*argv, "--output", str(output)], cwd=PROJECT, stderr=subprocess.PIPE, text=True)
        assert load.stderr is not None
        assert "started" in load.stderr.readline()
        time.sleep(0.3)
        load.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        load.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        load.terminate()
        _, printed = load.communicate(timeout=30)
    assert load.returncode == 3, printed
    assert "did not keep its schedule" in printed


def test_a_file_ends_the_run(port: int, tmp_path: Path) -> None:
    with sample(port):
        until = tmp_path / "stop"
        argv = [sys.executable, "-m", "tests.load", "--url", f"http://127.0.0.1:{port}", "--rate", "20"]
        argv += ["--until-file", str(until), "--lag-limit", "1"]
        with subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as load:
            assert load.stderr is not None
            assert "started" in load.stderr.readline()
            time.sleep(0.5)
            until.touch()
            printed, _ = load.communicate(timeout=10)
    assert load.returncode == 0
    assert json.loads(printed)["seconds"] < 6


def test_a_graceful_end_ends_held_connections_properly(port: int) -> None:
    with sample(port) as service, Load(f"http://127.0.0.1:{port}", rate=50, fresh=1.0, lag_limit=1) as load:
        time.sleep(1)
        service.send_signal(signal.SIGTERM)
        assert service.wait(10) == 0
        report = load.stop()
    assert [report.streams[name]["ended"] for name in ("sse", "ws")] == [1, 1], report.describe()
    # Whatever was accepted got its answer, what came later found no listener. Between them the kernel resets what waits
    # to be accepted when the listener closes; a sudden end resets all slow answers on their way.
    assert set(report.failed_requests) - {"reset"} == {"connect_error"}, report.describe()
    assert report.failed_requests.get("reset", 0) <= 2, report.describe()
    assert all(set(stream["failed"]) <= {"connect_error"} for stream in report.streams.values())
    assert report.latency_ms["slow"]["max"] >= 1500


def test_a_websocket_stays_open_until_its_close_frame_is_answered(port: int) -> None:
    handshake = (
        b"GET /ws HTTP/1.1\r\nHost: sample\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2FtcGxlIHNlcnZpY2UuLg==\r\n\r\n"
    )
    mask = bytes(4)
    text, close = b"\x81\x81" + mask + b"x", b"\x88\x82" + mask + (1001).to_bytes(2, "big")
    with sample(port) as service, socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(handshake)
        assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
        client.sendall(text)
        assert client.recv(4096) == b"\x81\x01x"
        service.send_signal(signal.SIGTERM)
        assert client.recv(4096).startswith(b"\x88\x0a" + (1001).to_bytes(2, "big"))
        client.sendall(text)
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.recv(4096)
        client.settimeout(5)
        client.sendall(close)
        assert client.recv(4096) == b""
        assert service.wait(10) == 0


def test_it_ends_though_nobody_reads_its_log(port: int) -> None:
    with sample(port, stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        service.stdout.close()
        service.send_signal(signal.SIGTERM)
        assert service.wait(10) == 0


def test_an_ungraceful_end_cuts_them(port: int) -> None:
    with sample(port, GRACEFUL="0") as service, Load(f"http://127.0.0.1:{port}", rate=50, lag_limit=1) as load:
        time.sleep(1)
        service.send_signal(signal.SIGTERM)
        assert service.wait(10) == 143
        # The streams notice a little after the process is gone.
        time.sleep(0.5)
        report = load.stop()
    cuts = {"truncated", "reset"}
    assert cuts & set(report.streams["sse"]["failed"]), report.describe()
    assert cuts & set(report.streams["ws"]["failed"]), report.describe()
    assert report.streams["sse"]["ended"] == report.streams["ws"]["ended"] == 0
    assert report.failed_requests["reset"] >= 1, "requests in flight"


def test_a_load_that_does_not_start_raises(port: int) -> None:
    with pytest.raises(LoadError, match="does not answer as the sample service"), Load(f"http://127.0.0.1:{port}"):
        pytest.fail("entered")


def test_the_service_answers_at_the_root_and_under_its_prefix(port: int) -> None:
    with sample(port, SERVICE_NAME="api", PREFIX="/api", WARMUP_SECONDS="1"):
        assert get(port, "/api/health")[0] == 503
        for path in ("/", "/api", "/api/", "/version", "/api/version"):
            status, headers, body = get(port, path, {"X-Request-Id": "one"})
            assert (status, headers["X-Version"], headers["X-Request-Id"]) == (200, "1.0.0", "one")
            assert json.loads(body)["service"] == "api"
        time.sleep(1)
        assert get(port, "/health")[0] == get(port, "/api/ready")[0] == 200
        assert get(port, "/notes")[0] == 404
    with sample(port, HEALTH="bad"):
        assert get(port, "/health")[0] == 503
        assert re.search(rb"<strong>1\.0\.0</strong>", get(port, "/")[2])


def test_the_port_opens_after_the_startup(port: int) -> None:
    begun = time.monotonic()
    with sample(port, STARTUP_SECONDS="1"):
        assert time.monotonic() - begun >= 1


def test_a_crash_is_a_traceback_and_status_3() -> None:
    done = subprocess.run(
        [sys.executable, str(APP)], env={**os.environ, "CRASH": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "Traceback" in done.stderr


def certificate(name: str, directory: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for a name: the file of the authority a client trusts, and a server's context."""
    authority = Authority()
    issued = authority.issue([name])
    trusted, pem = directory / f"{name}.crt", directory / f"{name}.pem"
    trusted.write_text(authority.certificate)
    pem.write_text(issued.certificate + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return trusted, context


def test_tls_is_verified_against_the_authority_and_the_name(load: Loader, tmp_path: Path) -> None:
    crt, context = certificate("labs.example.test", tmp_path)
    other, _ = certificate("other.example.test", tmp_path)

    def server(host: str = "labs.example.test") -> Server:
        return Server(scheme="https", host=host, address="127.0.0.1")

    report = load(server(), tls=context, ca=str(crt))
    assert report.passed, report.describe()
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        load(server(), tls=context, ca=str(other))
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        load(server("wrong.example.test"), tls=context, ca=str(crt))
