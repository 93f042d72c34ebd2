# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way back to the former firewall, from wherever a change was cut short."""

from __future__ import annotations

import ast
import json
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
    """A plan that waits, of a host that has restarted since: the kernel is not touched."""
    for name in ("DIRECTORY", "LOCK", "BOOT_UNIT", "BOOT_LINK"):
        monkeypatch.setattr(restore, name, str(tmp_path / name.lower()))
    for function in (restore.forget, restore.pending):
        monkeypatch.setattr(function, "__defaults__", (restore.DIRECTORY,))
    directory = Path(restore.DIRECTORY)
    directory.mkdir()
    former = {str(tmp_path / "user.rules"): ["former\n", 0o640]}
    waiting = {"token": "t", "boot_id": "another", "files": former, "kernel": {}, "unit_enabled": True}
    (directory / restore.PLAN).write_text(json.dumps(waiting))
    (tmp_path / "user.rules").write_text("changed\n")
    return tmp_path


def test_nobody_confirmed(aside: Path) -> None:
    assert restore.main([]) == restore.DONE
    assert (aside / "user.rules").read_text() == "former\n"
    assert (aside / "user.rules").stat().st_mode & 0o777 == 0o640
    assert restore.pending() is None and not Path(restore.DIRECTORY).exists()
    assert restore.main([]) == restore.NOTHING_PENDING
    assert restore.main(["--confirm", "t"]) == restore.NOTHING_PENDING


def test_confirmed_by_its_token_alone(aside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "_run", lambda argv: "")
    assert restore.main(["--confirm", "other"]) == restore.NOTHING_PENDING
    assert restore.pending() is not None
    assert restore.main(["--confirm", "t"]) == restore.DONE
    assert (aside / "user.rules").read_text() == "changed\n"
    assert restore.pending() is None


def test_one_failure_does_not_keep_the_rest_from_being_put_back(aside: Path) -> None:
    waiting = restore.pending()
    assert waiting is not None
    files = {str(aside / "missing" / "user6.rules"): ["x", 0o640], **dict(waiting["files"])}  # type: ignore[call-overload]
    problems = restore.put_back({**waiting, "files": files})
    assert len(problems) == 1 and "missing/user6.rules" in problems[0]
    assert (aside / "user.rules").read_text() == "former\n"
