# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An engine that goes away under a request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._docker import patience
from ansible_collections.daffathan.platform.plugins.module_utils._docker.patience import Patient, repeatable


class Gone(Exception):
    pass


class Engine:
    """Answers with what is next: an error, or an answer."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def send(self, request: Any, *arguments: Any, **options: Any) -> Any:
        self.asked.append(request.url)
        answer = self.answers.pop(0) if self.answers else Gone()
        if isinstance(answer, Exception):
            raise answer
        return answer


OK = SimpleNamespace(close=lambda: None)
PING = SimpleNamespace(method="GET", url="/_ping")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE", 0.01)


def send(engine: Engine, method: str, url: str, seconds: float = 5) -> Any:
    return Patient(engine, PING, Gone, Gone, seconds).send(SimpleNamespace(method=method, url=url))


def test_question_is_asked_again_once_the_engine_is_back() -> None:
    engine = Engine(Gone(), Gone(), Gone(), OK, "answer")
    assert send(engine, "GET", "/v1.45/containers/json") == "answer"
    assert engine.asked == ["/v1.45/containers/json", *["/_ping"] * 3, "/v1.45/containers/json"]


def test_what_must_not_be_done_twice_fails_when_the_engine_is_back() -> None:
    engine = Engine(Gone(), Gone(), OK, "answer")
    with pytest.raises(Gone):
        send(engine, "POST", "/v1.45/containers/create?name=a")
    assert engine.asked[-1] == "/_ping" and engine.answers == ["answer"]


def test_engine_that_stays_away_is_waited_for_once() -> None:
    engine = Engine()
    patient = Patient(engine, PING, Gone, Gone, 0.1)
    for _ in range(2):
        with pytest.raises(Gone):
            patient.send(SimpleNamespace(method="GET", url="/info"))
    pings = engine.asked.count("/_ping")
    assert pings > 2
    assert not patient.wait() and engine.asked.count("/_ping") == pings + 1


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1.45/images/json", True),
        ("DELETE", "/v1.45/containers/abc?force=True", True),
        ("POST", "/v1.45/containers/abc/start", True),
        ("POST", "/v1.45/containers/abc/stop?t=30", True),
        ("POST", "/v1.45/containers/abc/update", True),
        ("POST", "/v1.45/containers/abc/exec", False),
        ("POST", "/v1.45/containers/create", False),
        ("POST", "/v1.45/networks/create", False),
        ("POST", "/v1.45/networks/abc/connect", False),
    ],
)
def test_what_may_be_repeated(method: str, path: str, expected: bool) -> None:
    assert repeatable(method, f"http+docker://localhost{path}") is expected
