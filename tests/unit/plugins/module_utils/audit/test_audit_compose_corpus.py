# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every service of the corpus is judged as its verdict says, neither more nor less."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeaudit import Auditor
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Finding

from tests.support.corpus import DIRECTORY, Case, Verdict, cases, seen

TODAY = datetime.date(2026, 6, 1)
CASES = cases()


def audit(case: Case) -> list[Finding]:
    return Auditor(case.env).audit([case.path], TODAY)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_service_is_judged_as_its_verdict_says(case: Case) -> None:
    findings = audit(case)
    found = {item.service for item in findings if item.service}
    judged = {name: seen([item for item in findings if item.service == name]) for name in {*found, *case.services}}
    expected = {
        name: Verdict(verdict.ports, verdict.open, verdict.unknown, verdict.also)
        for name, verdict in case.services.items()
    }
    assert judged == expected
    assert any(not item.service for item in findings) is case.unknown


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_finding_names_the_line_it_is_about(case: Case) -> None:
    for item in audit(case):
        # A problem of a whole file, or of a .env file, has no line of its own.
        if item.service:
            lines = Path(item.file).read_text().splitlines()
            assert 1 <= item.line <= len(lines), item
            assert item.remediation, item


def test_the_corpus_is_what_it_says() -> None:
    assert {case.name for case in CASES} == {path.name for path in DIRECTORY.iterdir() if path.is_dir()}
    assert sum(len(case.services) for case in CASES) >= 120
