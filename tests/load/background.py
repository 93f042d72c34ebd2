# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load beside a test, from a process of its own so that the test cannot disturb its schedule.

with Load("https://labs.example.test", address=host.address, ca=ca, seconds=600) as load:
    deploy()
    report = load.stop()
assert report.passed, report.describe()
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.load.report import Report

PROJECT = Path(__file__).resolve().parents[2]
STARTED = "load: started"


class LoadError(Exception):
    """The generator did not run; the message ends with what it printed."""


class Load:
    """Load from entering the context until stop(), at most so many seconds."""

    def __init__(
        self,
        url: str,
        *,
        address: str | None = None,
        ca: str | Path | None = None,
        rate: float = 200,
        seconds: float = 600,
        prefixes: Sequence[str] = ("/",),
        fresh: float = 0.1,
        http2: float = 0.0,
        websockets: int = 1,
        samples: str | Path | None = None,
        timeout: float = 10,
        lag_limit: float = 0.1,
    ) -> None:
        numbers = {
            "--rate": rate,
            "--seconds": seconds,
            "--fresh": fresh,
            "--http2": http2,
            "--websockets": websockets,
            "--timeout": timeout,
            "--lag-limit": lag_limit,
        }
        self._argv = [sys.executable, "-m", "tests.load", "--url", url]
        self._argv += [part for option, value in numbers.items() for part in (option, str(value))]
        self._argv += [part for prefix in prefixes for part in ("--prefix", prefix)]
        self._argv += ["--address", address] if address else []
        self._argv += ["--ca", str(Path(ca).resolve())] if ca else []
        self._argv += ["--samples", str(Path(samples).resolve())] if samples else []
        # What is in flight at the end gets its timeout, held connections their close.
        self._grace = timeout + 30
        self._process: subprocess.Popen[str] | None = None
        self._printed: list[str] = []
        self._started = threading.Event()
        self._report: Report | None = None

    def __enter__(self) -> Load:
        self._directory = tempfile.TemporaryDirectory(prefix="load-")
        self._output = Path(self._directory.name) / "report.json"
        self._process = subprocess.Popen(
            [*self._argv, "--output", str(self._output)], cwd=PROJECT, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._started.wait(60) or not any(STARTED in line for line in self._printed):
            self._close()
            raise LoadError(f"the load generator did not start: {''.join(self._printed) or 'no answer for 60 s'}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def stop(self) -> Report:
        """End the load, wait for what is in flight, and return the report."""
        if self._report is None:
            assert self._process is not None, "not started: use it as a context manager"
            if self._process.poll() is None:
                self._process.terminate()
            self._process.wait(self._grace)
            self._reader.join()
            if not self._output.exists():
                raise LoadError(f"exit status {self._process.returncode} and no report: {''.join(self._printed)}")
            self._report = Report.from_json(self._output.read_text())
        return self._report

    def _read(self) -> None:
        assert self._process is not None and self._process.stderr is not None
        for line in self._process.stderr:
            self._printed.append(line)
            if STARTED in line:
                self._started.set()
        self._started.set()

    def _close(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        self._directory.cleanup()
