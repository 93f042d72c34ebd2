# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run writes of itself, and which of it becomes a line. The host's end of it is run by a real shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import follow, progress
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.follow import Follower, Note, parse
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.journal import Journal
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.progress import (
    Progress,
    Waiting,
    undrained,
    unended,
    unready,
)

APP = "labs"


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(progress, "DIRECTORY", str(tmp_path))
    return Path(progress.progress_path(APP))


def note(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_text()))


def waiting(text: str, *about: str) -> Waiting:
    return Waiting(about, text)


@pytest.mark.parametrize(
    ("made", "about", "text"),
    [
        (
            unready({"api": 2, "ui": 1}, {"ui": ["answered 503"], "api": ["refused"]}),
            ("api", "ui"),
            "api 1 of 2 ready (refused), ui 0 of 1 ready (answered 503)",
        ),
        (unready({"api": 3}, {"api": ["refused", "refused"]}), ("api",), "api 1 of 3 ready (refused)"),
        (
            undrained({"api": ["the gateway"] * 2, "ui": []}, 12.4),
            ("api the gateway",),
            "api has 2 connections from the gateway; ends in 12 s at the latest",
        ),
        (
            undrained({"api": ["the gateway", "10.9.0.7", "10.9.0.7"], "ui": ["the gateway"]}, -0.1),
            ("api 10.9.0.7", "api the gateway", "ui the gateway"),
            "api has 3 connections (2 from 10.9.0.7, 1 from the gateway), ui has 1 connection from the gateway; "
            "ends in 0 s at the latest",
        ),
        (unended("services.seed", 30.2, 600), ("services.seed",), "services.seed has run for 30 of at most 600 s"),
    ],
)
def test_what_is_waited_for_is_said_in_words(made: Waiting, about: tuple[str, ...], text: str) -> None:
    assert made == (about, text)


def test_phases_are_written_at_once_and_what_they_wait_for_once_a_second(written: Path, clock: Clock) -> None:
    run = Progress(str(written), clock=clock)
    with run.phase("start", {"release": "r1"}):
        assert (note(written)["phase"], note(written)["text"]) == ("start", "starts the containers of r1")
        for step, said in ((0.0, "first"), (0.9, "first"), (0.2, "third"), (0.5, "third"), (0.6, "fifth")):
            clock.time += step
            run.waits(waiting, {0.0: "first", 0.9: "second", 0.2: "third", 0.5: "fourth", 0.6: "fifth"}[step])
            assert note(written)["text"] == said
    assert note(written)["seconds"] == 2


def test_phase_within_a_phase_gives_way_to_the_outer_one(written: Path, clock: Clock) -> None:
    journal = Journal(None, progress=Progress(str(written), clock=clock))
    with journal.step("undo", release="r1"):
        with pytest.raises(ValueError, match="fails"), journal.step("job", job="migrate.rollback"):
            assert note(written)["text"] == "runs migrate.rollback"
            raise ValueError("fails")
        assert note(written)["text"] == "takes r1 away"
    journal.progress.close()
    assert not written.exists()
    journal.progress.close()


def test_secrets_do_not_get_into_the_file(written: Path) -> None:
    run = Progress(str(written), redact=lambda text: text.replace("s3cret", "***"))
    with run.phase("job", {"job": "s3cret"}):
        run.waits(waiting, "it printed s3cret", "s3cret")
        assert "s3cret" not in written.read_text()
        assert note(written)["text"] == "it printed ***"
    assert written.stat().st_mode & 0o777 == 0o600


def test_run_goes_on_where_nothing_can_be_written(tmp_path: Path) -> None:
    run = Progress(str(tmp_path / "missing" / "file"))
    with run.phase("start", {}):
        run.waits(waiting, "for nothing")
    run.close()


def test_every_phase_of_the_module_has_words() -> None:
    source = "".join(path.read_text() for path in Path(progress.__file__).parent.glob("*.py"))
    names = {part.split('"')[0] for part in source.split('journal.step("')[1:]}
    assert names and names == set(progress.PHASES)


# The watching end


def answer(phase: str, text: str, *about: str, seconds: int = 3) -> str:
    # A terminal between the host and the controller ends lines in its own way, and logins may say something first.
    data = {"pid": 1, "phase": phase, "about": list(about), "text": text, "seconds": seconds}
    return f"Welcome\r\n{json.dumps(data)}\r\n"


def test_line_names_host_app_time_phase_and_what_it_waits_for() -> None:
    found = parse(answer("ready", "api 0 of 1 ready", "api"))
    assert found is not None
    assert found[1].line("vps1", APP) == "[vps1] labs, 3 s: ready: api 0 of 1 ready"


@pytest.mark.parametrize("text", ["", "Welcome\n", "[1, 2]\n", '{"phase": "ready"}\n', "{\n"])
def test_answer_without_a_note_is_no_line(text: str) -> None:
    assert parse(text) is None
    assert Follower(APP).take(text) is None


def patience(follower: Follower) -> int:
    return int(follower.question()[6]) // follow.LOOKS


def test_figures_alone_are_shown_ever_more_seldom() -> None:
    follower = Follower(APP)
    waits = []
    for left in range(8):
        assert follower.take(answer("bake", f"{left} s left")) is not None
        waits.append(patience(follower))
    assert waits == [5, 10, 20, 40, 60, 60, 60, 60]
    # The same again after something else came in between is not worth a line; something else is, at once.
    assert follower.take(answer("bake", "7 s left", seconds=9)) is None
    assert follower.take(answer("bake", "7 s left", "it answers 500")) is not None
    assert patience(follower) == 5


@pytest.fixture
def ask(written: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Follower], Note | None]:
    """Asks the file as a host would."""
    monkeypatch.setattr(follow, "LOOKS", 20)
    monkeypatch.setattr(follow, "LONGEST", 1)

    def once(follower: Follower) -> Note | None:
        done = subprocess.run(follower.question(), capture_output=True, text=True, check=True, timeout=60)
        assert done.stderr == ""
        return follower.take(done.stdout)

    return once


def test_question_is_answered_with_what_is_new(
    written: Path, clock: Clock, ask: Callable[[Follower], Note | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Follower(APP)
    assert ask(follower) is None
    run = Progress(str(written), clock=clock)
    with run.phase("ready", {}):
        run.waits(waiting, 'api "0" of 2 \\ ready', "api")
        first = ask(follower)
        assert first is not None and (first.phase, first.text) == ("ready", 'api "0" of 2 \\ ready')
        clock.time += 2
        run.waits(waiting, "api 1 of 2 ready", "api")
        assert ask(follower) is None
        clock.time += 2
        run.waits(waiting, "ui 0 of 2 ready", "ui")
        assert ask(follower) is not None
        assert ask(follower) is None
    run.close()
    # The end of a run is an answer as well.
    monkeypatch.setattr(follow, "LONGEST", 600)
    assert ask(follower) is None


def test_a_phase_that_has_not_stood_yet_may_be_over_already(
    written: Path, ask: Callable[[Follower], Note | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Progress(str(written))
    with run.phase("fence", {}):
        for looks, shown in ((follow.STANDS - 1, False), (follow.STANDS, True)):
            monkeypatch.setattr(follow, "LOOKS", looks)
            assert (ask(Follower(APP)) is not None) is shown


def test_question_about_figures_is_answered_when_patience_is_over(
    written: Path, clock: Clock, ask: Callable[[Follower], Note | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "FIRST_PATIENCE", 0)
    follower = Follower(APP)
    run = Progress(str(written), clock=clock)
    with run.phase("bake", {}):
        run.waits(waiting, "9 s left")
        assert ask(follower) is not None
        clock.time += 2
        run.waits(waiting, "7 s left")
        second = ask(follower)
        assert second is not None and second.text == "7 s left"


def test_note_of_a_run_that_was_killed_is_not_shown(written: Path, ask: Callable[[Follower], Note | None]) -> None:
    code = "import os, sys; print(os.getpid())"
    gone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    data = {"pid": os.getpid(), "phase": "ready", "about": [], "text": "", "seconds": 1}
    written.write_text(json.dumps({**data, "pid": int(gone)}) + "\n")
    assert ask(Follower(APP)) is None
    written.write_text(json.dumps(data) + "\n")
    assert ask(Follower(APP)) is not None
