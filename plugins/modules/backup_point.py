#!/usr/bin/python
# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module: a recovery point of an app's database, now."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: backup_point
short_description: Make a recovery point of the database of an app now
version_added: 0.1.0
author:
  - the daffathan.platform authors (@daffathan)
description:
  - Dumps the database that C(apps[].backup.database) names into the repository of role
    P(daffathan.platform.backup#role), through the command that the role has put on the host. The repository and its
    secrets stay with that command.
  - The dump is read back from the repository by the tool that would restore it before the point counts. A dump that
    dies half-way, or cannot be read, is no point, and the task fails.
  - A backup or restore that is under way is waited for.
  - The point holds the database alone. It is not what C(latest) means in a restore, and it is kept for 30 days; the
    last one with a O(release) is kept until the next.
extends_documentation_fragment:
  - daffathan.platform._attributes
attributes:
  check_mode:
    details: The repository has to answer, and the database to run. On a host without role backup it reports a change.
  diff_mode:
    support: none
  idempotent:
    support: none
    details: Every run makes a point.
requirements:
  - role P(daffathan.platform.backup#role) on the host
options:
  app:
    description: Name of the app.
    type: str
    required: true
  reason:
    description:
      - What the point is for, kept with it; a lower-case letter followed by at most 30 letters, digits and hyphens.
      - V(manual), V(scheduled) and V(safety) belong to the backups of the role.
    type: str
    default: on-request
  release:
    description: The release the point is made for, kept with it; letters, digits, dots, underscores and hyphens.
    type: str
  timeout:
    description: Seconds that the point may take, from 1 to 86400, with the wait for a backup that is under way.
    type: int
    default: 3600
seealso:
  - module: daffathan.platform.backup_info
  - module: daffathan.platform.compose_rollout
    description: Makes such a point before a migration by itself.
"""

EXAMPLES = r"""
- name: Make a recovery point before the import
  daffathan.platform.backup_point:
    app: labs
    reason: before-import
  register: before

- name: Say how to get back to it
  ansible.builtin.debug:
    msg: "{{ before.point.restore }}"
"""

RETURN = r"""
point:
  description: The point. In check mode it has C(app), C(databases), C(reason) and C(release).
  returned: when the host has role backup
  type: dict
  contains:
    id:
      description: Id of the point, as playbook restore takes it in C(snapshot).
      type: str
      sample: 20260102t030405z
    app:
      description: Name of the app.
      type: str
    time:
      description: The time of the data, in UTC.
      type: str
      sample: "2026-01-02T03:04:05Z"
    bytes:
      description: Size of the dump.
      type: int
    databases:
      description: The databases in it.
      type: list
      elements: str
    seconds:
      description: How long it took, with all waiting.
      type: float
    reason:
      description: What it is for.
      type: str
    release:
      description: The release it was made for.
      type: str
    restore:
      description: The command that puts it back.
      type: str
      sample: >-
        ansible-playbook playbooks/restore.yml -e app=labs -e snapshot=20260102t030405z -e parts=database
        -e confirm=labs
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.daffathan.platform.plugins.module_utils._backup.command import NotSetUp, make_point
from ansible_collections.daffathan.platform.plugins.module_utils._backup.model import BackupError, parse_request


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "reason": {"type": "str", "default": "on-request"},
            "release": {"type": "str"},
            "timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    try:
        point = make_point(parse_request(module.params), dry_run=module.check_mode)
    except BackupError as error:
        if module.check_mode and isinstance(error, NotSetUp):
            # What a bare host lacks, a real run would have installed before this task.
            module.warn(str(error))
            module.exit_json(changed=True)
        module.fail_json(msg=str(error))
    told = dict(point.to_json(), restore=point.restore)
    if module.check_mode:
        told = {key: told[key] for key in ("app", "databases", "reason", "release")}
    module.exit_json(changed=True, point=told)


if __name__ == "__main__":
    main()
