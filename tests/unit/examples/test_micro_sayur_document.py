# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The compose file that the document of micro-sayur shows is refused: each port by service, line and remedy."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
import yaml
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeaudit import Auditor
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.checks import check_model
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, InputError

from tests.support.ansible import PROJECT
from tests.support.corpus import DIRECTORY as CORPUS

DOCUMENTED = PROJECT / "examples" / "micro-sayur" / "as-documented" / "docker-compose.yml"
TODAY = datetime.date(2026, 6, 1)
VIOLATIONS = [
    ("user-service", 8080, 6),
    ("notification-service", 8081, 19),
    ("postgres", 5432, 32),
    ("redis", 6379, 39),
    ("rabbitmq", 5672, 44),
    ("rabbitmq", 15672, 45),
]


def test_it_is_the_file_that_the_audit_is_measured_by() -> None:
    assert DOCUMENTED.read_text() == (CORPUS / "micro-sayur" / "compose.yaml").read_text()


def test_each_violation_is_named_with_its_line_and_its_remedy() -> None:
    findings = Auditor({}).audit([str(DOCUMENTED)], TODAY)
    assert sorted((item.service, item.port, item.line) for item in findings) == sorted(VIOLATIONS)
    lines = DOCUMENTED.read_text().splitlines()
    for item in findings:
        assert (item.id, item.severity, item.file) == ("compose-published-port", "critical", str(DOCUMENTED))
        assert lines[item.line - 1].strip() == f'- "{item.port}:{item.port}"'
        assert f'Write - "127.0.0.1:{item.port}:{item.port}"' in item.remediation


def test_what_the_audit_says_to_write_is_enough(tmp_path: Path) -> None:
    text = DOCUMENTED.read_text()
    for _, port, _ in VIOLATIONS:
        text = text.replace(f'- "{port}:{port}"', f'- "127.0.0.1:{port}:{port}"')
    corrected = tmp_path / "docker-compose.yml"
    corrected.write_text(text)
    assert Auditor({}).audit([str(corrected)], TODAY) == []


def test_a_rollout_refuses_it_too_where_nobody_has_audited_it() -> None:
    model = yaml.safe_load(DOCUMENTED.read_text())
    with pytest.raises(InputError, match=r"publishes 0\.0\.0\.0:8081->8081/tcp.*127\.0\.0\.1:8081"):
        check_model(model, App("micro-sayur", (), ()), ["user-service"])
