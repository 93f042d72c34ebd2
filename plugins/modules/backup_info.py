#!/usr/bin/python
# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module: the recovery points in the repository of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backup_info
short_description: Recovery points of the apps of a host, and what their backups can keep
version_added: 0.1.0
author:
  - the daffathan.platform authors (@daffathan)
description:
  - Asks the repository of role P(daffathan.platform.backup#role) for the recovery points that this host has made,
    and the command of that role for what can be lost and how long a restore takes.
  - Fails where the repository does not answer. A host without the role is an error as well, never an empty list.
extends_documentation_fragment:
  - daffathan.platform._attributes
  - daffathan.platform._attributes.info
options:
  app:
    description: Name of one app. By default all apps.
    type: str
requirements:
  - role P(daffathan.platform.backup#role) on the host
seealso:
  - module: daffathan.platform.backup_point
  - module: daffathan.platform.backup_plan
"""

EXAMPLES = r"""
- name: Look at the recovery points
  daffathan.platform.backup_info:
    app: labs
  register: backups

- name: The last whole backup is younger than a day
  ansible.builtin.assert:
    that: backups.points | selectattr('complete') | map(attribute='age') | min < 86400

- name: Every objective is met
  ansible.builtin.assert:
    that:
      - backups.objectives | rejectattr('rpo_met') | length == 0
      - backups.objectives | rejectattr('rto_met') | length == 0
"""

RETURN = r"""
points:
  description: The points, the oldest first.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: Id of the point, as playbook restore takes it in C(snapshot).
      type: str
    app:
      description: Name of the app.
      type: str
    time:
      description: When it was made.
      type: str
    age:
      description: Seconds since then.
      type: int
    reason:
      description: V(scheduled), V(manual), V(safety) (before a restore), or the word that the point was made with.
      type: str
    release:
      description: The release it was made for; none for others.
      type: str
    complete:
      description: Whether everything of it was stored. One that is not complete is never restored.
      type: bool
    bytes:
      description: Size of its content.
      type: int
    snapshots:
      description: Snapshots of restic by C(database/<name>) and C(volume/<name>).
      type: dict
objectives:
  description:
    - What can be expected of each app, and of each database that has objectives of its own, as
      RV(daffathan.platform.backup_plan#module:objectives) describes it.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.daffathan.platform.plugins.module_utils._backup.command import list_objectives, list_points
from ansible_collections.daffathan.platform.plugins.module_utils._backup.model import BackupError


def main() -> None:
    module = AnsibleModule(argument_spec={"app": {"type": "str"}}, supports_check_mode=True)
    try:
        points = list_points(module.params["app"])
        objectives = list_objectives(module.params["app"])
    except BackupError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, points=points, objectives=objectives)


if __name__ == "__main__":
    main()
