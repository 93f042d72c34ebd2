# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Questions to a container engine over its Unix socket, with nothing but the standard library."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Union

# An answer is cut off here rather than filling the memory of the host.
_ANSWER_LIMIT = 64 << 20
_WORKERS = 4


class EngineError(Exception):
    """The engine gave no usable answer."""


class Gone(EngineError):
    """The engine does not know what was asked for, any more."""


class Silent(EngineError):
    """The engine cannot be reached or does not answer in time; the next question would end the same."""


class _Source(io.RawIOBase):
    """What the engine sends, until the deadline of the question."""

    def __init__(self, stream: _Stream) -> None:
        self.stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # The timeout of a socket begins anew with every byte; an engine could send one now and then for ever.
        self.stream.socket.settimeout(max(self.stream.deadline - time.monotonic(), 0.001))
        return self.stream.socket.recv_into(buffer)


class _Stream:
    """As much of a socket as http.client needs."""

    def __init__(self, path: str, deadline: float) -> None:
        self.deadline = deadline
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise

    def sendall(self, data: bytes) -> None:
        self.socket.settimeout(max(self.deadline - time.monotonic(), 0.001))
        self.socket.sendall(data)

    def makefile(self, *arguments: Any) -> io.BufferedReader:
        return io.BufferedReader(_Source(self))

    def close(self) -> None:
        self.socket.close()


class Connection:
    """One kept-alive connection. The time limit is for each question as a whole."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self._http: http.client.HTTPConnection | None = None
        self._stream: _Stream | None = None

    def get(self, resource: str) -> Any:
        """A GET without an API version, which every engine answers in its own version."""
        deadline = time.monotonic() + self.timeout
        try:
            return self._parsed(resource, self._body(resource, deadline))
        except (TimeoutError, socket.timeout):
            self.close()
            raise Silent(f"{resource}: no complete answer within {self.timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            unreachable = isinstance(error, (FileNotFoundError, ConnectionRefusedError, PermissionError))
            raise (Silent if unreachable else EngineError)(
                f"{self.path}: {resource}: {error or type(error).__name__}"
            ) from None
        except EngineError:
            self.close()
            raise

    def _body(self, resource: str, deadline: float) -> bytes:
        if self._http is None or self._stream is None:
            self._stream = _Stream(self.path, deadline)
            self._http = http.client.HTTPConnection("localhost")
            # Never open a connection of its own: it would be one to TCP port 80.
            self._http.auto_open = 0
            self._http.sock = self._stream
        self._stream.deadline = deadline
        self._http.request("GET", resource)
        response = self._http.getresponse()
        parts, length = [], 0
        while chunk := response.read1(1 << 20):
            parts.append(chunk)
            length += len(chunk)
            if length > _ANSWER_LIMIT:
                raise EngineError(f"{resource}: the answer is longer than {_ANSWER_LIMIT >> 20} MiB")
        if response.length:
            raise EngineError(f"{resource}: the answer is cut, {response.length} bytes are missing")
        # Else the connection counts as busy with this answer.
        response.close()
        body = b"".join(parts)
        if response.will_close:
            self.close()
        if response.status != 200:
            kind = Gone if response.status == 404 else EngineError
            raise kind(f"{resource}: status {response.status} {body[:200].decode(errors='replace')}")
        return body

    def _parsed(self, resource: str, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise EngineError(f"{resource}: not JSON ({error})") from None

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
        if self._stream is not None:
            self._stream.close()
        self._http = self._stream = None


def get(path: str, resource: str, timeout: float) -> Any:
    """The answer to a single question."""
    connection = Connection(path, timeout)
    try:
        return connection.get(resource)
    finally:
        connection.close()


Answer = Union[Any, EngineError]


def ask(path: str, resources: Sequence[str], timeout: float) -> dict[str, Answer]:
    """The answers to several questions, side by side; instead of an answer the error there was.

    An engine that is silent once is not asked again: one time limit is enough to wait.
    """
    answers: dict[str, Answer] = {
        resource: Silent(f"{resource}: not asked, the engine is silent") for resource in resources
    }
    waiting: Iterator[str] = iter(list(answers))
    lock = threading.Lock()
    silent = threading.Event()

    def work() -> None:
        connection = Connection(path, timeout)
        try:
            while not silent.is_set():
                with lock:
                    resource = next(waiting, None)
                if resource is None:
                    return
                try:
                    answers[resource] = connection.get(resource)
                except EngineError as error:
                    answers[resource] = error
                    if isinstance(error, Silent):
                        silent.set()
        finally:
            connection.close()

    workers = [threading.Thread(target=work, daemon=True) for dummy in range(min(_WORKERS, len(answers)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return answers
