# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Apps of every kind, and releases of them."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    MIGRATE,
    TCP,
    App,
    Job,
    OneShot,
    Release,
    ReleasedService,
    Service,
)

APP = App("labs", ("labs.example.test",), (Service("api", 3001, ("/",), "/health"),))
# The same with work that takes no requests: one kind may run twice for a while, the other must not.
WORKERS = App("labs", APP.domains, (*APP.services, Service("mailer"), Service("billing", strategy="stop_first")))
# And with a service that takes connections of another kind than HTTP.
STREAMS = App("labs", APP.domains, (*APP.services, Service("broker", 1883, protocol=TCP)))
# And with work that is done once: a job of its own, and a migration of the service api.
JOBS = App(
    "labs",
    APP.domains,
    APP.services,
    jobs=(
        OneShot("services.seed", "seed"),
        *(
            OneShot(name, "api", command=(name,))
            for name in ("migrate.command", "migrate.rollback", "migrate.after", "migrate.version")
        ),
    ),
)
# The same with a recovery point before the migration.
POINTS = replace(JOBS, jobs=tuple(replace(job, recovery_point=job.name == MIGRATE) for job in JOBS.jobs))
# Three containers that are replaced one by one, beside a service that is replaced as a whole.
ROLLING = App(
    "labs",
    APP.domains,
    (
        Service("api", 3001, ("/",), "/health", replicas=3, strategy="rolling"),
        Service("web", 3000, ("/web/",), "/health"),
    ),
)
# One whose users may be shared out between two releases, for two of its services.
CANARIES = App(
    "labs",
    APP.domains,
    (
        Service("api", 3001, ("/api/",), "/health", strategy="canary"),
        Service("web", 3000, ("/",), "/health"),
        Service("mailer"),
        Service("billing", strategy="stop_first"),
    ),
)


def release(number: int, *, ill: str | None = None, app: App = APP) -> Release:
    """A release of the app; its service `ill` never gets ready."""
    services = {
        service.name: ReleasedService(
            f"registry/{service.name}:1",
            "sha256:" + ("ill" if service.name == ill else "good"),
            service.port,
            tuple(f"10.9.0.{128 + 10 * (index + 3 * replica) + number}" for replica in range(service.replicas)),
            service.health,
            strategy=service.strategy,
            surge=service.surge,
            unavailable=service.unavailable,
            protocol=service.protocol,
        )
        for index, service in enumerate(app.services)
    }
    jobs = {
        job.name: Job(
            job.service,
            "registry/job:1",
            f"sha256:{'ill' if job.name == ill else 'good'}",
            9,
            job.command,
            recovery_point=bool(job.recovery_point),
        )
        for job in app.jobs
    }
    colour = "blue" if number % 2 else "green"
    name = f"r20260101t0000{number:02}-{number:08x}"
    return Release(name, f"hash{number}", colour, "2026-01-01", services, jobs)


def workers(number: int, **options: str) -> Release:
    return release(number, app=WORKERS, **options)


def jobs(number: int, **options: str) -> Release:
    return release(number, app=JOBS, **options)


def rolling(number: int, **options: str) -> Release:
    return release(number, app=ROLLING, **options)


def streams(number: int, **options: str) -> Release:
    return release(number, app=STREAMS, **options)


def canaries(number: int, **options: str) -> Release:
    return release(number, app=CANARIES, **options)
