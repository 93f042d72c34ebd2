# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The watching end of progress: one question to the host for each line that is worth showing."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.progress import progress_path

# Seconds until another line differs from the last one in its figures alone; doubled with each such line.
FIRST_PATIENCE, LAST_PATIENCE = 5, 60
# Looks of the script in a second, at most, and how many in a row have to meet a phase before a line tells of it. What
# is over sooner interests nobody. And each line costs a login and a change to root, as much as dozens of requests:
# those of the second after a switch shall not wait for it.
LOOKS, STANDS = 3, 5
# Longest time a question stays without an answer, in seconds: it outlives a controller that is gone by so much.
LONGEST = LAST_PATIENCE + 2

# Waits on the host for a note that is worth a line, and prints it. Ends without one when the run that is watched has
# ended, or after LONGEST.
SCRIPT = """
file=$1 seen=$2 patience=$3 looks=$4 pause=$5 stands=$6 before= stood=0
while [ "$looks" -gt 0 ]; do
  now=
  { IFS= read -r now <"$file"; } 2>/dev/null
  pid=${now#*'"pid": '}
  [ -d "/proc/${pid%%[!0-9]*}/fd" ] || now=
  if [ -z "$now" ] && [ -n "$seen" ]; then exit 0; fi
  phase=${now%%'"text"'*}
  if [ "$phase" = "$before" ]; then stood=$((stood + 1)); else stood=1; fi
  if [ -n "$now" ] && [ "$now" != "$seen" ] && [ "$stood" -ge "$stands" ]; then
    if [ "$phase" != "${seen%%'"text"'*}" ] || [ "$patience" -le 0 ]; then
      printf '%s\\n' "$now"
      exit 0
    fi
  fi
  before=$phase looks=$((looks - 1)) patience=$((patience - 1))
  sleep "$pause"
done
"""


@dataclass(frozen=True)
class Note:
    """What a run wrote of itself."""

    phase: str
    about: tuple[str, ...]
    text: str
    seconds: int

    def line(self, host: str, app: str) -> str:
        return f"[{host}] {app}, {self.seconds} s: {self.phase}: {self.text}"


def parse(answer: str) -> tuple[str, Note] | None:
    """The last line of an answer that is a note, as it was written and as it is understood."""
    for line in reversed(answer.splitlines()):
        try:
            data = json.loads(line)
            return line, Note(str(data["phase"]), tuple(data["about"]), str(data["text"]), int(data["seconds"]))
        except (ValueError, KeyError, TypeError):
            continue
    return None


class Follower:
    """Asks for what is new, and decides how long what differs in figures alone may wait."""

    def __init__(self, app: str) -> None:
        self.app = app
        self._seen = ""
        self._last: Note | None = None
        self._patience = FIRST_PATIENCE

    def question(self) -> list[str]:
        """The argument list of the next question."""
        looks = [str(seconds * LOOKS) for seconds in (self._patience, LONGEST)]
        return ["sh", "-c", SCRIPT, "sh", progress_path(self.app), self._seen, *looks, f"{1 / LOOKS:.2f}", str(STANDS)]

    def command(self) -> str:
        return shlex.join(self.question())

    def take(self, answer: str) -> Note | None:
        """What is worth showing of an answer."""
        found = parse(answer)
        if found is None:
            # The run has ended, or nothing has changed for long: the latter is asked for again without a line.
            return None
        self._seen, note = found
        last, self._last = self._last, note
        if last is not None and (last.phase, last.about) == (note.phase, note.about):
            self._patience = min(LAST_PATIENCE, 2 * self._patience)
            return note if note.text != last.text else None
        self._patience = FIRST_PATIENCE
        return note
