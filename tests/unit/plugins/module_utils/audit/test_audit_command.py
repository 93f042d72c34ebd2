# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command daffathan-port-audit: its answers, its files and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import command, examine
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Outcome, finding

PUBLISHED = "services: {api: {image: x, ports: ['${BIND:-0.0.0.0}:8080:80']}}\n"
CLEAN = "services: {api: {image: x, ports: ['127.0.0.1:8080:80']}}\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with the compose file of an app."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yml").write_text(PUBLISHED)
    (tmp_path / "broken.env").write_text("A=${B:?is missing}\n")
    return tmp_path


def expected(directory: Path, *entries: object) -> str:
    path = directory / "expected.json"
    path.write_text(json.dumps({"expected": entries}))
    return str(path)


def test_a_finding_is_shown_with_its_remedy_and_ends_in_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["static"]) == command.FINDINGS == 1
    shown = capsys.readouterr().out
    assert "compose.yml:1 8080/tcp api" in shown
    assert "127.0.0.1:8080:80" in shown


def test_a_clean_file_ends_in_0(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "clean.yml").write_text(CLEAN)
    assert command.main(["static", "clean.yml"]) == command.CLEAN == 0
    assert capsys.readouterr().out == "no findings\n"


def test_the_threshold_decides(project: Path) -> None:
    assert command.main(["static", "--fail-on", "none"]) == 0
    (project / "host.yml").write_text("services: {api: {image: x, network_mode: host}}\n")
    assert command.main(["static", "host.yml", "--fail-on", "critical"]) == 0
    assert command.main(["static", "host.yml"]) == 1


def test_what_cannot_be_examined_is_no_pass(project: Path) -> None:
    (project / "broken.yml").write_text("services: [")
    assert command.main(["static", "broken.yml"]) == 1


def test_declared_ports_and_variables_count(project: Path) -> None:
    assert command.main(["static", "--expected", expected(project, {"port": 8080, "container": "api"})]) == 0
    assert command.main(["static", "--expected", expected(project, {"port": 8080, "container": "ui"})]) == 1
    (project / "ci.env").write_text("BIND=127.0.0.1\n")
    assert command.main(["static", "--env-file", "ci.env"]) == 0


def test_the_answer_in_a_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["static", "--format", "sarif", "--output", "audit.sarif"]) == 1
    assert capsys.readouterr().out == ""
    assert json.loads((project / "audit.sarif").read_text())["runs"][0]["results"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["static", "--expected", "missing.json"], ["missing.json", "no file"]),
        (["static", "--expected", "compose.yml"], ["compose.yml", "JSON"]),
        (["static", "--env-file", "missing.env"], ["--env-file", "missing.env"]),
        (["static", "--env-file", "broken.env"], ["--env-file: broken.env", "Correct the file"]),
        (["static", "--output", "missing/out.json"], ["missing/out.json", "Name a file"]),
        (["live", "--engine-timeout", "0"], ["--engine-timeout", "0.0", "from 1 to 60"]),
        (["verify", "127.0.0.1", "--audit", "compose.yml"], ["--audit", "live --format json"]),
    ],
)
def test_what_cannot_run_ends_in_2_and_says_why(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == command.NOT_RUN == 2
    told = capsys.readouterr().err
    assert [word for word in words if word not in told] == [], told


@pytest.mark.parametrize("entry", [{"port": 0}, {"port": 22, "protocol": "tcp"}, {"port": 22, "expires": "soon"}, "22"])
def test_a_bad_declaration_is_named_with_its_file(
    project: Path, entry: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = expected(project, entry)
    assert command.main(["static", "--expected", path]) == 2
    assert f"{path}: expected[0]" in capsys.readouterr().err


def test_a_directory_without_a_compose_file_is_no_pass(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "compose.yml").unlink()
    assert command.main(["static"]) == 1
    assert "the directory has none of compose.yaml" in capsys.readouterr().out


def test_unknown_arguments_end_in_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["static", "--frobnicate"])
    assert ended.value.code == 2


def test_a_fault_of_the_audit_itself_ends_in_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault(*arguments: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(examine, "static", fault)
    assert command.main(["static"]) == 2
    assert "ZeroDivisionError: a fault" in capsys.readouterr().err


def test_live_writes_metrics_beside_its_answer(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = Outcome("live", [finding("x", "high", "It is open.", "Close it.")], [], [])
    monkeypatch.setattr(examine, "live", lambda *arguments: outcome)
    assert command.main(["live", "--metrics", "audit.prom"]) == 1
    assert "It is open." in capsys.readouterr().out
    assert "daffathan_port_audit_success 0\n" in (project / "audit.prom").read_text()


def test_the_callers_declaration_replaces_that_of_the_file(project: Path) -> None:
    path = expected(project, {"port": 443}, {"port": 443, "proto": "udp"}, {"port": 22})
    declared = examine.declared(path, "expected_file", [{"port": 443, "process": "caddy"}])
    assert [(entry.port, entry.proto, entry.process) for entry in declared] == [
        (443, "udp", ""),
        (22, "tcp", ""),
        (443, "tcp", "caddy"),
    ]
