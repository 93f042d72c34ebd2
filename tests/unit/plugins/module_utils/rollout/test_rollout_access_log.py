# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gateway's log, read while it grows, is rotated, and has a clock that is set: each line counts once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO
from unittest.mock import patch

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._docker import log_files
from ansible_collections.daffathan.platform.plugins.module_utils._docker.log_files import LogFiles
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.access_log import Lines, Reader, moment
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import RolloutError
from hypothesis import given, settings
from hypothesis import strategies as st

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
HOURS = 3 * 3600.0


class Told(Reader):
    """Has the names of the lines that were counted."""

    def __init__(self, since: float = 0, until: float | None = None) -> None:
        super().__init__(at(since), None if until is None else at(until))
        self.names: list[str] = []

    def count(self, line: str) -> None:
        self.names.append(line.rpartition(",")[2].rstrip("}"))


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def line(seconds: float, name: object) -> bytes:
    """A line that was written so many seconds after noon."""
    return f'{{"time":"x","msec":{at(seconds).timestamp():.3f},{name}}}\n'.encode()


class Log:
    """The log in a directory, and the workers of an nginx that write to it."""

    def __init__(self, directory: str) -> None:
        self.path = f"{directory}/access.log"
        self.workers = [self._open() for _ in range(2)]
        self.clock = 0.0
        # Whether nobody has looked since the log was made, and the one before it.
        self.new, self.old_is_new = False, False

    def _open(self) -> BinaryIO:
        return open(self.path, "ab", buffering=0)  # noqa: SIM115

    def reopen(self, worker: int) -> None:
        self.new = self.new or not os.path.exists(self.path)
        self.workers[worker].close()
        self.workers[worker] = self._open()

    def rotate(self) -> None:
        """As logrotate does, once all workers have left the file of before."""
        for worker in range(2):
            self.reopen(worker)
        if os.path.exists(f"{self.path}.1"):
            os.unlink(f"{self.path}.1")
        os.rename(self.path, f"{self.path}.1")
        self.new, self.old_is_new = False, self.new

    def give(self, files: LogFiles[Told]) -> None:
        files.read(self.now)
        self.new, self.old_is_new = False, False

    def now(self) -> datetime:
        return at(self.clock)


@contextmanager
def logs() -> Iterator[Log]:
    with tempfile.TemporaryDirectory() as directory:
        log = Log(directory)
        yield log
        for worker in log.workers:
            worker.close()


@given(st.lists(st.binary(max_size=8)), st.data())
def test_lines_are_whole_wherever_the_pieces_end(texts: list[bytes], data: st.DataObject) -> None:
    wanted = [text.replace(b"\n", b"") for text in texts]
    rest = b"".join(text + b"\n" for text in wanted) + b"not the end"
    lines, found = Lines(), []
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found += lines.split(rest[:size])
        rest = rest[size:]
    assert found == wanted


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ('{"time":"2026-01-01T12:00:00+00:00","msec":1767268800.125,"uri":"/"}', 1767268800.125),
        ('{"time":"x","msec":17}', None),
        # What a client says is further behind.
        ('{"time":"x","uri":"/","user_agent":"msec":17.000,', None),
        ('"msec":17.000,"uri":"/"}', None),
        ("", None),
    ],
)
def test_a_line_tells_when_it_was_written(text: str, seconds: float | None) -> None:
    assert moment(text.encode()) == seconds


STEPS = st.one_of(
    # A worker writes a line; a part of it may be seen before the rest.
    st.tuples(st.just("write"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("rotate")),
    st.tuples(st.just("reopen"), st.integers(0, 1)),
    st.tuples(st.just("read")),
    st.tuples(st.just("clock"), st.sampled_from([0.5, 5.0, -1.5, HOURS, -HOURS])),
)


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=40))
def test_each_line_counts_once_whatever_happens_between(steps: list[tuple[object, ...]]) -> None:
    with logs() as log:
        log.workers[0].write(line(-1, "past"))
        reader = Told()
        files = LogFiles(reader, log.path)
        files.read(log.now)
        written = []
        for number, (what, *how) in enumerate(steps):
            if what == "write":
                handle = log.workers[int(str(how[0]))]
                text = line(log.clock, number)
                handle.write(text[:20])
                if how[1]:
                    log.give(files)
                handle.write(text[20:])
                written.append(str(number))
            elif what == "rotate":
                # One that comes and goes between two looks cannot be read. That takes two minutes at least.
                if log.old_is_new:
                    log.give(files)
                log.rotate()
            elif what == "reopen":
                log.reopen(int(str(how[0])))
            elif what == "read":
                log.give(files)
            else:
                log.clock += float(str(how[0]))
        files.read(log.now)
        files.close()
    assert sorted(reader.names) == sorted(written)


@settings(max_examples=300)
@given(
    st.lists(st.one_of(st.floats(-3, 3), st.sampled_from([HOURS, -HOURS])), max_size=12),
    st.integers(0, 12),
    st.integers(1, 200),
    st.booleans(),
)
def test_a_window_begins_behind_the_last_line_that_is_not_of_it(
    seconds: list[float], rotated: int, piece: int, torn: bool
) -> None:
    """Wherever the log was rotated, and in whatever steps it is looked for."""
    with logs() as log, patch.object(log_files, "PIECE", piece):
        log.clock = 2.0
        for number, second in enumerate(seconds):
            if number == rotated:
                log.rotate()
                log.reopen(0)
            log.workers[0].write(line(second, number))
        if torn:
            log.workers[0].write(line(1, "torn")[:-5])
        reader = Told()
        files = LogFiles(reader, log.path)
        files.read(log.now)
        files.close()
    past = [number for number, second in enumerate(seconds) if not 0 <= round(second, 3) <= 2]
    first = past[-1] + 1 if past else 0
    assert reader.names == [str(number) for number in range(first, len(seconds))]


def test_lines_that_are_written_while_the_begin_is_looked_for_are_not_of_the_future() -> None:
    with logs() as log:
        log.workers[0].write(line(-1, "past") + line(1, "a"))

        def now() -> datetime:
            log.workers[0].write(line(2.5, "b"))
            return at(2)

        files = LogFiles(Told(), log.path)
        assert files.read(now).names == ["a", "b"]
        files.close()


def test_a_window_that_has_an_end() -> None:
    with logs() as log:
        log.clock = 60
        log.workers[0].write(b"".join(line(second, second) for second in (-61, -60, -1, 0, 1)))
        files = LogFiles(Told(-60, 0), log.path)
        assert files.read(log.now).names == ["-60", "-1", "0"]
        files.close()


def test_a_log_that_somebody_empties_is_read_from_its_begin() -> None:
    with logs() as log:
        files = LogFiles(Told(), log.path)
        log.workers[0].write(line(0, "a") + line(0, "b"))
        assert files.read(log.now).names == ["a", "b"]
        os.truncate(log.path, 0)
        log.workers[0].write(line(0, "c"))
        assert files.read(log.now).names == ["a", "b", "c"]
        files.close()


def test_logs_that_vanish_and_come_back_are_not_searched_once_more() -> None:
    with logs() as log:
        files = LogFiles(Told(), log.path)
        log.workers[0].write(line(0, "a"))
        files.read(log.now)
        os.unlink(log.path)
        assert files.read(log.now).names == ["a"]
        log.reopen(0)
        # By the clock it is of the past, by the order of the log it is not.
        log.workers[0].write(line(-HOURS, "b"))
        assert files.read(log.now).names == ["a", "b"]
        files.close()


def test_where_there_is_no_log_the_remedy_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        RolloutError, match=f"no access log at {tmp_path}/access.log.*Run role daffathan.platform.gateway"
    ):
        LogFiles(Told(), f"{tmp_path}/access.log").read(lambda: NOON)
