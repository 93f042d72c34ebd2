# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from tests.support.lab import parse_recap

RUN = """
TASK [last] ***
ok: [one]

PLAY RECAP *********************************************************************
one                        : ok=12   changed=0    unreachable=0    failed=0    skipped=3    rescued=0    ignored=0
two-b                      : ok=1    changed=7    unreachable=1    failed=2    skipped=0    rescued=0    ignored=0
"""


def test_the_recap_of_a_run_is_read_per_host() -> None:
    recap = parse_recap(RUN)
    assert recap["one"] == {
        "ok": 12, "changed": 0, "unreachable": 0, "failed": 0, "skipped": 3, "rescued": 0, "ignored": 0
    }  # fmt: skip
    assert recap["two-b"]["changed"] == 7
    assert recap["two-b"]["unreachable"] == 1


def test_output_without_a_recap_has_no_hosts() -> None:
    assert parse_recap("ERROR! the playbook could not be found\n") == {}
