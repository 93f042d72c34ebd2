# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


"""One good answer may be luck: when a container counts as ready, and when it is known to flap."""

from __future__ import annotations

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.readiness import GOOD, Flapping, Readiness

BAD = "answered 503"


def looked_at(answers: str, min_uptime: int = 0) -> list[bool]:
    """Whether it is ready after each look, one a second; `+` is a good answer, `-` a bad one."""
    readiness = Readiness(min_uptime)
    return [
        readiness.look(None if answer == "+" else BAD, second) is None for second, answer in enumerate(answers, start=1)
    ]


@pytest.mark.parametrize(
    ("answers", "min_uptime", "ready_at"),
    [
        ("+++", 0, 3),
        ("-----+++", 0, 8),
        ("++-+++", 0, 6),
        ("+-+-+++", 0, 7),
        # From its start on, as long as nothing fails.
        ("-+++++", 6, 6),
        # A failure begins the time anew.
        ("++-++++++", 6, 9),
        ("-----", 0, None),
    ],
)
def test_it_is_ready_after_good_answers_in_a_row_and_time(answers: str, min_uptime: int, ready_at: int | None) -> None:
    seen = looked_at(answers, min_uptime)
    assert (seen.index(True) + 1 if any(seen) else None) == ready_at


@pytest.mark.parametrize("answers", ["+-+-+-", "---++-++--++-", "+++-+++-+++-"])
def test_the_third_failure_after_a_good_answer_is_flapping(answers: str) -> None:
    assert not any(looked_at(answers[:-1], 60))
    with pytest.raises(Flapping, match=f"3 times in {len(answers)} s, last: {BAD}"):
        looked_at(answers, 60)


def test_it_is_asked_again_soon_only_until_it_has_confirmed() -> None:
    readiness = Readiness(60)
    assert not readiness.confirming
    seen = []
    for second in range(GOOD + 1):
        readiness.look(None, second)
        seen.append(readiness.confirming)
    assert seen == [True] * (GOOD - 1) + [False, False]
