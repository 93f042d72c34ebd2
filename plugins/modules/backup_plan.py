#!/usr/bin/python
# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module: whether the backups of a host can keep what was declared of them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backup_plan
short_description: Judge the backups of a host by the objectives of its apps
version_added: 0.1.0
author:
  - the daffathan.platform authors (@daffathan)
description:
  - Computes the most data that the schedule can lose (RPO), and how long a restore takes (RTO), for each app. Fails
    where an app declares less, with what to change.
  - A backup has the data of the moment when its run began, and counts when the run has ended. So the data of
    V(max(gap + jitter, timeout) + timeout) can be lost, where C(gap) is the longest time between two events of
    O(schedule) within a year on this host. The days on which the clocks change count. A run that fails is not part of
    this; it is told by the status, the metrics and C(backup_on_failure).
  - A restore is expected to take the time of a backup, which comes first, and that of its items one after the other.
    They are measured by the restores of this host. Until there was one, 30 MB/s are assumed for PostgreSQL, 5 MB/s for
    MariaDB and 50 MB/s for volumes. Before the first backup nothing is known of it, and nothing refused.
  - Role P(daffathan.platform.backup#role) calls this before it changes anything.
extends_documentation_fragment:
  - daffathan.platform._attributes
  - daffathan.platform._attributes.info
options:
  apps:
    description: The apps with what is backed up of them, as role P(daffathan.platform.backup#role) takes them.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the app.
        type: str
        required: true
      backup:
        description:
          - What is backed up, and its objectives. C(rpo) and C(rto) hold for the app as a whole; those in C(database)
            for the database alone. They are time spans such as V(15m), V(12h) or V(2d).
        type: dict
        required: true
  schedule:
    description: When backups begin, as a calendar event of systemd.
    type: str
    required: true
  jitter:
    description: How much later they may begin, as a time span; a number alone means seconds.
    type: str
    default: "0"
  timeout:
    description: When a run is ended, as a time span; a number alone means seconds.
    type: str
    required: true
seealso:
  - module: daffathan.platform.backup_info
"""

EXAMPLES = r"""
- name: See whether hourly dumps are enough
  daffathan.platform.backup_plan:
    apps:
      - name: labs
        backup:
          rpo: 2h
          database: {engine: postgresql, name: labs, service: db}
    schedule: "*-*-* *:00:00 UTC"
    jitter: 2m
    timeout: 15m
"""

RETURN = r"""
objectives:
  description: What can be expected of each app, and of each database that has objectives of its own.
  returned: success
  type: list
  elements: dict
  contains:
    app:
      description: Name of the app.
      type: str
    scope:
      description: V(app) for all of it, V(database) for what the database declares of itself.
      type: str
    covers:
      description: What it is about, as C(database/<name>) and C(volume/<name>).
      type: list
      elements: str
    rpo:
      description: Seconds of data that may be lost, as declared.
      type: int
    rpo_worst:
      description: Seconds of data that can be lost; none where the schedule has a last run.
      type: int
    rpo_met:
      description: Whether that is no more than declared.
      type: bool
    rto:
      description: Seconds that a restore may take, as declared.
      type: int
    rto_expected:
      description: Seconds that a restore is expected to take; none before the first backup.
      type: int
    rto_met:
      description: Whether that is no more than declared.
      type: bool
    rto_measured:
      description: Whether restores of all of it were measured on this host.
      type: bool
"""

import json
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.daffathan.platform.plugins.module_utils._backup.durations import parse_duration
from ansible_collections.daffathan.platform.plugins.module_utils._backup.model import STATUS
from ansible_collections.daffathan.platform.plugins.module_utils._backup.objectives import (
    Assessment,
    assess,
    parse_known,
    parse_objectives,
    problems,
)
from ansible_collections.daffathan.platform.plugins.module_utils._backup.schedule import Schedule, largest_gap
from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError, run
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import read_text

# The options that are time spans, and the variables of the role that they come from.
SPANS = {"jitter": "backup_schedule_jitter", "timeout": "backup_timeout"}


def read_schedule(params: dict[str, Any]) -> Schedule:
    """The schedule that the options name; ValueError with the first thing that is wrong."""
    event = params["schedule"]
    spans = {key: parse_duration(params[key], name, unit=False) for key, name in SPANS.items()}
    if spans["timeout"] == 0:
        raise ValueError(f"backup_timeout is {params['timeout']}, which no run can keep. Write for example 12h.")
    try:
        gap = largest_gap(event, lambda argv: run(argv).stdout, datetime.now(timezone.utc))
    except CommandError as error:
        said = error.completed.stderr.strip() or str(error)
        raise ValueError(
            f"backup_schedule is {event}, which systemd does not understand ({said}). "
            "Examples are daily, Mon *-*-* 03:00:00 and *-*-* 00/6:00:00."
        ) from None
    return Schedule(event, gap, spans["jitter"], spans["timeout"])


def read_status() -> dict[str, Any]:
    """What the host has recorded by app. What cannot be read is of no use to a forecast, and told by the command."""
    try:
        return dict(json.loads(read_text(STATUS) or "{}").get("apps", {}))
    except PermissionError:
        raise ValueError(f"{STATUS} can be read by root alone. Run the task with become: true.") from None
    except (ValueError, AttributeError):
        return {}


def judge(apps: list[dict[str, Any]], schedule: Schedule) -> list[Assessment]:
    status = read_status()
    return [
        assess(objective, schedule, parse_known(status.get(app["name"], {})))
        for app in apps
        for objective in parse_objectives(app["name"], app["backup"])
    ]


def main() -> None:
    suboptions = {"name": {"type": "str", "required": True}, "backup": {"type": "dict", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "dict", "required": True, "options": suboptions},
            "schedule": {"type": "str", "required": True},
            "jitter": {"type": "str", "default": "0"},
            "timeout": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        schedule = read_schedule(module.params)
        told = judge(module.params["apps"], schedule)
    except ValueError as error:
        module.fail_json(msg=str(error))
    found = problems(told, schedule)
    if found:
        module.fail_json(msg="\n".join(found))
    module.exit_json(changed=False, objectives=[assessment.to_json() for assessment in told])


if __name__ == "__main__":
    main()
