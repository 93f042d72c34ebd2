# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The corpus of compose files, read by Compose itself and by the audit."""

from __future__ import annotations

import datetime
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit.compose import judge_compose
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeaudit import Auditor
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeports import parse_port

from tests.support.corpus import DIRECTORY, Case, cases
from tests.support.lab import Host, inside

CASES = cases()
PACKAGES = ("docker-cli", "docker-compose")
# One answer per case, in the order of the lines: exit status, what Compose printed, what it complained of.
CONFIG = """
cd /srv/corpus
while read -r name file env; do
    file=$([ "$file" = . ] || echo "--file $file")
    (cd "$name" && eval "$env docker compose $file --profile '*' config --format json" >/tmp/out 2>/tmp/err
    echo $? >/tmp/rc)
    python3 -c 'import json
print(json.dumps([int(open("/tmp/rc").read()), open("/tmp/out").read(), open("/tmp/err").read()]))'
done
"""


@dataclass(frozen=True)
class Answer:
    """What Compose makes of a case."""

    rc: int
    model: dict[str, Any]
    complaint: str


@pytest.fixture(scope="module")
def answers(bare_host: Host) -> dict[str, Answer]:
    bare_host.run("apt-get", "-q", "update")
    bare_host.run("apt-get", "-qy", "install", "--no-install-recommends", *PACKAGES)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(DIRECTORY, "corpus")
    send(bare_host, packed.getvalue(), "tar", "-C", "/srv", "-xf", "-")
    wanted = "".join(f"{case.name} {case.input} {shell_env(case.env)}\n" for case in CASES)
    lines = send(bare_host, wanted.encode(), "sh", "-c", CONFIG).splitlines()
    assert len(lines) == len(CASES)
    return {case.name: answer(json.loads(line)) for case, line in zip(CASES, lines)}


def shell_env(env: Mapping[str, str]) -> str:
    return " ".join(f"{name}='{value}'" for name, value in env.items())


def send(host: Host, data: bytes, *argv: str) -> str:
    """The output of a command on the host that reads data."""
    return subprocess.run(
        inside(host.name, *argv), input=data, capture_output=True, timeout=600, check=True
    ).stdout.decode()


def answer(parts: list[Any]) -> Answer:
    rc, output, complaint = parts
    return Answer(rc, json.loads(output) if rc == 0 else {}, complaint)


def ports(services: Mapping[str, Any]) -> dict[str, set[tuple[str, int, str, str]]]:
    """Every port of every service, ranges taken apart as Compose does."""
    return {
        name: {single for entry in service.get("ports") or [] for single in singles(entry)}
        for name, service in services.items()
    }


def singles(entry: object) -> list[tuple[str, int, str, str]]:
    port = parse_port(entry)
    first, _, last = port.target.partition("-")
    targets = range(int(first), int(last or first) + 1)
    span = f"{port.first}-{port.last}" if len(targets) == 1 and port.first != port.last else ""
    return [
        (port.host_ip, target, span or str(port.first + offset if port.first else 0), port.proto)
        for offset, target in enumerate(targets)
    ]


def findings(model: Mapping[str, Any]) -> set[tuple[str, str]]:
    """What is found in a model, apart from how it was written."""
    return {(item.id, item.service) for item in judge_compose(model, today=datetime.date(2026, 6, 1))}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_compose_and_the_audit_see_the_same(case: Case, answers: dict[str, Answer]) -> None:
    said = answers[case.name]
    if case.refused:
        # A newer Compose may know the syntax that this one refuses.
        assert said.rc != 0 or case.refused == "old", "Compose takes it"
        return
    assert said.rc == 0, said.complaint
    project = next(Auditor(case.env).projects(case.path))
    assert project.problems == []
    assert ports(project.model["services"]) == ports(said.model["services"])
    assert findings(project.model) == findings(said.model)
