# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every way to set an option of dockerd: the file, the command line, the unit and its drop-ins, the socket unit."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import collect_engines, daemon, processes, units
from ansible_collections.daffathan.platform.plugins.module_utils._audit.daemon import Configuration, Daemon
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine_client import EngineError
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Finding, failing

from tests.support.audit_values import found, host, ids

BINDING = "com.docker.network.bridge.host_binding_ipv4"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-H", "tcp://:2375"], {"host": ("tcp://:2375",)}),
        (["-Htcp://:2375", "-H=fd://"], {"host": ("tcp://:2375", "fd://")}),
        (["-DH", "tcp://:2375"], {"host": ("tcp://:2375",)}),
        (["--host", "tcp://:2375", "--host=fd://"], {"host": ("tcp://:2375", "fd://")}),
        (["--iptables=false", "--ip6tables=0"], {"iptables": ("false",), "ip6tables": ("0",)}),
        (["--tlsverify", "--log-level", "debug"], {"tlsverify": ("true",)}),
        (["--ip", "127.0.0.1", "--config-file=/x"], {"ip": ("127.0.0.1",), "config-file": ("/x",)}),
        (["--", "--iptables=false"], {}),
        (["--host"], {"host": ("",)}),
    ],
)
def test_the_command_line_as_dockerd_reads_it(words: list[str], expected: dict[str, tuple[str, ...]]) -> None:
    assert daemon.parse_arguments(words) == expected


def test_the_file() -> None:
    text = json.dumps(
        {"hosts": ["fd://"], "iptables": False, "default-network-opts": {"bridge": {BINDING: "127.0.0.1"}}}
    )
    options = daemon.parse_file(text)
    assert options["host"] == ("fd://",) and options["iptables"] == ("false",)
    assert Configuration("x", True, options).default_bindings == ("", "127.0.0.1")
    assert daemon.parse_file(" \n") == {}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"hosts": 1}',
        '{"hosts": [null]}',
        '{"iptables": "false"}',
        '{"default-network-opts": []}',
        "[" * 99_999,
    ],
)
def test_a_file_that_dockerd_would_not_take_is_an_error(text: str) -> None:
    with pytest.raises(EngineError):
        daemon.parse_file(text)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"{}", "{}"),
        (codecs.BOM_UTF8 + b"{}", "{}"),
        (codecs.BOM_UTF16_LE + "{}".encode("utf-16-le"), "{}"),
        (codecs.BOM_UTF16_BE + "{}".encode("utf-16-be"), "{}"),
    ],
)
def test_a_byte_order_mark_is_no_text(data: bytes, text: str) -> None:
    assert daemon.decoded(data) == text


@pytest.mark.parametrize("data", [b'{"ip": "\xff"}', codecs.BOM_UTF16_LE + b"{"])
def test_what_is_not_utf8_is_an_error(data: bytes) -> None:
    with pytest.raises(EngineError, match="is not utf"):
        daemon.decoded(data)


UNIT = """
[Service]
EnvironmentFile=-/etc/default/docker
ExecStart=/usr/sbin/dockerd -H fd:// \\
    --containerd=/run/containerd/containerd.sock $DOCKER_OPTS
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host with the unit of Debian's docker.io."""
    write(tmp_path, "usr/lib/systemd/system/docker.service", UNIT)
    return tmp_path


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def hosts(root: Path) -> tuple[str, ...]:
    unit = units.load("docker.service", str(root))
    assert unit is not None
    words = units.command(unit, units.environment(unit, str(root)))
    return Configuration("x", False, daemon.parse_arguments(words[1:])).hosts


def test_a_unit_without_anything_else(root: Path) -> None:
    assert hosts(root) == ("fd://",)


def test_options_from_the_environment_file(root: Path) -> None:
    write(root, "etc/default/docker", '# none\nDOCKER_OPTS="-H tcp://0.0.0.0:2375 --iptables=false"\n')
    assert hosts(root) == ("fd://", "tcp://0.0.0.0:2375")


def test_a_drop_in_replaces_the_command(root: Path) -> None:
    write(
        root,
        "etc/systemd/system/docker.service.d/tcp.conf",
        "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H tcp://0.0.0.0:2375\n",
    )
    assert hosts(root) == ("tcp://0.0.0.0:2375",)


def test_the_last_drop_in_wins_and_that_of_etc_hides_that_of_usr(root: Path) -> None:
    command = "[Service]\nExecStart=\nExecStart=dockerd -H {}\n"
    write(root, "usr/lib/systemd/system/docker.service.d/20.conf", command.format("tcp://hidden:1"))
    write(root, "etc/systemd/system/docker.service.d/20.conf", command.format("tcp://last:1"))
    write(root, "run/systemd/system/docker.service.d/10.conf", command.format("tcp://first:1"))
    assert hosts(root) == ("tcp://last:1",)


def test_a_unit_of_the_administrator_hides_that_of_the_package(root: Path) -> None:
    write(root, "etc/systemd/system/docker.service", "[Service]\nExecStart=/opt/dockerd -H tcp://[::]:2375\n")
    assert hosts(root) == ("tcp://[::]:2375",)


def test_a_masked_unit_and_one_that_starts_at_boot(root: Path) -> None:
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    assert not units.enabled("docker.service", str(root))
    (wants / "docker.service").symlink_to("/usr/lib/systemd/system/docker.service")
    assert units.enabled("docker.service", str(root))
    (root / "etc/systemd/system/docker.service").symlink_to("/dev/null")
    unit = units.load("docker.service", str(root))
    assert unit is not None and unit.masked
    assert units.load("other.service", str(root)) is None


@pytest.mark.parametrize(
    ("streams", "expected"),
    [
        (("/run/docker.sock",), ()),
        (("/run/docker.sock", "2375"), ("tcp://[::]:2375",)),
        (("0.0.0.0:2375", "[::]:2376"), ("tcp://0.0.0.0:2375", "tcp://[::]:2376")),
        (("%t/docker.sock", "@abstract", "vsock:2:1"), ()),
    ],
)
def test_what_the_socket_unit_listens_on(streams: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert daemon.listened(streams) == expected


def setup(root: Path, arguments: list[str] | None = None, started: float = 0) -> tuple[Daemon | None, list[Finding]]:
    """How dockerd is set up below a directory; with arguments it runs since a time."""
    problems: list[Finding] = []
    if arguments is not None:
        write(root, "proc/7/cmdline", "\0".join(["dockerd", *arguments, ""]))
        write(root, "proc/7/stat", f"7 (dockerd) S {' '.join(['0'] * 18)} 0")
        write(root, "proc/stat", f"cpu 0\nbtime {int(started)}\n")
    running = [] if arguments is None else [processes.Process(7, "dockerd", "")]
    return collect_engines.setup(running, problems, str(root)), problems


def judged(subject: Daemon | None) -> dict[str, str]:
    return ids(host(daemon=subject))


def test_without_docker_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert setup(tmp_path) == (None, [])


def test_an_api_on_tcp_that_the_next_start_opens(root: Path) -> None:
    """Case 35: nothing listens yet, and a drop-in is there already."""
    write(
        root,
        "etc/systemd/system/docker.service.d/tcp.conf",
        "[Service]\nExecStart=\nExecStart=dockerd -H tcp://0.0.0.0:2375\n",
    )
    subject, problems = setup(root, [])
    item = found(host(daemon=subject), "engine-on-tcp")
    assert item.severity == "critical" and "docker.service, after the next start" in item.evidence and not problems


def test_an_api_on_tcp_of_the_socket_unit(root: Path) -> None:
    write(root, "usr/lib/systemd/system/docker.socket", "[Socket]\nListenStream=/run/docker.sock\n")
    assert judged(setup(root, [])[0]) == {}
    write(root, "etc/systemd/system/docker.socket.d/tcp.conf", "[Socket]\nListenStream=2375\n")
    assert judged(setup(root, [])[0]) == {"engine-on-tcp": "critical"}
    write(root, "etc/docker/daemon.json", '{"tlsverify": true}')
    assert judged(setup(root, [])[0]) == {}
    write(root, "etc/docker/daemon.json", "{}")
    write(
        root,
        "etc/systemd/system/docker.socket.d/unset.conf",
        "[Socket]\nListenStream=\nListenStream=/run/docker.sock\n",
    )
    assert judged(setup(root, [])[0]) == {}


@pytest.mark.parametrize(
    ("config", "arguments", "expected"),
    [
        ({"hosts": ["tcp://0.0.0.0:2375"]}, [], {"engine-on-tcp": "critical"}),
        ({"hosts": ["tcp://[::]:2376"], "tls": True}, [], {"engine-on-tcp": "critical"}),
        ({"hosts": ["tcp://0.0.0.0:2376"], "tlsverify": True}, [], {}),
        ({"hosts": ["tcp://127.0.0.1:2375"]}, [], {"engine-on-tcp": "high"}),
        ({"hosts": ["tcp://:2375"]}, [], {"engine-on-tcp": "high"}),
        ({"hosts": ["fd://", "unix:///run/docker.sock"]}, [], {}),
        ({"tlsverify": True}, ["--host=tcp://0.0.0.0:2376"], {}),
        ({}, ["-H", "tcp://198.51.100.7:2375", "--tls"], {"engine-on-tcp": "critical"}),
        ({"iptables": False}, [], {"engine-without-rules": "critical"}),
        ({"ip6tables": False}, [], {"engine-without-rules": "high"}),
        ({}, ["--iptables=false"], {"engine-without-rules": "critical"}),
        ({"allow-direct-routing": True}, [], {"engine-direct-routing": "high"}),
        ({}, ["--allow-direct-routing"], {"engine-direct-routing": "high"}),
        ({"userland-proxy": False}, [], {"userland-proxy-off": "low"}),
        ({"icc": False, "ip": "127.0.0.1", "log-driver": "local"}, [], {}),
    ],
)
def test_options_wherever_they_are_set(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    arguments: list[str],
    expected: dict[str, str],
) -> None:
    write(tmp_path, "etc/docker/daemon.json", json.dumps(config))
    subject, problems = setup(tmp_path, arguments)
    assert judged(subject) == expected and not problems


@pytest.mark.parametrize("content", [b"{", b'{"ip": 1,}', b"\xff\xfe\x00", b"[]", b'{"iptables": "false"}'])
def test_a_file_that_cannot_be_read_is_unknown_and_no_pass(tmp_path: Path, content: bytes) -> None:
    """Case 34: edited by hand, and not JSON any more."""
    (tmp_path / "etc/docker").mkdir(parents=True)
    (tmp_path / "etc/docker/daemon.json").write_bytes(content)
    for arguments in (None, []):
        _subject, problems = setup(tmp_path, arguments)
        assert [(item.id, item.severity) for item in problems] == [("daemon-file-not-read", "unknown")]
        assert failing(problems, "high")


def test_another_configuration_file(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"iptables": false}')
    subject, problems = setup(tmp_path, ["--config-file", str(other)])
    assert judged(subject) == {"engine-without-rules": "critical"} and not problems
    other.unlink()
    _subject, problems = setup(tmp_path, ["--config-file", str(other)])
    assert [item.id for item in problems] == ["daemon-file-not-read"]


def test_a_file_that_is_newer_than_what_runs(tmp_path: Path) -> None:
    write(tmp_path, "etc/docker/daemon.json", "{}")
    changed = os.stat(tmp_path / "etc/docker/daemon.json").st_ctime
    assert judged(setup(tmp_path, [], started=changed + 1)[0]) == {}
    assert judged(setup(tmp_path, [], started=changed - 60)[0]) == {"daemon-file-newer": "low"}


def test_rules_that_the_environment_of_the_unit_leaves_out(root: Path) -> None:
    write(
        root,
        "etc/systemd/system/docker.service.d/raw.conf",
        "[Service]\nEnvironment=DOCKER_INSECURE_NO_IPTABLES_RAW=1\n",
    )
    subject, _problems = setup(root, [])
    assert ids(host(daemon=subject, guard=False))["engine-without-raw-rules"] == "critical"
    assert judged(subject) == {"engine-without-raw-rules": "medium"}


def test_a_process_that_vanishes_meanwhile_is_none(tmp_path: Path) -> None:
    write(tmp_path, "7/comm", "dockerd\n")
    (tmp_path / "8").mkdir()
    write(tmp_path, "self/comm", "python3\n")
    assert processes.scan(str(tmp_path)) == [processes.Process(7, "dockerd", "")]
    assert processes.arguments(8, str(tmp_path)) == []


def test_the_start_of_this_process() -> None:
    own = processes.started(os.getpid())
    assert own > 0 and processes.started(1) <= own
    assert processes.started(0) == 0.0
    assert any(item.pid == os.getpid() and item.namespace == processes.namespace("self") for item in processes.scan())
