# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The parts of a compose file become a base project and the project of a release."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import configs, selection
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    LABEL,
    App,
    Release,
    canonical_hash,
    project_name,
    secret_fingerprint,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.names import add_links, keep_links
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parts import Model, Parts

# A digest that begins so is the id of an image that came from no registry.
LOCAL_IMAGE = "image:"
# What a project that is made of a compose file does not need: it was built, chosen and pinned by then.
SETTLED_KEYS = ("build", "develop", "profiles", "pull_policy")
# What belongs to a single container or to the team's laptop, and is decided by the platform in a release.
DROPPED_KEYS = (*SETTLED_KEYS, "ports", "depends_on", "deploy", "scale", "links", "networks")


@dataclass(frozen=True)
class SecretFile:
    """A secret as one service needs it. The owner of the file depends on the user of that service."""

    service: str
    name: str
    # What the compose file asks for, which Compose itself does not apply to files.
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None

    def access(self, uid: int, gid: int) -> tuple[int, int, int]:
        """Owner, group and mode of the file, for a container that starts as uid:gid.

        One that starts as root may give its privileges up before it reads the secret (database images do), so there
        the file is readable to everybody inside, as Docker's own secrets are. On the host the directory above it is
        root's alone.
        """
        owner, group = uid if self.uid is None else self.uid, gid if self.gid is None else self.gid
        if self.mode is not None:
            return owner, group, self.mode
        return owner, group, 0o400 if owner != 0 else 0o444

    @property
    def path(self) -> str:
        return f"{self.service}/{self.name}"


@dataclass(frozen=True)
class Volume:
    """A named volume that a release uses: it has to exist before."""

    key: str
    name: str
    driver: str
    options: Mapping[str, str]


def secret_files(services: Mapping[str, Model]) -> list[SecretFile]:
    found = []
    for name, service in sorted(services.items()):
        for secret in service.get("secrets") or []:
            # Compose prints a mode as a number or, in later versions, as octal digits.
            mode = secret.get("mode")
            found.append(
                SecretFile(
                    service=name,
                    name=secret["source"],
                    uid=int(secret["uid"]) if secret.get("uid") else None,
                    gid=int(secret["gid"]) if secret.get("gid") else None,
                    mode=int(mode, 8) if isinstance(mode, str) else mode,
                )
            )
    return list(dict.fromkeys(found))


def _with_secrets(name: str, service: Model, directory: str, top: Model) -> None:
    """Point the secrets of one service at its own files."""
    rewritten = []
    for secret in service.get("secrets") or []:
        source = secret["source"]
        key = f"{name}.{source}"
        top[key] = {"name": key, "file": f"{directory}/{SecretFile(name, source).path}"}
        rewritten.append({**secret, "source": key, "target": secret.get("target") or source})
    if rewritten:
        service["secrets"] = rewritten


def _used(services: Mapping[str, Model], section: str, model: Model) -> Model:
    """Entries of a top-level section that these services use."""
    names: set[str] = set()
    for service in services.values():
        for item in service.get(section) or []:
            if section == "volumes":
                if item.get("type") == "volume" and item.get("source"):
                    names.add(item["source"])
            elif section == "networks":
                names.add(item)
            else:
                names.add(item["source"])
    return {name: value for name, value in (model.get(section) or {}).items() if name in names}


def _networks(service: Model, model: Model) -> set[str]:
    """The networks of a service that stay beside the private one, which takes the place of the default one."""
    default = (model.get("networks") or {}).get("default") or {}
    return set(service.get("networks") or {}) - (set() if default.get("external") else {"default"})


def _resources(service: Model) -> Model:
    """The part of `deploy` that a single container has."""
    return copy.deepcopy((service.get("deploy") or {}).get("resources") or {})


def base_model(
    app: App, parts: Parts, pinned: Mapping[str, str], files: str, key: bytes, before: Model | None = None
) -> Model | None:
    """The project of the services that are never swapped, or None where there are none.

    :param files: the directory of the files of secrets and configs
    :param before: the project as it was applied last
    """
    if not parts.base:
        return None
    services: Model = {}
    secrets: Model = {}
    for name, original in sorted(parts.base.items()):
        service = {k: copy.deepcopy(v) for k, v in original.items() if k not in SETTLED_KEYS}
        service["image"] = pinned[name]
        if isinstance(service.get("depends_on"), dict):
            service["depends_on"] = {k: v for k, v in service["depends_on"].items() if k in parts.base}
        if service.get("links"):
            # The gateway answers to the name of a swapped service.
            service["links"] = [link for link in service["links"] if str(link).partition(":")[0] in parts.base]
        if not service.get("network_mode"):
            networks = dict(service.get("networks") or {})
            others = {k: networks.pop(k) for k in sorted(_networks(service, parts.model))}
            service["networks"] = {**others, "private": networks.pop("default", None)}
            add_links(service, app.served)
        _with_secrets(name, service, f"{files}/secrets", secrets)
        labels = {f"{LABEL}.app": app.name, f"{LABEL}.service": name, f"{LABEL}.base": "true"}
        mine = secret_files({name: original})
        if mine:
            # A container keeps the file it was started with, so a changed secret has to change the service.
            fingerprints = [[repr(file), secret_fingerprint(key, file.name, app.secrets[file.name])] for file in mine]
            labels[f"{LABEL}.secrets"] = canonical_hash(fingerprints)[:16]
        held = configs.fingerprints([original], parts.configs)
        if held:
            # Compose looks at the service alone when it decides whether to make its container anew.
            labels[f"{LABEL}.configs"] = canonical_hash(held)[:16]
        service["labels"] = {**(service.get("labels") or {}), **labels}
        services[name] = service
    keep_links(services, (before or {}).get("services") or {})
    stay: set[str] = set().union(*(_networks(service, parts.model) for service in parts.base.values()))
    networks = {k: v for k, v in _used(parts.base, "networks", parts.model).items() if k in stay}
    return _document(
        app.name,
        services,
        networks={**networks, "private": {"name": app.network, "external": True}},
        volumes=_used(parts.base, "volumes", parts.model),
        configs=configs.with_files(parts.base.values(), parts.configs, files),
        secrets=secrets,
    )


def release_hash(app: App, parts: Parts, pinned: Mapping[str, str], key: bytes) -> str:
    """Changes when, and only when, the containers of a release would."""
    content: Model = {}
    for name, original in parts.swapped.items():
        service = {k: v for k, v in original.items() if k not in DROPPED_KEYS}
        mine = {file.name for file in secret_files({name: original})}
        content[name] = {
            "service": dict(service, image=pinned[name]),
            "resources": _resources(original),
            "networks": sorted(_networks(original, parts.model)),
            "secrets": {secret: secret_fingerprint(key, secret, app.secrets[secret]) for secret in sorted(mine)},
        }
        for runs in (service for service in app.services if service.name == name):
            content[name].update(port=runs.port, replicas=runs.replicas)
    return canonical_hash(
        {
            "services": content,
            **({"jobs": {job.name: [job.service, job.command] for job in app.jobs}} if app.jobs else {}),
            "volumes": _used(parts.swapped, "volumes", parts.model),
            "configs": configs.fingerprints(parts.swapped.values(), parts.configs),
        }
    )


def reserved_memory(app: App, parts: Parts) -> int:
    """Bytes that the containers of a release reserve while those of the one before still run."""
    total = 0
    for service in app.services:
        reserved = (_resources(parts.swapped[service.name]).get("reservations") or {}).get("memory") or 0
        beside = {"stop_first": 0, "rolling": min(service.surge, service.replicas)}
        total += int(reserved) * beside.get(service.strategy, service.replicas)
    return total


def release_volumes(parts: Parts) -> list[Volume]:
    """Named volumes that have to exist before a release starts."""
    return [
        Volume(key, value.get("name") or key, value.get("driver") or "local", value.get("driver_opts") or {})
        for key, value in sorted(_used(parts.swapped, "volumes", parts.model).items())
        if not value.get("external")
    ]


def release_model(app: App, parts: Parts, release: Release, directory: str) -> Model:
    """The project of a release. A replica is a service of its own: each has an address that outlives a reboot."""
    services: Model = {}
    secrets: Model = {}
    project = project_name(app.name, release.id)
    outside = {key for key, value in (parts.model.get("networks") or {}).items() if (value or {}).get("external")}
    # Networks that swapped services alone have among them are of no use beside the private one.
    shared = set(_used(parts.base, "networks", parts.model)) | outside
    # Of the release, not of the app: what a rollback starts again has what it was made with.
    served = selection.served_part(release).services

    def container(name: str, known_as: str, endpoint: Model | None) -> Model:
        original = parts.swapped[name]
        service = {k: copy.deepcopy(v) for k, v in original.items() if k not in DROPPED_KEYS}
        _with_secrets(name, service, f"{directory}/secrets", secrets)
        add_links(service, served)
        limits = _resources(original)
        if limits:
            service["deploy"] = {"resources": limits}
        return {
            **service,
            "image": pinned_reference(*release.images[name]),
            "container_name": f"{project}-{known_as}",
            # Until it has proved itself nothing must bring it back.
            "restart": "no",
            "networks": {
                "private": endpoint,
                **{k: None for k in sorted(_networks(original, parts.model) & shared)},
            },
            "labels": {
                **(original.get("labels") or {}),
                f"{LABEL}.app": app.name,
                f"{LABEL}.release": release.id,
                f"{LABEL}.colour": release.colour,
                f"{LABEL}.service": name,
                f"{LABEL}.hash": release.hash,
            },
        }

    for name, released in release.services.items():
        for index, address in enumerate(released.addresses, start=1):
            # Compose makes the name of a service an alias on the network: it must not be one that two releases share.
            prefix = name if index == 1 else f"{name}-{index}"
            services[f"{prefix}.{release.id}"] = container(name, f"{name}-{index}", {"ipv4_address": address})
    for key, job in release.jobs.items():
        service = container(job.service, key, None)
        service["labels"][f"{LABEL}.job"] = key
        # Its health is its exit status.
        service.pop("healthcheck", None)
        if job.command is not None:
            # Compose would take a dollar for a variable.
            service["command"] = [word.replace("$", "$$") for word in job.command]
        services[job_service(key, release)] = service
    external = {
        key: {"name": value.get("name") or f"{app.name}_{key}", "external": True}
        for key, value in (parts.model.get("networks") or {}).items()
        if key in shared and any(key in _networks(service, parts.model) for service in parts.swapped.values())
    }
    volumes = {
        key: {"name": value.get("name") or key, "external": True}
        for key, value in _used(parts.swapped, "volumes", parts.model).items()
    }
    return _document(
        project,
        services,
        networks={**external, "private": {"name": app.network, "external": True}},
        volumes=volumes,
        configs=configs.with_files(parts.swapped.values(), parts.configs, directory),
        secrets=secrets,
    )


def services_of(document: Model, part: Release) -> list[str]:
    """The names in the project of a release of the services that a part of it is."""
    return [
        name
        for name, service in sorted(document["services"].items())
        if (service["networks"]["private"] or {}).get("ipv4_address") in part.addresses
    ]


def job_service(job: str, release: Release) -> str:
    """The name of a one-shot in the project of its release."""
    return f"{job}.{release.id}"


def _document(name: str, services: Model, **sections: Model) -> Model:
    return {"name": name, "services": services, **{key: value for key, value in sections.items() if value}}


def repository(reference: str) -> str:
    """The name of an image without tag and digest."""
    name = reference.split("@", 1)[0]
    head, slash, tail = name.rpartition("/")
    return f"{head}{slash}{tail.split(':', 1)[0]}"


def pinned_reference(reference: str, digest: str) -> str:
    """A reference that names exactly one content: by digest, or by id where the image came from no registry."""
    if digest.startswith(LOCAL_IMAGE):
        return digest[len(LOCAL_IMAGE) :]
    return f"{repository(reference)}@{digest}"


def pin_all(images: Mapping[str, str], digests: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Pinned reference per service."""
    return {name: pinned_reference(images[name], digests[images[name]]) for name in names}
