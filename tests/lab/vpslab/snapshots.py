# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots: the file system of a VPS as an image, what its nested engine stores as volumes."""

from __future__ import annotations

from dataclasses import dataclass

from vpslab import hosts, shell
from vpslab.config import Lab, LabError
from vpslab.engine import Engine
from vpslab.hosts import VOLUMES, Vps

IMAGE = "snapshot"


@dataclass(frozen=True)
class Snapshot:
    name: str
    suite: str
    image: str


def volume(lab: Lab, snapshot: str, key: str) -> str:
    return f"{lab.container(IMAGE)}-{snapshot}-{key}"


def listed(engine: Engine, lab: Lab) -> list[Snapshot]:
    references = engine.out("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", lab.image(IMAGE)).split()
    found = []
    for reference in sorted(references):
        (entry,) = engine.inspect("image", [reference])
        suite = entry["Config"]["Labels"]["daffathan.lab.suite"]
        found.append(Snapshot(reference.rpartition(":")[2], suite, reference))
    return found


def get(engine: Engine, lab: Lab, name: str) -> Snapshot:
    found = {snapshot.name: snapshot for snapshot in listed(engine, lab)}
    if name not in found:
        have = ", ".join(found) or "none"
        raise LabError(f"snapshot {name!r}: there is none (have: {have}); take it with `lab.py snapshot HOST {name}`")
    return found[name]


def _mountpoint(engine: Engine, name: str) -> str:
    return str(engine.inspect("volume", [name])[0]["Mountpoint"])


def _copy_volume(engine: Engine, source: str, target: str) -> None:
    argv = ["cp", "-a", "--reflink=auto", f"{_mountpoint(engine, source)}/.", _mountpoint(engine, target)]
    shell.run(argv, timeout=1800)


def take(engine: Engine, lab: Lab, vps: Vps, name: str) -> None:
    """Stop the VPS cleanly and keep its state; the caller starts it again."""
    container = lab.container(vps.name)
    with shell.step(f"taking snapshot {name} of {vps.name}"):
        engine.run("stop", container)
        target = f"{lab.image(IMAGE)}:{name}"
        remove(engine, lab, name)
        engine.run("commit", container, target)
        for key in VOLUMES:
            engine.run("volume", "create", "--label", lab.label, volume(lab, name, key))
            _copy_volume(engine, hosts.volume(lab, vps.name, key), volume(lab, name, key))
        hosts.harvest_apt(lab, vps)


def restore_volumes(engine: Engine, lab: Lab, snapshot: Snapshot, host: str) -> None:
    """Fill the fresh volumes of a new VPS with those of the snapshot."""
    with shell.step(f"copying the volumes of snapshot {snapshot.name} to {host}"):
        for key in VOLUMES:
            _copy_volume(engine, volume(lab, snapshot.name, key), hosts.volume(lab, host, key))


def remove(engine: Engine, lab: Lab, name: str) -> None:
    """Forget a snapshot, if there is one; VPSes that were made from it live on."""
    engine.run("rmi", f"{lab.image(IMAGE)}:{name}", check=False)
    names = [volume(lab, name, key) for key in VOLUMES]
    engine.run("volume", "rm", "--force", *names, check=False)
