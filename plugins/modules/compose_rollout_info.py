#!/usr/bin/python
# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module: what compose_rollout knows about the apps of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: compose_rollout_info
short_description: Releases, colours, health and history of the apps of a host
version_added: 0.1.0
author:
  - the daffathan.platform authors (@daffathan)
description:
  - Tells which release of each app serves, which one a rollback returns to, how their containers are, and what
    happened before.
  - A host without any app, or without Docker, has an empty list of apps.
extends_documentation_fragment:
  - daffathan.platform._attributes
  - daffathan.platform._attributes.info
options:
  app:
    description: Name of one app. By default all apps of the host. A name the host does not have gives an empty list.
    type: str
requirements:
  - Docker SDK for Python 5.0 or later (C(python3-docker)), where there are apps
seealso:
  - module: daffathan.platform.compose_rollout
"""

EXAMPLES = r"""
- name: Look at the apps
  daffathan.platform.compose_rollout_info:
  register: rollouts

- name: Show what serves
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.live.release }} ({{ item.live.colour }})"
  loop: "{{ rollouts.apps }}"
  loop_control:
    label: "{{ item.name }}"
"""

RETURN = r"""
apps:
  description: The apps, in the order of their names.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the app.
      type: str
    domains:
      description: Host names of the app.
      type: list
      elements: str
    phase:
      description:
        - V(idle); V(canary), V(prepared) or V(switched) while a release waits; or the phase in which a run was
          interrupted, which the next run finishes or undoes.
      type: str
    live:
      description: The release that serves; none before the first one.
      type: dict
      contains:
        release:
          description: Id of the release.
          type: str
        colour:
          description: V(blue) or V(green).
          type: str
        created:
          description: When the release was made, in UTC.
          type: str
        loaded:
          description: Whether the gateway answers that it has this release loaded.
          type: bool
        migration:
          description:
            - What the release did to the schema, as RV(daffathan.platform.compose_rollout#module:migration); none where
              it has no C(migrate), or nothing is known.
          type: dict
        services:
          description: C(image), C(digest), C(routes), C(containers) (how many there should be), C(running) and
            C(health) by service.
          type: dict
          sample: {"api": {"containers": 1, "health": "healthy", "image": "labs/api:1.1.0", "running": 1}}
    schema:
      description: Version of the schema, as the last migration told it; none where nothing tells it.
      type: str
    canary:
      description:
        - The release that a part of the users meets, in the form of C(live); none where none is under way.
        - C(weight), C(step), C(steps) and C(paused) are those of RV(daffathan.platform.compose_rollout#module:canary).
          C(paused) is none while a run is at work.
      type: dict
    candidate:
      description: The release that waits to be switched to or to be finalized, in the form of C(live); none where none
        waits.
      type: dict
      contains:
        phase:
          description: V(prepared) or V(switched).
          type: str
    previous:
      description: The release that a rollback returns to, in the form of C(live) with its containers stopped.
      type: dict
    older:
      description: More releases that can be returned to, the latest first, in the form of C(previous).
      type: list
      elements: dict
    history:
      description: The last 50 events, the latest last.
      type: list
      elements: dict
      contains:
        at:
          description: When it happened, in UTC.
          type: str
        event:
          description: V(deployed), V(rolled_back), V(failed), V(aborted) or V(interrupted).
          type: str
        release:
          description: Id of the release it happened to.
          type: str
        run:
          description: The C(run) that the lines of the journal about it have.
          type: str
        strategy:
          description: How the services of the release are swapped; more than one way with commas between them.
          type: str
        ms:
          description: Milliseconds that the run took. Not there where it was killed.
          type: int
        phases:
          description: Milliseconds per phase of the run, as M(daffathan.platform.compose_rollout) returns them. Not
            there where it was killed.
          type: dict
        why:
          description: The first line of the message of a release that failed or was aborted.
          type: str
        migration:
          description: What the release did to the schema, as in C(live), with the id alone of its recovery point. Not
            there where nothing is known of it.
          type: dict
      sample: [{"at": "2026-01-02T03:04:05+00:00", "event": "deployed", "ms": 4210, "phases": {"ready": 1120},
        "release": "r20260102t030405-0123abcd", "run": "0a1b2c3d", "strategy": "blue_green"}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.daffathan.platform.plugins.module_utils._docker.app_files import known_apps, read_state
from ansible_collections.daffathan.platform.plugins.module_utils._docker.compose_driver import ComposeDriver
from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import Engine
from ansible_collections.daffathan.platform.plugins.module_utils._docker.probe import health_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.describe import (
    describe_canary,
    describe_held,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.gateway import releases_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    LABEL,
    Release,
    RolloutError,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.options import (
    parse_app_name,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State


def health_of_service(running: list[Any], wanted: int) -> str:
    if len(running) < wanted:
        return "degraded" if running else "stopped"
    said = {health_of(container) or "healthy" for container in running}
    return next((word for word in ("unhealthy", "starting") if word in said), "healthy")


def describe_release(driver: ComposeDriver, release: Release | None, state: State) -> dict[str, Any]:
    if release is None:
        return {}
    routes = dict(state.route.services) if state.route else {}
    migration = state.migrations.get(release.id)
    if release == state.candidate:
        migration = state.migration_of(release)
    containers = driver.containers.of_release(release.id)
    services = {}
    for name, service in release.services.items():
        mine = [container for container in containers if container.labels.get(f"{LABEL}.service") == name]
        running = [container for container in mine if container.status == "running"]
        services[name] = {
            "image": service.image,
            "digest": service.digest,
            "routes": list(routes.get(name, {}).get("routes", [])),
            "containers": len(service.addresses),
            "running": len(running),
            "health": health_of_service(running, len(service.addresses)),
        }
    return {
        "release": release.id,
        "colour": release.colour,
        "created": release.created,
        "loaded": release.id in releases_of(driver.loaded_generation()),
        "migration": migration.to_json() if migration else None,
        "services": services,
    }


def describe_app(engine: Engine, name: str) -> dict[str, Any]:
    state = read_state(name)
    driver = ComposeDriver(engine, name)
    canary, held = describe_canary(state), describe_held(state)
    return {
        "name": name,
        "domains": list(state.route.domains) if state.route else [],
        "phase": state.phase,
        "schema": state.schema,
        "live": describe_release(driver, state.live, state) or None,
        "canary": {**describe_release(driver, state.candidate, state), **canary} if canary is not None else None,
        "candidate": {**describe_release(driver, state.candidate, state), **held} if held is not None else None,
        "previous": describe_release(driver, state.previous, state) or None,
        "older": [describe_release(driver, release, state) for release in state.older],
        "history": [dict(entry) for entry in state.history],
    }


def main() -> None:
    module = AnsibleModule(argument_spec={"app": {"type": "str"}}, supports_check_mode=True)
    wanted = module.params["app"]
    try:
        if wanted is not None:
            parse_app_name(wanted)
        names = [name for name in known_apps() if wanted in (None, name)]
        engine = Engine() if names else None
        apps = [describe_app(engine, name) for name in names] if engine is not None else []
    except RolloutError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, apps=apps)


if __name__ == "__main__":
    main()
