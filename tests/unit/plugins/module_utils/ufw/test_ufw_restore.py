# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way back to the former firewall, from wherever a change was cut short."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import plan, restore
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import Policy
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.restore import Table
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.ufw.packets import load
from tests.unit.plugins.module_utils.ufw.strategies import fresh_files, policies
from tests.unit.plugins.module_utils.ufw.test_ufw_plan import DOCKER, EMPTY, foreign


def loaded(table: Table, policy: Policy, family: int) -> Table:
    return load(table, plan.transactions(policy, fresh_files(), {4: table, 6: table})[family])


@given(policies(), policies(), st.sampled_from([4, 6]), st.sampled_from([EMPTY, DOCKER]), st.booleans())
def test_the_way_back_ends_where_it_began(
    first: Policy, second: Policy, family: int, table: Table, was_running: bool
) -> None:
    before = loaded(table, first, family) if was_running else table
    now = loaded(before, second, family)
    back = load(now, restore.undo(now, before))
    assert back.policies == before.policies
    assert foreign(back) == foreign(before)
    assert set(back.chains) == set(before.chains)
    assert not plan.difference(back, before) and back.running == before.running
    # And the way back from where nothing was changed yet changes nothing.
    assert load(before, restore.undo(before, before)) == before


def test_what_others_changed_meanwhile_stays() -> None:
    before = loaded(DOCKER, Policy(True), 4)
    now = loaded(before, Policy(True, incoming="reject"), 4)
    chains = dict(now.chains)
    chains["FORWARD"] = (*chains["FORWARD"], "-A FORWARD -j DOCKER-NEW")
    chains["DOCKER-NEW"] = ("-A DOCKER-NEW -j ufw-new", "-A DOCKER-NEW -j DROP")
    chains["ufw-new"] = ("-A ufw-new -j ACCEPT",)
    back = load(Table(now.policies, chains), restore.undo(Table(now.policies, chains), before))
    assert back.chains["ufw-new"] == ()
    assert back.chains["DOCKER-NEW"] == chains["DOCKER-NEW"]
    assert back.chains["FORWARD"][-1] == "-A FORWARD -j DOCKER-NEW"
    assert not plan.difference(back, before)


def test_the_program_on_the_host_needs_nothing_of_the_collection() -> None:
    tree = ast.parse(Path(restore.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= set(sys.stdlib_module_names) | {"__future__"}


@pytest.fixture
def aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two policies that wait, `one` and then `two`, on a host that has restarted since: the kernel is not touched."""
    for name in ("DIRECTORY", "LOCK", "KEPT", "BOOT_UNIT", "BOOT_LINK"):
        monkeypatch.setattr(restore, name, str(tmp_path / name.lower()))
    monkeypatch.setattr(restore, "_run", lambda argv: "")
    Path(restore.DIRECTORY).mkdir()
    restore.Waiting("another boot", (former(tmp_path, "one"), former(tmp_path, "two"))).save()
    (tmp_path / "user.rules").write_text("as two wants\n")
    return tmp_path


def former(directory: Path, token: str) -> dict[str, object]:
    files = {str(directory / "user.rules"): [f"before {token}\n", 0o640]}
    return {"token": token, "files": files, "kernel": {}, "unit_enabled": True}


def tokens() -> list[str]:
    found = restore.pending()
    return found.tokens if found else []


def test_nobody_confirmed(aside: Path) -> None:
    assert restore.main([]) == restore.DONE
    assert (aside / "user.rules").read_text() == "before one\n"
    assert (aside / "user.rules").stat().st_mode & 0o777 == 0o640
    assert not Path(restore.DIRECTORY).exists()
    assert restore.main([]) == restore.NOTHING_PENDING
    assert restore.main(["--confirm", "two"]) == restore.NOTHING_PENDING
    assert not Path(restore.KEPT).exists()


def test_a_token_of_nobody_confirms_nothing(aside: Path) -> None:
    assert restore.main(["--confirm", "other"]) == restore.main(["--confirm"]) == restore.NOTHING_PENDING
    assert tokens() == ["one", "two"]


def test_the_newest_confirms_those_before_it(aside: Path) -> None:
    assert restore.main(["--confirm", "two"]) == restore.DONE
    assert (aside / "user.rules").read_text() == "as two wants\n"
    assert tokens() == [] and not Path(restore.DIRECTORY).exists()
    # Whoever comes to confirm the first learns that it was kept.
    assert restore.main(["--confirm", "one"]) == restore.NOTHING_PENDING
    assert Path(restore.KEPT).read_text() == "one\ntwo\n"


def test_the_first_alone_is_confirmed_and_becomes_the_state_to_go_back_to(aside: Path) -> None:
    assert restore.main(["--confirm", "one"]) == restore.DONE
    assert tokens() == ["two"] and Path(restore.KEPT).read_text() == "one\n"
    assert restore.main([]) == restore.DONE
    assert (aside / "user.rules").read_text() == "before two\n"


def test_an_attempt_that_fails_leaves_those_before_it_waiting(aside: Path) -> None:
    waiting = restore.pending()
    assert waiting is not None and restore.undo_last(waiting) == []
    assert (aside / "user.rules").read_text() == "before two\n"
    assert tokens() == ["one"]


def test_one_failure_does_not_keep_the_rest_from_being_put_back(aside: Path) -> None:
    one = former(aside, "one")
    files = {str(aside / "missing" / "user6.rules"): ["x", 0o640], **dict(one["files"])}  # type: ignore[call-overload]
    problems = restore.put_back({**one, "files": files}, restarted=True)
    assert len(problems) == 1 and "missing/user6.rules" in problems[0]
    assert (aside / "user.rules").read_text() == "before one\n"


def test_few_tokens_are_remembered(aside: Path) -> None:
    for number in range(60):
        restore.Waiting("another boot", (former(aside, str(number)),)).save()
        restore.main(["--confirm", str(number)])
        Path(restore.DIRECTORY).mkdir()
    assert Path(restore.KEPT).read_text().split() == [str(number) for number in range(10, 60)]
