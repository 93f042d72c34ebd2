#!/usr/bin/python
# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module: one release of one app on Docker Compose, without a dropped request."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: compose_rollout
short_description: Release a Docker Compose app without a dropped request
version_added: 0.1.0
author:
  - the daffathan.platform authors (@daffathan)
description:
  - Takes the team's compose file as it is and cuts it in two. The services named in O(services) form a release that
    is started beside the one that serves; all others form the base, which is never swapped.
  - A release is started, waited for, and switched to by a reload of the gateway. The reload is waited for until every
    fresh connection meets the new release. Then the old one is drained, stopped, and kept for a rollback.
  - Images are pinned to digests. The same content as the live release is no change; an image whose tag has moved is.
    The image of a base service is looked up once, and again when its reference in the compose file changes.
  - Where a release cannot start or does not get ready, it is taken away and the live one keeps serving.
  - A run that was interrupted, by whatever, is finished or undone by the next one.
  - While it runs, an action plugin shows on standard error which phase it is in and what it waits for. It shows nothing
    in check mode, with C(async) or C(no_log), and over SSH connections that are not kept open (C(ControlPersist)).
  - A compose file that publishes a port beyond the loopback interface, or uses the host's network, is refused before
    anything starts. So is what only one container can have, at a swapped service - C(container_name), C(mac_address),
    an alias or a fixed address in a network - and what ties a swapped service to another container - C(network_mode),
    C(pid), C(ipc), C(volumes_from), C(links) with another name.
  - C(ports) and C(depends_on) of swapped services are left out of a release. Callers in the network of the app reach a
    swapped service by its name and port through the gateway. External networks stay.
  - Services of a profile are left out, unless O(services) or C(COMPOSE_PROFILES) in O(env) names them.
  - The content of C(configs) belongs to a release, as that of O(secrets) does.
extends_documentation_fragment:
  - daffathan.platform._attributes
attributes:
  check_mode:
    details:
      - Registries are asked what a tag means. On a host without Docker the module reports a change and why it cannot
        tell more.
  idempotent:
    support: partial
    details: A tag that has moved in its registry is a new release.
requirements:
  - Docker Engine 20.10 or later and Docker Compose 2.20 or later
  - Docker SDK for Python 5.0 or later (C(python3-docker))
  - the gateway of role P(daffathan.platform.gateway#role)
options:
  app:
    description: Name of the app, a lower-case letter followed by at most 30 letters, digits and single hyphens.
    type: str
    required: true
  state:
    description:
      - V(present) makes O(compose_file) with O(env) and O(secrets) the live release.
      - V(rolled_back) returns to the release before. Repeated, it changes nothing.
      - V(absent) removes everything of the app except its volumes.
      - V(promoted) takes a canary that waits past the step it waits in. Without a canary under way it changes nothing.
      - V(prepared), V(switched) and V(finalized) are V(present) in three parts, for hosts that go together or not at
        all. V(prepared) ends where the new release is ready beside the live one, jobs and migration included; no user
        meets it, and its workers do not run yet. V(switched) takes it through the steps of a canary, the switch and
        O(bake); the release before runs on beside it. V(finalized) drains and stops that one, runs C(after) of
        O(migrate), and removes what is kept no more. Each of them repeated, or with nothing that waits for it, changes
        nothing.
      - V(aborted) takes away what is prepared, a canary, and what is switched but not finalized; the release before
        serves as it did. Without any of them it changes nothing.
      - V(present) finalizes the same release where it is switched, goes on with it where it is prepared, and takes
        another one away first.
    type: str
    choices: [present, prepared, switched, finalized, aborted, promoted, rolled_back, absent]
    default: present
  compose_file:
    description: Path of the compose file on the host. Required with O(state=present) and O(state=prepared).
    type: path
  env:
    description: Values that interpolate the compose file, as a C(.env) file would.
    type: dict
    default: {}
  secrets:
    description:
      - Values of the top-level C(secrets) of the compose file by name. Each service that uses one finds it as a file
        under C(/run/secrets), with mode 0400 and owned by the user its container runs as. In a container that starts as
        root the mode is 0444, as root may become another user there. C(uid), C(gid) and C(mode) in the file win.
      - A changed value is a new release. Values never appear in an argument list, the journal, the diff or a message.
    type: dict
    default: {}
  services:
    description:
      - The services that are swapped, by their names in the compose file. Required with O(state=present) and
        O(state=prepared).
      - C(port) (int) is where the service listens in its container. A service without it is a worker, which takes no
        requests. The workers of a release start once its other services are ready, run beside those of the old release
        until these are stopped after the switch, and are ready when they stay up (C(min_uptime)).
      - C(routes) (list of str, default none) are path prefixes of the app's domains that go to it, passed on unchanged.
      - C(health) (str) is a path that answers 2xx when the service can take requests. Without it the C(healthcheck) of
        the compose file decides. A service that has C(routes) needs one of the two, or V(port), which says that an open
        port is enough, beside the health check of the image where that has one. Three good answers in a row are needed.
      - C(replicas) (int) is the number of containers; by default C(deploy.replicas) or C(scale) of the compose file, or
        else V(1).
      - C(start_timeout) (int, default V(60)) is the number of seconds until it must be ready.
      - C(drain_timeout) (int, default V(30)) is the number of seconds that requests in flight may take after the
        switch.
      - C(stop_timeout) (int, default V(30)) is the number of seconds between SIGTERM and SIGKILL.
      - C(protocol) (str, default V(http)) is V(http) or V(tcp). With V(tcp) the gateway passes connections to C(port)
        on unread, for a broker or a cache. Containers of the app's network reach it by its name and port; nobody does
        from outside. It has no C(routes), no C(health) and no port in common with another service of the app.
        A port cannot be of V(http) in one app of a host and of V(tcp) in another.
      - After a switch, new connections with V(tcp) meet the new release. Those that are open go on with the old one
        until they end, at the latest when C(drain_timeout) is over and the old containers stop.
      - C(idle_timeout) (int, default V(86400)) is the number of seconds after which a connection with V(tcp) that
        carries nothing in either direction is closed.
      - C(max_body_size) (str, default is that of the gateway) is the largest body of a request, as a number with the
        unit V(k), V(m) or V(g); V(0) is no limit. A larger one is answered with 413.
      - C(read_timeout) (int, default V(3600)) is the number of seconds after which a container that neither sends a
        byte of its answer nor takes one of the request is given up, with 504. C(connect_timeout) (int, default V(5)) is
        how long a connection to it may take. C(body_timeout) (int, default V(60)) is the number of seconds after which
        a client that sends no byte of its request's body is cut off, without an answer; the log says 408.
      - C(rate_limit) (dict) is how many requests a client from outside may send - C(rate) (str, required) by second or
        minute, like V(10/s) or V(30/m); C(burst) (int, by default as many as C(rate) names) may come too early, and
        with C(nodelay) (bool, default V(true)) are answered at once.
      - C(connection_limit) (dict) is how many requests of a client may be under way at once (C(connections), int,
        required).
      - Both have C(exempt) (list of str), addresses and networks that are not counted, and C(dry_run) (bool, default
        V(false)), with which nobody is refused and only the access log tells who would have been. Others get 429 with
        C(Retry-After). A client is an address, of IPv6 a /64.
      - C(maintenance) (bool or dict) is O(maintenance) for this service alone, and wins over it.
      - All these from C(max_body_size) on say how the gateway serves a service with C(protocol=http). They take
        effect by a reload, without a new release.
      - C(job) (str) makes the service a job, which does its work and ends. V(before_start) runs it once per release,
        before the release starts. C(timeout) (int, default V(600)) is the number of seconds it may take. Jobs run one
        after the other, in the order of their names. The compose file has to give the C(command) of the job.
      - A job that ends with another exit status than 0 takes the release away. What has ended well is not run again
        when an interrupted release is repeated, nor when containers of the same content have to be replaced.
      - C(min_uptime) (int, default V(5) for a worker, V(0) for others) is the number of seconds that a container has to
        stay up before it counts as ready. A failure after it was good begins them anew; the third one ends the rollout.
      - C(strategy) (str, default V(blue_green)) is V(blue_green), V(canary), V(rolling) or V(stop_first).
      - V(blue_green) starts all new containers beside the old ones and switches to them at once.
      - V(canary) lets a part of the users meet the new version first, as O(canary) says. The other services, and
        workers, are switched when the canary is promoted.
      - V(rolling) replaces the containers a few at a time behind the gateway, for a host without room for twice the
        C(replicas). Both versions serve meanwhile. C(surge) (int, default V(1)) and C(unavailable) (int, default V(0))
        are how many containers there may be more, and fewer, than C(replicas).
      - V(stop_first) stops the old containers before it starts the new ones. That is for what must not run twice, such
        as a consumer that relies on the order of its messages. Between the two the service is away, for C(stop_timeout)
        and C(start_timeout) at most; its requests fail meanwhile. Where the new ones do not get ready, the old ones are
        started again.
    type: dict
    default: {}
  canary:
    description:
      - How a new release is tried on a part of the users. Required where a service has C(strategy=canary).
      - C(steps) (list of dict, required) are gone through in order, then the release serves all. Each has C(weight)
        (int, 1 to 99, growing), the percentage of the users that meet the canary, and C(pause), the seconds the step
        lasts, or V(manual), which ends the run; O(state=promoted) or O(state=aborted) go on from there.
      - C(sticky) (str, default V(cookie)) tells users apart by a cookie, by their address (V(client)), or not at all
        (V(none), each request by itself). A growing weight moves users to the canary and never back.
      - C(header) (str, default V(X-Canary)) is a request header; V(always) meets the canary, V(never) the live
        release. Such requests are not part of the analysis. An empty text is no header.
      - C(analysis) (dict) compares what the canary and the live release answer in the same time. Without it a canary
        is aborted only where its containers end or become unhealthy.
      - C(analysis.min_requests) (int, required) is how many requests both have to answer in a step before it can
        pass.
      - C(analysis.error_margin) (float, default V(0.5)) is by how many percentage points the canary may fail more
        often.
      - C(analysis.max_error_rate) (float) is the highest percentage of errors, whatever the live release does.
      - C(analysis.max_p95_ratio), C(analysis.max_p99_ratio) (float) are how many times as slow the canary may be, and
        C(analysis.max_p95_ms), C(analysis.max_p99_ms) (float) how slow.
      - C(analysis.interval) (int, default V(5)) is the number of seconds between two looks.
      - C(analysis.max_wait) (int, default V(300)) is how many seconds longer than its pause a step may wait for
        requests.
      - C(analysis.on_inconclusive) (str, default V(abort)) is what happens then. With V(pause) the run ends, and a
        person decides. Too few requests never promote.
      - The first release of an app, and one that replaces a release that is not healthy, have no canary.
    type: dict
    default: {}
  migrate:
    description:
      - How a release changes the schema of a database. C(command) grows it before the release starts, while the old one
        serves, so both have to work with what it makes; C(after) removes what is needed no more.
      - C(service) (str, required) is one of O(services), whose image and settings the commands run with.
      - C(command) (list of str, required) runs before the jobs of the release.
      - C(rollback) (list of str) runs when a release fails whose C(command) has ended well, after the old one serves
        alone. With C(version) it runs only where the version has changed, then also after a C(command) that failed
        half-way, and C({version}) in it stands for the one before. An interrupted release is not migrated back but
        repeated by the next run.
      - C(after) (list of str) runs once the new release serves and the old one has been stopped. From then on the
        releases before cannot be rolled back to. Where it fails, the release serves all the same, the task fails, and
        the next run tries again.
      - C(version) (list of str) prints the version of the schema as its last line. It may fail before the first
        migration.
      - C(recovery_point) (bool) makes a recovery point of the database before C(command) and C(version) run, as
        M(daffathan.platform.backup_point) does. By default it is made where role P(daffathan.platform.backup#role) has
        set up backups of the app's database on the host. With V(true) a host without them is refused; with V(false)
        none is made. Where the point cannot be made, or read back, the release is taken away before anything of the
        schema was touched. It is made once per release, and RV(migration) tells which one it is.
      - C(timeout) (int, default V(600)) is the number of seconds that each of them may take. A recovery point may take
        an hour.
    type: dict
    default: {}
  bake:
    description:
      - How a release is watched after the switch, while the old one still runs. Where a container ends, where a service
        does not answer its health check three times in a row or five times in ten, or where one of the limits below is
        broken, the old one serves again and the task fails. That happens as soon as it is proven, and at the end where
        it was seen in C(min_requests) answers.
      - C(seconds) (int, required) is for how long. A run that is interrupted meanwhile is gone on with by the next one.
      - C(min_requests) (int, default V(20)) is how many answers there have to be to see something at the end.
      - C(max_error_rate) (float, default V(5)) is the highest percentage of errors, and C(max_p95_ms), C(max_p99_ms)
        (float) are how slow the answers may be.
      - C(error_margin) (float) is by how many percentage points the release may fail more often than the old one did
        right before the switch, in as many seconds, but at least 60 and at most 300. C(max_p95_ratio), C(max_p99_ratio)
        (float) are how many times as slow it may be.
      - These limits have the names and the meaning of C(analysis) in O(canary).
    type: dict
    default: {}
  domains:
    description: Host names under which the app is reached. Without one, only its own network reaches it.
    type: list
    elements: str
    default: []
  maintenance:
    description:
      - Whether clients from outside get 503 with C(Retry-After) in the place of the app. It takes effect by a reload;
        the containers run on, and reach each other. V(true), or a dict.
      - C(retry_after) (int, default V(300)) is the number of seconds after which a client is to come again.
      - C(allow) (list of str) are addresses and networks that are let in.
      - C(page) (str) is HTML, of at most 64 KiB, for clients that take it. Others get JSON.
    type: raw
    default: false
  release:
    description:
      - With O(state=rolled_back), the id of the release to return to. By default the one before.
      - With O(state=promoted) and O(state=aborted), the id of the canary that is meant. By default the one under way.
      - With O(state=switched) and O(state=finalized), the id of the release that was prepared. Where another one, or
        none, is there, the task fails. By default the one that is there.
    type: str
  keep_releases:
    description:
      - How many releases are kept with their containers and images, the live one included, from 2 to 20. Images of the
        others are removed unless something else uses them. A smaller number takes effect at once, without a release.
    type: int
    default: 2
  keep_warm:
    description:
      - For how many seconds the release before runs on after the switch, so that a rollback only has to switch. Its
        workers are stopped at once. It is stopped by a timer of systemd, by the next release, or by a reboot. With
        C(after) in O(migrate) it is not kept warm.
    type: int
    default: 0
  min_free_disk:
    description: MiB that have to be free where Docker keeps its data. With less, nothing is started.
    type: int
    default: 1024
  min_free_memory:
    description:
      - MiB of memory that have to be available beside what the new containers reserve (C(deploy.resources) of the
        compose file). With less, nothing is started.
    type: int
    default: 64
  lock_timeout:
    description: Seconds to wait for another rollout of the same app.
    type: int
    default: 60
seealso:
  - module: daffathan.platform.compose_rollout_info
  - module: daffathan.platform.backup_point
"""

EXAMPLES = r"""
- name: Release the app
  daffathan.platform.compose_rollout:
    app: labs
    compose_file: /etc/daffathan/apps/labs/compose.yml
    domains: [labs.example.com]
    env:
      TAG: 1.1.0
    secrets:
      DB_PASSWORD: "{{ vault_labs_db_password }}"
    services:
      ui: {port: 3000, routes: [/], health: /health}
      api: {port: 3001, routes: [/api/], health: /health, replicas: 2}
      mailer: {}
      billing: {strategy: stop_first, stop_timeout: 120}
      broker: {port: 1883, protocol: tcp, drain_timeout: 300}
      seed: {job: before_start}
    migrate:
      service: api
      command: [./migrate, up]
      rollback: [./migrate, goto, "{version}"]
      version: [./migrate, version]

- name: Release the app to a tenth of its users, then to half of them when somebody says so, then to all
  daffathan.platform.compose_rollout:
    app: labs
    compose_file: /etc/daffathan/apps/labs/compose.yml
    domains: [labs.example.com]
    env:
      TAG: 1.2.0
    services:
      ui: {port: 3000, routes: [/], health: /health, strategy: canary}
      api: {port: 3001, routes: [/api/], health: /health, strategy: canary}
    canary:
      steps:
        - {weight: 10, pause: manual}
        - {weight: 50, pause: 300}
      analysis: {min_requests: 200, max_p95_ratio: 1.5}

- name: Take the canary on
  daffathan.platform.compose_rollout:
    app: labs
    state: promoted

- name: Go back to the release before
  daffathan.platform.compose_rollout:
    app: labs
    state: rolled_back

- name: Remove the app, keep its volumes
  daffathan.platform.compose_rollout:
    app: labs
    state: absent
"""

RETURN = r"""
release:
  description: Id of the live release.
  returned: when there is one
  type: str
  sample: r20260102t030405-0123abcd
previous:
  description: Id of the release that a rollback returns to.
  returned: when there is one
  type: str
  sample: r20260101t030405-89abcdef
kept:
  description: Ids of all releases that can be returned to, the latest first.
  returned: always
  type: list
  elements: str
colour:
  description: V(blue) or V(green), alternating from release to release.
  returned: when there is a live release
  type: str
  sample: blue
hash:
  description: Hash over everything the containers of the live release are made of.
  returned: when there is a live release
  type: str
services:
  description: The services of the live release with C(image), C(digest), C(port) and C(addresses).
  returned: when there is a live release
  type: dict
schema:
  description: Version of the schema, as C(version) of O(migrate) told it last.
  returned: when it was told
  type: str
  sample: "20260102030405"
migration:
  description: What the live release did to the schema.
  returned: when the release had O(migrate), and something is known of it
  type: dict
  contains:
    schema_before:
      description: Version before the migration, as C(version) of O(migrate) told it; empty where there was none yet.
      type: str
    schema_after:
      description: Version after it.
      type: str
    recovery_point:
      description: The point that was made before it, as M(daffathan.platform.backup_point) returns it.
      type: dict
      sample: {"app": "labs", "bytes": 81920, "databases": ["labs"], "id": "20260102t030405z",
        "reason": "before-migration", "release": "r20260102t030405-0123abcd", "seconds": 4.1,
        "time": "2026-01-02T03:04:05Z"}
operations:
  description: What was done, or would be in check mode, in order. Empty when nothing was to do.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: One of V(recover), V(base), V(release), V(canary), V(promote), V(switch), V(finalize), V(abort),
        V(route), V(contract), V(prune), V(rollback), V(remove).
      type: str
    text:
      description: Why.
      type: str
phases:
  description:
    - Milliseconds per phase that ran. C(point) is the recovery point, C(job) all jobs and migrations, C(workers) the
      start of the workers, C(swap) the exchange of what must not run twice, C(roll) that of containers one by one,
      C(canary) the steps of a canary, C(bake) the time of watching.
  returned: always
  type: dict
  sample: {"drain": 133, "fence": 28, "fetch": 412, "ready": 1120, "shift": 160, "start": 840, "stop": 510}
candidate:
  description: The release that waits to be switched to, or to be finalized.
  returned: when there is one
  type: dict
  contains:
    release:
      description: Id of the release.
      type: str
    phase:
      description: V(prepared) or V(switched).
      type: str
canary:
  description: The canary that waits for somebody to promote or abort it.
  returned: when there is one
  type: dict
  contains:
    release:
      description: Id of the release.
      type: str
    weight:
      description: Percentage of the users that meet it.
      type: int
    step:
      description: Number of the step it is in, from 1.
      type: int
    steps:
      description: The steps in words.
      type: list
      elements: str
    paused:
      description: Why it waits.
      type: str
drained:
  description: How the old release was drained.
  returned: when a release was drained
  type: dict
  contains:
    by:
      description:
        - V(workers) when the gateway's old workers were gone, V(connections) when no connection was left,
          V(timeout) when C(drain_timeout) was over.
      type: str
    ms:
      description: Milliseconds it took.
      type: int
    open:
      description: Connections that were still open.
      type: int
    forced:
      description: Whether the time was over before the connections were.
      type: bool
journal:
  description: Path of the journal on the host.
  returned: always
  type: str
  sample: /var/lib/daffathan/apps/labs/journal.ndjson
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.daffathan.platform.plugins.module_utils._docker import priority
from ansible_collections.daffathan.platform.plugins.module_utils._docker.app_files import app_directory
from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import NoEngine
from ansible_collections.daffathan.platform.plugins.module_utils._docker.outcome import Outcome
from ansible_collections.daffathan.platform.plugins.module_utils._docker.runner import Runner
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.describe import (
    describe_canary,
    describe_held,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.plan import (
    Operation,
)


def result_of(app: str, outcome: Outcome) -> dict[str, Any]:
    result: dict[str, Any] = {
        "changed": outcome.changed,
        "operations": [vars(operation) for operation in outcome.operations],
        "phases": dict(outcome.timings),
        "journal": f"{app_directory(app)}/journal.ndjson",
    }
    if outcome.drained:
        result["drained"] = outcome.drained
    state = outcome.state
    if state is not None and state.live is not None:
        live = state.live.to_json()
        result.update(release=live["id"], colour=live["colour"], hash=live["hash"], services=live["services"])
    if state is not None and state.schema is not None:
        result["schema"] = state.schema
    migration = state.migrations.get(result["release"]) if state is not None and "release" in result else None
    if migration is not None:
        result["migration"] = migration.to_json()
    result["kept"] = [release.id for release in state.stopped] if state is not None else []
    if state is not None and state.previous is not None:
        result["previous"] = state.previous.id
    held = describe_held(state) if state is not None else None
    if held is not None:
        result["candidate"] = held
    canary = describe_canary(state) if state is not None else None
    if canary is not None:
        result["canary"] = canary
    return result


def failure_of(runner: Runner | None) -> dict[str, Any]:
    """What is worth knowing about a run that failed."""
    if runner is None:
        return {}
    return {"phases": dict(runner.outcome.timings), "operations": [vars(entry) for entry in runner.outcome.operations]}


def main() -> None:
    priority.yield_to_requests()
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": [
                    *("present", "prepared", "switched", "finalized", "aborted"),
                    *("promoted", "rolled_back", "absent"),
                ],
                "default": "present",
            },
            "compose_file": {"type": "path"},
            "env": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "services": {"type": "dict", "default": {}},
            "migrate": {"type": "dict", "default": {}},
            "bake": {"type": "dict", "default": {}},
            "canary": {"type": "dict", "default": {}},
            "domains": {"type": "list", "elements": "str", "default": []},
            "maintenance": {"type": "raw", "default": False},
            "release": {"type": "str"},
            "keep_releases": {"type": "int", "default": 2},
            "keep_warm": {"type": "int", "default": 0},
            "min_free_disk": {"type": "int", "default": 1024},
            "min_free_memory": {"type": "int", "default": 64},
            "lock_timeout": {"type": "int", "default": 60},
        },
        required_if=[("state", state, ("compose_file", "services")) for state in ("present", "prepared")],
        supports_check_mode=True,
    )
    apply = not module.check_mode
    runner: Runner | None = None
    try:
        runner = Runner(module.params, apply=apply)
        outcome = runner.run()
    except RolloutError as error:
        if not apply and isinstance(error, NoEngine):
            # What a bare host lacks, a real run would have installed before this task.
            text = f"cannot be planned on a host without Docker: {error}"
            outcome = Outcome(changed=True, operations=[Operation("release", text)])
        else:
            module.fail_json(msg=runner.redact(str(error)) if runner else str(error), **failure_of(runner))
    for warning in outcome.warnings:
        module.warn(runner.redact(warning) if runner else warning)
    result = result_of(module.params["app"], outcome)
    if module._diff and outcome.diff:
        result["diff"] = outcome.diff
    module.exit_json(**result)


if __name__ == "__main__":
    main()
