# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The services beside the VPSes: the registry with its images, and the attacker."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor

from vpslab import images, shell, tls
from vpslab.config import ATTACKER, REGISTRY, REGISTRY_NAME, REGISTRY_PORT, SERVICES, Lab, LabError
from vpslab.engine import Engine

STORAGE = "registry-data"
# Tells a new volume from the one that the images were pushed to.
STORAGE_ID = "daffathan.lab.storage"


def service_argv(lab: Lab, service: str, image: str, options: list[str]) -> list[str]:
    """Arguments of `docker` that run a service."""
    address = lab.address(SERVICES[service])
    argv = ["run", "--detach", "--name", lab.container(service), "--hostname", service, "--label", lab.label]
    argv += ["--network", lab.name, "--ip", address.v4, "--ip6", address.v6]
    return [*argv, *options, image]


def registry_options(lab: Lab) -> list[str]:
    # The engine pushes through loopback, where it accepts any certificate: this machine need not trust the lab.
    options = ["--publish", f"127.0.0.1::{REGISTRY_PORT}", "--network-alias", REGISTRY_NAME]
    options += ["--volume", f"{lab.container(STORAGE)}:/var/lib/registry"]
    return [*options, "--volume", f"{lab.ca}/registry:/tls:ro"]


def attacker_options(lab: Lab) -> list[str]:
    options = ["--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW"]
    return [*options, "--add-host", f"{REGISTRY_NAME}:{lab.address(SERVICES[REGISTRY]).v4}"]


def _ensure_service(engine: Engine, lab: Lab, service: str, image: str, options: list[str]) -> None:
    """Run a service from the current image; replace one that runs from an older."""
    found = engine.inspect("container", [lab.container(service)])
    if found and found[0]["Image"] == engine.image_id(image):
        if not found[0]["State"]["Running"]:
            engine.run("start", lab.container(service))
        return
    if found:
        engine.run("rm", "--force", lab.container(service))
    shell.say(f"starting {service} at {lab.address(SERVICES[service]).v4}")
    engine.run(*service_argv(lab, service, image, options))


def _push_address(engine: Engine, lab: Lab) -> str:
    published = engine.out("port", lab.container(REGISTRY), f"{REGISTRY_PORT}/tcp").splitlines()
    for line in published:
        if line.startswith("127.0.0.1:"):
            return line
    raise LabError("the registry's port is not published on loopback; remove it with `lab.py down --all` and try again")


def push_all(engine: Engine, lab: Lab, wanted: dict[str, str]) -> None:
    """Push what the registry does not have yet: {<name>:<tag>: local reference}."""
    record = lab.run / "pushed.json"
    volume = engine.inspect("volume", [lab.container(STORAGE)])[0]["Labels"][STORAGE_ID]
    try:
        known = json.loads(record.read_text())
    except (OSError, ValueError):
        known = {}
    pushed = dict(known.get("images", {})) if known.get("volume") == volume else {}
    identities = {name: engine.image_id(reference) for name, reference in wanted.items()}
    missing = [name for name in wanted if pushed.get(name) != identities[name]]
    if not missing:
        return
    address = _push_address(engine, lab)
    with shell.step(f"pushing {len(missing)} image(s) to {REGISTRY_NAME}"):
        for name in missing:
            target = f"{address}/{name}"
            engine.run("tag", wanted[name], target)
            engine.run("push", target)
            engine.run("rmi", target)
            pushed[name] = identities[name]
            record.write_text(json.dumps({"volume": volume, "images": pushed}, indent=1))


def build_images(engine: Engine, lab: Lab) -> tuple[str, str, dict[str, str]]:
    """Images of the registry and the attacker, and what the registry is to hold."""
    images.base(engine, lab, "trixie")
    with ThreadPoolExecutor(max_workers=2) as pool:
        registry = pool.submit(images.simple, engine, lab, "registry")
        attacker = pool.submit(images.simple, engine, lab, "attacker")
        nginx = pool.submit(images.nginx, engine, lab)
        postgres = pool.submit(images.postgres, engine, lab)
        sample = pool.submit(images.sample, engine, lab)
        caddy = pool.submit(images.caddy_package, engine, lab)
        wanted = {"nginx:1.30": nginx.result(), "postgres:17": postgres.result()}
        wanted.update({f"daffathan/{name}": reference for name, reference in sample.result().items()})
        caddy.result()
        return registry.result(), attacker.result(), wanted


def ensure(engine: Engine, lab: Lab) -> None:
    registry, attacker, wanted = build_images(engine, lab)
    tls.registry_directory(lab)
    if not engine.inspect("volume", [lab.container(STORAGE)]):
        identity = f"{STORAGE_ID}={uuid.uuid4()}"
        engine.run("volume", "create", "--label", lab.label, "--label", identity, lab.container(STORAGE))
    _ensure_service(engine, lab, REGISTRY, registry, registry_options(lab))
    _ensure_service(engine, lab, ATTACKER, attacker, attacker_options(lab))
    push_all(engine, lab, wanted)


def remove(engine: Engine, lab: Lab) -> None:
    for service in SERVICES:
        engine.run("rm", "--force", lab.container(service), check=False)
