# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What of a compose file cannot be, because of the platform or because two releases run side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.compose import published_beyond_loopback
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, InputError

Model = dict[str, Any]

# Of the place of a service in a network: what only one container can have, or what the gateway does not answer for.
ENDPOINT_KEYS = ("aliases", "ipv4_address", "ipv6_address", "link_local_ips", "mac_address")


def check_model(model: Model, app: App, swapped: Collection[str]) -> None:
    """Raise InputError with the first thing that is wrong."""
    published = published_beyond_loopback(model)
    if published:
        raise InputError(f"compose file: {published[0].evidence} {published[0].remediation}")
    services: dict[str, Model] = model.get("services") or {}
    _check_networks(model)
    for name, service in sorted(services.items()):
        _check_image(name, service)
        _check_network_mode(name, service, swapped)
        _check_ties(name, service, services, swapped)
        if name in swapped:
            _check_swapped(name, service)
    _check_secrets(model, app)
    _check_jobs(services, app)
    _check_health(services, app)


def _check_networks(model: Model) -> None:
    for key, network in sorted((model.get("networks") or {}).items()):
        if (network or {}).get("driver") == "host" or (network or {}).get("name") == "host":
            raise InputError(
                f"compose file: network {key} is the host's own, which puts ports past the firewall and the gateway. "
                "Remove it."
            )


def _check_image(name: str, service: Model) -> None:
    if service.get("image"):
        return
    if service.get("provider"):
        raise InputError(
            f"compose file: service {name} has a `provider` instead of a container, which runs on a developer's "
            "machine. Remove the service, or give it a profile that is not used here."
        )
    raise InputError(
        f"compose file: service {name} has no `image`. Build and push the image beforehand and name it: a server does "
        "not build. A service for development belongs to a profile that is not used here."
    )


def _check_network_mode(name: str, service: Model, swapped: Collection[str]) -> None:
    mode = str(service.get("network_mode") or "")
    if mode == "host":
        raise InputError(
            f"compose file: service {name} has network_mode: host, which puts its ports past the firewall and the "
            "gateway. Remove network_mode."
        )
    kind, dummy, other = mode.partition(":")
    if mode and (name in swapped or kind == "container" or (kind == "service" and other in swapped)):
        raise InputError(
            f"compose file: service {name} has network_mode: {mode}. Remove it: the platform makes the network."
        )


def _check_ties(name: str, service: Model, services: Collection[str], swapped: Collection[str]) -> None:
    """What ties one container to another: that must not be one of a release."""
    for key, other, text in _ties(service):
        if other not in services:
            continue
        if name in swapped or other in swapped:
            raise InputError(
                f"compose file: service {name} has {key}: {text}, which ties it to a container of another service. One "
                "of them is swapped, with its container. Remove it, for example by a named volume or a network."
            )
    for link in service.get("links") or []:
        other, dummy, alias = str(link).partition(":")
        if alias and alias != other and (name in swapped or other in swapped):
            raise InputError(
                f"compose file: service {name} has links: {link}. Where one of them is swapped, a link gives no other "
                f"name. Let {name} use the name {other}, and remove the link."
            )


def _ties(service: Model) -> Iterator[tuple[str, str, str]]:
    """The key, the other service, and how it is written."""
    for key in ("pid", "ipc"):
        kind, dummy, other = str(service.get(key) or "").partition(":")
        if kind == "service":
            yield key, other, service[key]
    for reference in service.get("volumes_from") or []:
        other = str(reference).partition(":")[0]
        if other != "container":
            yield "volumes_from", other, reference


def _check_swapped(name: str, service: Model) -> None:
    """What only one container at a time can have."""
    where = f"compose file: service {name} has"
    if service.get("container_name"):
        raise InputError(
            f"{where} container_name: {service['container_name']}, which only one container can have, and two releases "
            f"run side by side. Remove it: other containers reach the service as {name}."
        )
    if service.get("mac_address"):
        raise InputError(
            f"{where} mac_address: {service['mac_address']}, which only one container can have, and two releases run "
            "side by side. Remove it."
        )
    for network, endpoint in sorted((service.get("networks") or {}).items()):
        for key in ENDPOINT_KEYS:
            if (endpoint or {}).get(key):
                raise InputError(
                    f"{where} networks.{network}.{key}: {endpoint[key]}. The platform gives a swapped service its "
                    f"address, and {name} as its only name. Remove it, and let callers use {name}."
                )
    if service.get("models"):
        raise InputError(f"{where} models, which the platform does not start. Run the model as a service.")


def _check_secrets(model: Model, app: App) -> None:
    secrets = model.get("secrets") or {}
    used = {secret["source"] for service in model["services"].values() for secret in service.get("secrets") or []}
    for name in sorted(used - set(app.secrets)):
        secret = secrets.get(name) or {}
        if secret.get("file"):
            raise InputError(
                f"secrets.{name}: missing. The compose file has a secret of this name; give its value in `secrets`, "
                "from a vault."
            )
        kind = "external" if secret.get("external") else "environment" if "environment" in secret else "content"
        raise InputError(
            f"secrets.{name}: missing. The compose file takes it from `{kind}`; give its value in `secrets` instead."
        )
    unused = sorted(set(app.secrets) - used)
    if unused:
        raise InputError(
            f"secrets.{unused[0]}: no service of the compose file uses a top-level secret of this name. "
            "Add it there, or remove it here."
        )


def _check_jobs(services: Model, app: App) -> None:
    for job in app.jobs:
        service = services[job.service]
        if job.command is None and not service.get("command") and not service.get("entrypoint"):
            raise InputError(
                f"{job.name}.job: the compose file has no `command` for service {job.service}, so that what its image "
                "starts by itself would have to end. Add the command of the job there."
            )


def _check_health(services: Model, app: App) -> None:
    """What users meet has to be able to say that it is ready: an open port alone says little."""
    for service in app.services:
        if service.routes and service.health is None and not has_healthcheck(services[service.name]):
            raise InputError(
                f"services.{service.name}.health: missing, and the compose file has no `healthcheck` for the service, "
                "so that users would meet it as soon as its port is open. Give a path that answers 2xx when it is "
                "ready, like /health, or `health: port` where an open port is enough."
            )


def has_healthcheck(service: Model) -> bool:
    check = service.get("healthcheck") or {}
    test = check.get("test") or []
    return bool(test) and not check.get("disable") and list(test) != ["NONE"]
