# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The options of the module as an app, or InputError with the first thing that is wrong."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    HTTP,
    MIGRATIONS,
    OPEN_PORT,
    PROTOCOLS,
    SCHEMA_PLACE,
    TCP,
    App,
    InputError,
    OneShot,
    Service,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parsing import parse_bool, parse_number
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving import Maintenance
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving_options import (
    NO_PORT,
    SERVING,
    parse_closed,
    parse_serving,
)

APP_NAME = re.compile(r"[a-z](?:-?[a-z0-9]){0,30}")
RELEASE_ID = re.compile(r"r\d{8}t\d{6}-[0-9a-f]{8}")
ROUTE = re.compile(r"/[A-Za-z0-9._~/-]*")
DOMAIN = re.compile(r"(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A secret becomes a file of this name.
SECRET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
STRATEGIES = ("blue_green", "canary", "rolling", "stop_first")
# Seconds that a worker has to stay up before it counts as ready; nothing can be asked of it.
WORKER_UPTIME = 5
JOB_TIMES = ("before_start",)
# Seconds: 30 days.
MOST_IDLE = 2592000


def parse_app_name(name: str) -> str:
    if not APP_NAME.fullmatch(name) or len(name) > 31:
        raise InputError(
            f"app: {name!r} is not a name. Use a lower-case letter followed by at most 30 letters, digits and single "
            "hyphens, for example my-app."
        )
    return name


def parse_release_id(value: str) -> str:
    if not RELEASE_ID.fullmatch(value):
        raise InputError(f"release: {value!r} is not a release id like r20260102t030405-0123abcd.")
    return value


def parse_service(name: str, options: object, domains: Collection[str]) -> Service:
    """:param domains: those of the app"""
    where = f"services.{name}"
    if not isinstance(options, Mapping):
        raise InputError(f"{where}: {options!r} is not a mapping. Write for example {{port: 3000, routes: [/]}}.")
    known = (
        *("port", "routes", "health", "replicas", "start_timeout", "drain_timeout", "stop_timeout", "min_uptime"),
        *("strategy", "surge", "unavailable", "protocol", "idle_timeout"),
        *SERVING,
    )
    given = {key: value for key, value in options.items() if value is not None}
    unknown = sorted(set(map(str, given)) - set(known))
    if unknown:
        raise InputError(f"{where}.{unknown[0]}: there is no such option. Known are {', '.join(known)}.")
    worker = "port" not in given
    for key in ("routes", "health", "protocol"):
        if worker and given.get(key):
            raise InputError(f"{where}.{key}: {given[key]!r} for {NO_PORT.format(key=key)}")
    routes = given.get("routes", [])
    if isinstance(routes, str) or not isinstance(routes, Sequence):
        raise InputError(f"{where}.routes: {routes!r} is not a list of path prefixes like [/api/].")
    for route in routes:
        if not isinstance(route, str) or not ROUTE.fullmatch(route):
            raise InputError(f"{where}.routes: {route!r} is not a path prefix like / or /api/.")
    health = given.get("health")
    if health is not None and (not isinstance(health, str) or not re.fullmatch(rf"/[!-~]*|{OPEN_PORT}", health)):
        raise InputError(f"{where}.health: {health!r} is not a path like /health, nor `{OPEN_PORT}` for an open port.")
    strategy = given.get("strategy", "blue_green")
    if strategy not in STRATEGIES:
        raise InputError(f"{where}.strategy: {strategy!r} is not one of {', '.join(STRATEGIES)}.")
    for key in ("surge", "unavailable"):
        if key in given and strategy != "rolling":
            raise InputError(
                f"{where}.{key}: {given[key]!r} is for `strategy: rolling`, not for {strategy}. Remove it."
            )
    if strategy == "rolling" and worker:
        raise InputError(
            f"{where}.strategy: rolling for a service without `port`, which is a worker that takes no requests. Remove "
            "it: workers of both releases overlap."
        )
    protocol = _parse_protocol(where, given, strategy)
    replicas = parse_number(f"{where}.replicas", given.get("replicas", 1), 1, 50)
    surge = parse_number(f"{where}.surge", given.get("surge", 1), 0, 50)
    # The compose file may say how many there are.
    most = replicas - 1 if "replicas" in given else 49
    unavailable = parse_number(f"{where}.unavailable", given.get("unavailable", 0), 0, most)
    if not surge and not unavailable:
        raise InputError(
            f"{where}.surge: 0 with `unavailable` 0, so that nothing could be replaced. Raise one of them."
        )
    start_timeout = parse_number(f"{where}.start_timeout", given.get("start_timeout", 60), 1, 3600)
    min_uptime = parse_number(f"{where}.min_uptime", given.get("min_uptime", WORKER_UPTIME if worker else 0), 0, 3600)
    if min_uptime > start_timeout:
        raise InputError(
            f"{where}.min_uptime: {min_uptime} is more than `start_timeout` ({start_timeout}), so the service could "
            "never get ready. Raise `start_timeout`."
        )
    return Service(
        name=name,
        port=None if worker else parse_number(f"{where}.port", given["port"], 1, 65535),
        routes=tuple(routes),
        health=health,
        replicas=replicas,
        start_timeout=start_timeout,
        drain_timeout=parse_number(f"{where}.drain_timeout", given.get("drain_timeout", 30), 0, 3600),
        stop_timeout=parse_number(f"{where}.stop_timeout", given.get("stop_timeout", 30), 0, 3600),
        min_uptime=min_uptime,
        strategy=strategy,
        surge=surge,
        unavailable=unavailable,
        protocol=protocol,
        idle_timeout=parse_number(
            f"{where}.idle_timeout", given.get("idle_timeout", Service.idle_timeout), 1, MOST_IDLE
        ),
        serving=parse_serving(where, given, domains),
    )


def _parse_protocol(where: str, given: Mapping[str, Any], strategy: str) -> str:
    protocol = given.get("protocol", HTTP)
    if protocol not in PROTOCOLS:
        raise InputError(f"{where}.protocol: {protocol!r} is not one of {', '.join(PROTOCOLS)}.")
    if protocol == HTTP:
        if "idle_timeout" in given:
            raise InputError(f"{where}.idle_timeout: is for `protocol: tcp`. Remove it.")
        return HTTP
    why = {
        "routes": "whose bytes the gateway passes on unread. Remove the routes: only the app's own network reaches it",
        "health": "which answers no GET. Remove it: the `healthcheck` of the compose file decides, or an open port",
    }
    for key in (key for key in why if given.get(key)):
        raise InputError(f"{where}.{key}: {given[key]!r} for a service with `protocol: tcp`, {why[key]}.")
    if strategy == "canary":
        raise InputError(
            f"{where}.strategy: 'canary' for a service with `protocol: tcp`, which no user meets by himself and whose "
            "answers nobody can judge. Remove `strategy`: it is switched when the canary is promoted."
        )
    return TCP


def _check_ports(services: Sequence[Service]) -> None:
    """The gateway has one address for all services of an app; a request names the one it is for, raw bytes do not."""
    owner: dict[int, Service] = {}
    for service in services:
        if service.port is None:
            continue
        other = owner.setdefault(service.port, service)
        if other is not service and TCP in (service.protocol, other.protocol):
            raise InputError(
                f"services.{service.name}.port: {service.port} is also the port of {other.name}. One port can be "
                "shared by services with `protocol: http` alone, whose requests say which one is meant. Let one of "
                "them listen on another port."
            )


def _closed(service: Service, maintenance: Maintenance, options: Mapping[str, Any]) -> Service:
    """The service with what is said for all of the app, where it says nothing itself."""
    if not service.routes or options.get("maintenance") is not None:
        return service
    return replace(service, serving=replace(service.serving, maintenance=maintenance))


def parse_job(name: str, options: Mapping[str, Any], domains: Collection[str]) -> OneShot:
    """A service that has `job`: it does its work and ends."""
    where = f"services.{name}"
    parse_serving(where, {key: value for key, value in options.items() if value is not None}, domains)
    if options["job"] not in JOB_TIMES:
        raise InputError(f"{where}.job: {options['job']!r} is not one of {', '.join(JOB_TIMES)}.")
    given = {key for key, value in options.items() if value not in (None, [])}
    # The times of a service are defaults of the role, which knows no difference.
    wrong = sorted(given - {"job", "timeout", "start_timeout", "drain_timeout", "stop_timeout"})
    if wrong:
        raise InputError(
            f"{where}.{wrong[0]}: {options[wrong[0]]!r} for a job, which does its work and ends. Remove it, or remove "
            "`job`."
        )
    return OneShot(where, name, parse_number(f"{where}.timeout", options.get("timeout", 600), 1, 86400))


def parse_migrate(options: object, services: Collection[str]) -> list[OneShot]:
    """The commands that change a schema, each as a one-shot."""
    if not options:
        return []
    if not isinstance(options, Mapping):
        raise InputError(f"migrate: {options!r} is not a mapping. Write {{service: api, command: [./migrate, up]}}.")
    given = {key: value for key, value in options.items() if value is not None}
    known = ("service", *MIGRATIONS, "timeout", "recovery_point")
    unknown = sorted(set(map(str, given)) - set(known))
    if unknown:
        raise InputError(f"migrate.{unknown[0]}: there is no such option. Known are {', '.join(known)}.")
    if given.get("service") not in services:
        raise InputError(
            f"migrate.service: {given.get('service')!r} is not one of the services that are released: "
            f"{', '.join(sorted(services))}."
        )
    if "command" not in given:
        raise InputError("migrate.command: missing. Give what migrates the schema, for example [./migrate, up].")
    timeout = parse_number("migrate.timeout", given.get("timeout", 600), 1, 86400)
    point = given.get("recovery_point")
    if point is not None:
        parse_bool("migrate.recovery_point", point)
    shots = []
    for key in MIGRATIONS:
        command = given.get(key)
        if command is None:
            continue
        if not isinstance(command, (list, tuple)) or not command or not all(isinstance(word, str) for word in command):
            raise InputError(f"migrate.{key}: {command!r} is not a list of words like [./migrate, up].")
        if any(SCHEMA_PLACE in word for word in command) and (key != "rollback" or "version" not in given):
            raise InputError(
                f"migrate.{key}: {SCHEMA_PLACE} stands for what `version` said before the migration, and only in "
                "`rollback`. Give `version`, or remove it."
            )
        before = point if key == "command" else False
        shots.append(OneShot(f"migrate.{key}", str(given["service"]), timeout, tuple(command), before))
    return shots


def parse_app(options: Mapping[str, Any]) -> App:
    """The app that the module's options describe, or InputError with the first thing that is wrong."""
    name = parse_app_name(options["app"])
    raw_services = options.get("services") or {}
    if not raw_services:
        raise InputError("services: empty. Name at least one service of the compose file.")
    asked = sorted((str(key), value) for key, value in raw_services.items())
    is_job = {key: isinstance(value, Mapping) and value.get("job") is not None for key, value in asked}
    domains = tuple(dict.fromkeys(str(domain).lower() for domain in options.get("domains") or []))
    for domain in domains:
        if not DOMAIN.fullmatch(domain) or len(domain) > 253:
            raise InputError(f"domains: {domain!r} is not a host name like app.example.com.")
    services = tuple(parse_service(key, value, domains) for key, value in asked if not is_job[key])
    jobs = [parse_job(key, value, domains) for key, value in asked if is_job[key]]
    if not services:
        raise InputError("services: nothing but jobs. Name at least one service that runs on.")
    _check_ports(services)
    closed = parse_closed("maintenance", options.get("maintenance"), domains)
    if closed is not None:
        services = tuple(_closed(service, closed, dict(asked)[service.name]) for service in services)
    jobs += parse_migrate(options.get("migrate"), set(is_job))
    owner: dict[str, str] = {}
    for service in services:
        for route in service.routes:
            if owner.get(route) == service.name:
                raise InputError(f"services.{service.name}.routes: {route} is there twice. Remove one of them.")
            if route in owner:
                raise InputError(
                    f"services: {owner[route]} and {service.name} both claim the route {route}. Give each its own "
                    "prefix."
                )
            owner[route] = service.name
    if domains and not owner:
        raise InputError("services: no service has `routes`, so nothing would answer under the domains of the app.")
    env: dict[str, str] = {}
    for key, value in (options.get("env") or {}).items():
        if not ENV_NAME.fullmatch(str(key)):
            raise InputError(f"env.{key}: not a name of a variable (letters, digits and underscores).")
        env[str(key)] = ("true" if value else "false") if isinstance(value, bool) else str(value)
    secrets: dict[str, str] = {}
    for key, value in (options.get("secrets") or {}).items():
        if not SECRET_NAME.fullmatch(str(key)):
            raise InputError(f"secrets.{key}: not a file name (letters, digits, dots, hyphens, underscores).")
        if isinstance(value, (dict, list)) or value is None or str(value) == "":
            raise InputError(f"secrets.{key}: must be a text that is not empty.")
        secrets[str(key)] = str(value)
    return App(name, domains, services, env, secrets, tuple(jobs))
