# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read of an engine, and what becomes of answers that are late, cut, odd or hostile."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import collect_engines, engines, units
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import Engine
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine_client import (
    EngineError,
    Silent,
    ask,
    get,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge import judge
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Finding, failing
from ansible_collections.daffathan.platform.plugins.module_utils._audit.processes import Process

from tests.support.audit_values import host
from tests.support.fake_engine import HANG, INFO, Status, bridge, engine, inspected, summary

LIST = "/containers/json?all=1"


def one(number: int) -> str:
    return f"/containers/{number:064x}/json"


def read(directory: Path, answers: dict[str, Any], timeout: float = 5) -> Engine:
    with engine(directory, answers) as path:
        return engines.read(path, timeout)


def test_everything_is_asked_over_kept_connections(tmp_path: Path) -> None:
    with engine(tmp_path, {one(number): inspected(number) for number in range(50)}) as path:
        answers = ask(path, [one(number) for number in range(50)], 5)
    assert [answers[one(number)]["Id"] for number in range(50)] == [f"{number:064x}" for number in range(50)]


def test_an_engine_that_hangs_costs_one_time_limit(tmp_path: Path) -> None:
    """The questions behind the first one are not asked: their answer says so."""
    with engine(tmp_path, {one(number): HANG for number in range(100)}) as path:
        answers = ask(path, [one(number) for number in range(100)], 0.3)
    assert all(isinstance(answer, Silent) for answer in answers.values())
    assert "not asked" in str(answers[one(99)])


def test_an_engine_that_sends_a_byte_now_and_then_is_late_all_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "slow.sock")
    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not over.wait(0.05):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        threading.Thread(target=drip, daemon=True).start()
        try:
            with pytest.raises(Silent, match="no complete answer within"):
                get(path, "/info", 0.5)
        finally:
            over.set()


@pytest.mark.parametrize("resource", [LIST, "/networks"])
@pytest.mark.parametrize("answer", [HANG, b"{", b"\xff\xfe", b"[" * 100_000, Status(500), {}, [None], [[]], "x"])
def test_without_containers_and_networks_nothing_is_said(tmp_path: Path, resource: str, answer: Any) -> None:
    with pytest.raises(EngineError):
        found = read(tmp_path, {resource: answer}, timeout=0.3)
        if found.problems:
            raise EngineError(found.problems[0])


@pytest.mark.parametrize("resource", ["/info", "/volumes"])
@pytest.mark.parametrize("answer", [b"{", Status(500), [], {"Swarm": 1, "Volumes": 1}])
def test_a_question_beside_that_is_not_answered_is_a_problem(tmp_path: Path, resource: str, answer: Any) -> None:
    found = read(tmp_path, {resource: answer, LIST: [summary(1)]})
    assert [item.name for item in found.containers] == ["c1"] and found.problems


def test_null_and_missing_fields_are_empty_ones(tmp_path: Path) -> None:
    bare = {
        "Id": "a" * 64,
        "State": "running",
        "Ports": None,
        "Mounts": None,
        "NetworkSettings": None,
        "HostConfig": None,
    }
    found = read(tmp_path, {LIST: [bare, {"Id": "b" * 64, "State": "running"}], "/info": {}, "/networks": None})
    assert [(item.name, item.bindings) for item in found.containers] == [("a" * 12, ()), ("b" * 12, ())]
    assert not found.problems


def test_one_odd_container_does_not_hide_the_others(tmp_path: Path) -> None:
    found = read(tmp_path, {LIST: [summary(1), {**summary(2), "Ports": [{"PublicPort": "x"}]}, summary(3)]})
    assert [item.name for item in found.containers] == ["c1", "c3"]
    assert len(found.problems) == 1 and "c2" in found.problems[0]


def test_a_container_that_vanishes_between_two_questions_is_none(tmp_path: Path) -> None:
    found = read(tmp_path, {LIST: [summary(1, state="exited"), summary(2)]})
    assert [item.name for item in found.containers] == ["c2"] and not found.problems


@pytest.mark.parametrize("answer", [b"{", {"HostConfig": 1}, {"HostConfig": {"PortBindings": {"80": [None]}}}])
def test_a_stopped_container_that_cannot_be_looked_at_is_a_problem(tmp_path: Path, answer: Any) -> None:
    found = read(tmp_path, {LIST: [summary(1, state="exited")], one(1): answer})
    assert [item.name for item in found.containers] == ["c1"] and "c1" in found.problems[0]


def test_hundreds_of_containers(tmp_path: Path) -> None:
    ports = [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}]
    labels = {"big": "x" * 1_000_000}
    items = [summary(number, Ports=ports, Labels=labels if number == 1 else {}) for number in range(1, 501)]
    items += [summary(number, state="exited") for number in range(501, 1001)]
    found = read(tmp_path, {LIST: items, **{one(number): inspected(number) for number in range(501, 1001)}})
    assert len(found.containers) == 1000 and not found.problems
    assert sum(item.starts_at_boot == "always" for item in found.containers) == 500


def test_names_cannot_forge_lines_of_a_report(tmp_path: Path) -> None:
    name = "x\n- [critical] forged\x1b[31m\u202e\u2028" + "y" * 100_000
    ports = [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}]
    found = read(tmp_path, {LIST: [summary(1, name, Ports=ports, Mounts=[{"Source": "/run"}])]})
    items = judge(host(engine=found, guard=False), ()).findings
    assert {"published-port", "engine-socket-mounted"} <= {item.id for item in items}
    for item in items:
        texts = [text for text in item.as_dict().values() if isinstance(text, str)]
        assert all(text.isprintable() and len(text) <= 1000 for text in texts), item


def boot(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    body = inspected(1)
    change(body)
    return body


@pytest.mark.parametrize(
    ("answer", "starts"),
    [
        (inspected(1, "always"), "always"),
        (inspected(1, "unless-stopped"), "unless-stopped"),
        (inspected(1, "no"), ""),
        (inspected(1, "on-failure"), ""),
        (
            boot(
                lambda body: (
                    body["HostConfig"].update(RestartPolicy={"Name": "on-failure"}) or body["State"].update(ExitCode=1)
                )
            ),
            "on-failure",
        ),
        (inspected(1, "always", "created"), "always"),
        (boot(lambda body: body["State"].update(Status="created", StartedAt="0001-01-01T00:00:00Z")), ""),
        (boot(lambda body: body["State"].update(Restarting=True)), "restarting"),
        (boot(lambda body: body["HostConfig"].update(RestartPolicy=None)), ""),
    ],
)
def test_what_the_engine_starts_again_at_boot(tmp_path: Path, answer: dict[str, Any], starts: str) -> None:
    found = read(tmp_path, {LIST: [summary(1, state="exited")], one(1): answer})
    assert found.containers[0].starts_at_boot == starts


def test_podman_starts_containers_by_a_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {LIST: [summary(1, state="exited")], one(1): inspected(1)}
    for enabled, starts in ((False, ""), (True, "always")):
        monkeypatch.setattr(units, "enabled", lambda name, answer=enabled: answer)
        with engine(tmp_path, answers) as path:
            assert engines.read(path, 5, "podman").containers[0].starts_at_boot == starts
        (tmp_path / "docker.sock").unlink()


def test_what_somebody_stopped_stays_stopped(tmp_path: Path) -> None:
    """Only the engine's own file tells it; see moby, HasBeenManuallyStopped."""
    kept = tmp_path / "containers" / f"{1:064x}"
    kept.mkdir(parents=True)
    answers = {
        LIST: [summary(1, state="exited")],
        one(1): inspected(1, "unless-stopped"),
        "/info": {**INFO, "DockerRootDir": str(tmp_path)},
    }
    (kept / "config.v2.json").write_text(json.dumps({"HasBeenManuallyStopped": False}))
    assert read(tmp_path, answers).containers[0].starts_at_boot == "unless-stopped"
    (tmp_path / "docker.sock").unlink()
    (kept / "config.v2.json").write_text(json.dumps({"HasBeenManuallyStopped": True}))
    assert read(tmp_path, answers).containers[0].starts_at_boot == ""


@pytest.mark.parametrize(
    ("bindings", "published", "expected"),
    [
        ({"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}, False, [("127.0.0.1", "8080", "tcp")]),
        ({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}, False, [("0.0.0.0", "8080", "tcp")]),
        ({"80/tcp": [{"HostIp": "", "HostPort": "8000-8010"}]}, False, [("127.0.0.1", "8000-8010", "tcp")]),
        ({"80/udp": [{"HostIp": "::", "HostPort": "53"}]}, False, [("::", "53", "udp")]),
        ({"80/sctp": [{"HostIp": "198.51.100.7", "HostPort": "9"}]}, False, [("198.51.100.7", "9", "sctp")]),
        ({"80/tcp": None}, False, []),
        ({"80/tcp": [{"HostIp": "", "HostPort": ""}]}, False, [("127.0.0.1", "random", "tcp")]),
        (None, True, [("127.0.0.1", "random", "tcp"), ("127.0.0.1", "random", "udp")]),
    ],
)
def test_what_a_stopped_container_would_publish(
    tmp_path: Path, bindings: Any, published: bool, expected: list[tuple[str, str, str]]
) -> None:
    answer = inspected(1, PortBindings=bindings, PublishAllPorts=published)
    answer["Config"] = {"ExposedPorts": {"443/tcp": {}, "443/udp": {}}}
    found = read(tmp_path, {LIST: [summary(1, state="exited")], one(1): answer}).containers[0]
    assert [(item.host_ip, item.text, item.proto) for item in found.bindings] == expected


@pytest.mark.parametrize(
    ("networks", "mode", "default"),
    [
        ([bridge(binding="127.0.0.1")], "bridge", "127.0.0.1"),
        ([bridge(binding="")], "bridge", ""),
        ([bridge(), bridge("old", "")], "old", ""),
        ([bridge(), bridge("new", "127.0.0.1")], "new", "127.0.0.1"),
        ([bridge(), bridge("new", "127.0.0.1"), bridge("old", "")], "new", ""),
    ],
)
def test_the_default_address_is_that_of_the_worst_network(
    tmp_path: Path, networks: list[dict[str, Any]], mode: str, default: str
) -> None:
    attached = {network["Name"]: {} for network in networks} if len(networks) == 3 else {mode: {}}
    item = summary(1, state="exited", NetworkSettings={"Networks": attached})
    answer = inspected(1, NetworkMode=mode)
    found = read(tmp_path, {LIST: [item], one(1): answer, "/networks": networks}).containers[0]
    assert [binding.host_ip for binding in found.bindings] == [default]


def test_networks_are_shared_with_what_joins_them(tmp_path: Path) -> None:
    flat = summary(1, "flat", HostConfig={"NetworkMode": "host"}, NetworkSettings={"Networks": {"host": {}}})
    beside = summary(2, "beside", HostConfig={"NetworkMode": f"container:{1:064x}"}, NetworkSettings={"Networks": {}})
    third = summary(3, "third", HostConfig={"NetworkMode": f"container:{2:064x}"}, NetworkSettings={"Networks": {}})
    ring = summary(4, "ring", HostConfig={"NetworkMode": f"container:{4:064x}"}, NetworkSettings={"Networks": {}})
    found = {item.name: item.host_network for item in read(tmp_path, {LIST: [third, beside, flat, ring]}).containers}
    assert found == {"flat": True, "beside": True, "third": True, "ring": False}


def test_a_volume_that_is_a_path_counts_as_the_path(tmp_path: Path) -> None:
    volumes = {"Volumes": [{"Name": "sock", "Options": {"o": "bind", "device": "/run", "type": "none"}}, {"Name": "x"}]}
    mounts = [{"Type": "volume", "Name": "sock", "Source": "/var/lib/docker/volumes/sock/_data"}]
    found = read(tmp_path, {LIST: [summary(1, Mounts=mounts)], "/volumes": volumes})
    assert found.containers[0].mounts == ("/run",)


def test_a_mount_by_a_link_counts_as_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/run")
    found = read(tmp_path, {LIST: [summary(1, Mounts=[{"Source": str(tmp_path / "link")}])]})
    assert "/run" in found.containers[0].mounts


def test_the_services_of_a_swarm(tmp_path: Path) -> None:
    port = {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}
    services = [{"ID": "x", "Spec": {"Name": "web"}, "Endpoint": {"Ports": [port]}}, {"ID": "y", "Endpoint": {}}]
    state = {"Swarm": {"LocalNodeState": "active", "ControlAvailable": True}}
    found = read(tmp_path, {"/info": state, "/services": services})
    assert found.swarm and found.service_at("tcp", 8080) == "web" and not found.service_at("udp", 8080)
    (tmp_path / "docker.sock").unlink()
    assert read(tmp_path, {"/info": state, "/services": Status(503)}).problems
    for name in ("locked", "pending", "error"):
        (tmp_path / "docker.sock").unlink()
        assert read(tmp_path, {"/info": {"Swarm": {"LocalNodeState": name}}}).swarm


def test_every_socket_of_an_engine_is_found_once(tmp_path: Path) -> None:
    for place in ("run/podman", "run/user/1000/podman", "run/user/1001"):
        (tmp_path / place).mkdir(parents=True)
    with (
        engine(tmp_path / "run", {}) as main,
        engine(tmp_path / "run/podman", {}, "podman.sock"),
        engine(tmp_path / "run/user/1000/podman", {}, "podman.sock"),
        engine(tmp_path / "run", {}, "second.sock") as second,
    ):
        (tmp_path / "run/user/1001/docker.sock").write_text("not a socket")
        (tmp_path / "run/user/1000/docker.sock").symlink_to(main)
        found = engines.endpoints(main, [second, main, second], str(tmp_path))
    assert [(item.engine, item.user) for item in found] == [("docker", ""), ("podman", ""), ("podman", "1000")]


def test_a_user_cannot_pass_his_container_off_as_one_of_the_host(tmp_path: Path) -> None:
    with engine(tmp_path, {LIST: [summary(1, "gateway")]}) as path:
        found = engines.read(path, 5, "docker", "1000").containers[0]
    assert found.name == "uid 1000/gateway" and found.rootless


def look(path: str, table: list[Process] | None = None) -> tuple[Engine | None, list[Finding]]:
    problems: list[Finding] = []
    found, _daemon = collect_engines.look(path, 1, table or [], problems)
    return found, problems


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine may have engines of its own, which are not part of these tests."""
    monkeypatch.setattr(collect_engines, "_BINARIES", ())
    monkeypatch.setattr(collect_engines, "_PODMAN", ())
    monkeypatch.setattr(collect_engines.daemon, "FILE", "/nonexistent/daemon.json")
    monkeypatch.setattr(collect_engines.engines, "endpoints", lambda main, others=(), root="": [])
    monkeypatch.setattr(units, "load", lambda name, root="": None)


@pytest.mark.usefixtures("nothing_installed")
def test_no_engine_is_no_problem(tmp_path: Path) -> None:
    assert look(str(tmp_path / "none")) == (None, [])


@pytest.mark.usefixtures("nothing_installed")
def test_an_engine_that_is_installed_and_down_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "dockerd"
    binary.touch()
    monkeypatch.setattr(collect_engines, "_BINARIES", (str(binary),))
    found, problems = look(str(tmp_path / "none"))
    assert found is None and failing(problems, "high") and "there is no socket" in problems[0].evidence


@pytest.mark.usefixtures("nothing_installed")
def test_podman_without_its_socket_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stopped containers and their mounts are nowhere else to be seen."""
    for name in ("podman", "alive"):
        (tmp_path / name).touch()
    monkeypatch.setattr(collect_engines, "_PODMAN", (str(tmp_path / "podman"),))
    monkeypatch.setattr(collect_engines, "_PODMAN_USED", (str(tmp_path / "alive"),))
    _found, problems = look(str(tmp_path / "none"))
    assert [(item.id, item.severity) for item in problems] == [("podman-not-asked", "unknown")]
    (tmp_path / "alive").unlink()
    assert look(str(tmp_path / "none")) == (None, [])


@pytest.mark.usefixtures("nothing_installed")
def test_a_question_does_not_start_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docker.socket listens while dockerd does not run: the first connection would start it, and its containers."""
    binary = tmp_path / "dockerd"
    binary.touch()
    monkeypatch.setattr(collect_engines, "_BINARIES", (str(binary),))
    monkeypatch.setattr(units, "load", lambda name, root="": units.Unit(name) if name == "docker.socket" else None)
    with engine(tmp_path, {LIST: [summary(1)]}) as path:
        found, problems = look(path)
        assert found is None and "would start it" in problems[0].evidence
        found, problems = look(path, [Process(1, "dockerd", "")])
        assert found is not None and len(found.containers) == 1


@pytest.mark.usefixtures("nothing_installed")
def test_a_socket_that_is_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link.sock"
    link.symlink_to(tmp_path / "docker.sock")
    assert "broken link" in look(str(link))[1][0].evidence
    with engine(tmp_path, {LIST: [summary(1)]}):
        found, problems = look(str(link))
    assert found is not None and len(found.containers) == 1 and not problems


@pytest.mark.usefixtures("nothing_installed")
def test_an_engine_elsewhere_is_not_asked_and_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    found, problems = look(str(tmp_path / "none"))
    assert found is None and [(item.id, item.severity) for item in problems] == [("engine-elsewhere", "low")]


@pytest.mark.usefixtures("nothing_installed")
def test_what_an_engine_did_not_answer_is_unknown(tmp_path: Path) -> None:
    with engine(tmp_path, {LIST: [summary(1)], "/info": HANG}) as path:
        found, problems = look(path)
    assert found is not None and failing(problems, "high") and problems[0].id == "engine-not-examined"
