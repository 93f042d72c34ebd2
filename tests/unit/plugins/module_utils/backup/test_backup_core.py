# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules ask of the command of role backup, and what they take for an answer."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._backup.model import (
    COMMAND,
    BackupError,
    InputError,
    RecoveryPoint,
    Request,
    arguments,
    explain,
    lacking,
    parse_list,
    parse_objectives_of,
    parse_point,
    parse_request,
)

SAID = {
    "point": "20261121t120000z",
    "app": "labs",
    "time": "2026-11-21T12:00:00Z",
    "bytes": 42,
    "databases": ["labs"],
    "seconds": 3.5,
    "reason": "before-migration",
    "release": "r1",
}
POINT = RecoveryPoint("20261121t120000z", "labs", "2026-11-21T12:00:00Z", 42, ("labs",), 3.5, "before-migration", "r1")


def options(**changes: Any) -> dict[str, Any]:
    return {"app": "labs", "reason": "on-request", "release": None, "timeout": 60, **changes}


def config(*apps: dict[str, Any]) -> str:
    return json.dumps({"apps": apps})


LABS = {"name": "labs", "backup": {"database": {"service": "db"}}}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (options(app="Labs"), ["app", "'Labs'", "my-app"]),
        (options(app="--json"), ["app", "'--json'"]),
        (options(reason="a b"), ["reason", "'a b'", "before-import"]),
        (options(reason="scheduled"), ["reason", "'scheduled'", "another word"]),
        (options(reason="safety"), ["reason", "'safety'", "another word"]),
        (options(release="r1,app:shop"), ["release", "'r1,app:shop'"]),
        (options(release=""), ["release", "''"]),
        (options(timeout=0), ["timeout", "0", "86400"]),
        (options(timeout=86401), ["timeout", "86401", "86400"]),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_bad_input_is_refused_by_option_and_value(given: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(InputError) as error:
        parse_request(given)
    assert all(word in str(error.value) for word in named), str(error.value)


def test_command_names_what_is_asked_for() -> None:
    request = parse_request(options(release="r1", reason="before-import"))
    argv = [COMMAND, "point", "--app", "labs", "--reason", "before-import", "--timeout", "60", "--release", "r1"]
    assert arguments(request, dry_run=False) == argv
    assert arguments(request, dry_run=True) == [*argv, "--dry-run"]
    assert "--release" not in arguments(Request("labs", "x"), dry_run=False)


def test_last_line_is_the_point() -> None:
    assert parse_point(f"Waiting for another backup.\ndatabase labs: stored\n{json.dumps(SAID)}\n") == POINT
    assert RecoveryPoint.from_json(json.loads(json.dumps(POINT.to_json()))) == POINT


@pytest.mark.parametrize(
    "output",
    ["", "all is well", "[]", "null", json.dumps({key: SAID[key] for key in SAID if key != "databases"}), "{}\nbye"],
)
def test_anything_else_is_no_point(output: str) -> None:
    with pytest.raises(BackupError, match="nothing is taken for made"):
        parse_point(output)


def test_way_back_is_one_command() -> None:
    assert POINT.restore == (
        "ansible-playbook playbooks/restore.yml -e app=labs -e snapshot=20261121t120000z -e parts=database "
        "-e confirm=labs"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (config(LABS), None),
        (None, "not set up on this host"),
        (config(), r"no database of labs .*apps with one: none"),
        (config({"name": "shop", "backup": LABS["backup"]}), "apps with one: shop"),
        (config({"name": "labs", "backup": {"volumes": ["uploads"]}}), "no database of labs"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        (json.dumps({"apps": {"labs": 1}}), "cannot be read"),
    ],
)
def test_host_says_why_it_has_no_point_of_an_app(text: str | None, why: str | None) -> None:
    said = lacking("labs", text)
    if why is None:
        assert said is None
    else:
        assert said is not None
        assert "role daffathan.platform.backup" in said
        assert re.search(why, said), said


def test_failure_is_told_in_the_words_of_the_command() -> None:
    said = "daffathan-backup: The recovery point was not made: database labs: pg_dump: error: no such table\n"
    assert explain(1, "", said) == "The recovery point was not made: database labs: pg_dump: error: no such table"
    assert explain(137, "", "") == "it said nothing (exit status 137)"
    older = "daffathan-backup: error: argument VERB: invalid choice: 'point' (choose from run, list)"
    assert "older than this collection" in explain(2, "", older)


def test_points_are_listed_with_their_ages() -> None:
    listed = {key: SAID[key] for key in ("point", "app", "bytes", "reason", "release")}
    listed |= {"time": "2026-11-21T12:00:00.123456+00:00", "complete": True, "items": {"database/labs": "a"}}
    (point,) = parse_list(json.dumps([listed]), datetime(2026, 11, 21, 13, 0, 1, tzinfo=timezone.utc))
    assert (point["id"], point["age"], point["release"]) == ("20261121t120000z", 3600, "r1")
    assert point["snapshots"] == {"database/labs": "a"}
    with pytest.raises(BackupError, match="cannot be read"):
        parse_list("Fatal", datetime.now(timezone.utc))


def test_objectives_are_those_of_one_app_or_of_all() -> None:
    status = json.dumps(
        {"apps": {"labs": {"objectives": [{"rpo": 1}]}, "shop": {"objectives": [{"rpo": 2}, {"rpo": 3}]}}}
    )
    assert parse_objectives_of(status, None) == [{"rpo": 1}, {"rpo": 2}, {"rpo": 3}]
    assert parse_objectives_of(status, "shop") == [{"rpo": 2}, {"rpo": 3}]
    older = json.dumps({"apps": {"labs": {}}})
    with pytest.raises(BackupError, match="'objectives'.*Run role"):
        parse_objectives_of(older, None)
