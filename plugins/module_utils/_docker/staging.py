# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The files that the containers of an app are made from: Compose documents, secrets and configs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._common.files import read_text, write_atomic
from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import Engine
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import compose as model_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, Release
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parts import Parts

# What `docker compose` is given of a release.
DOCUMENT = "compose.json"


@dataclass(frozen=True)
class Work:
    """What a run with `state: present` brings: the app, its compose model and what its images are."""

    app: App
    parts: Parts
    base_images: Mapping[str, str]


def stage(engine: Engine, work: Work, release: Release, directory: str) -> None:
    """The files of a release; the one that its containers are started from is the last."""
    os.makedirs(f"{directory}/secrets", mode=0o700, exist_ok=True)
    images = {name: model_of.pinned_reference(*image) for name, image in release.images.items()}
    write_secrets(engine, work, work.parts.swapped, images, f"{directory}/secrets")
    document = model_of.release_model(work.app, work.parts, release, directory)
    write_configs(document, work.parts.configs)
    write_atomic(f"{directory}/meta.json", json.dumps(release.to_json(), indent=1), mode=0o600)
    write_atomic(f"{directory}/{DOCUMENT}", json.dumps(document, indent=1), mode=0o600)


def write_secrets(
    engine: Engine, work: Work, services: Mapping[str, model_of.Model], images: Mapping[str, str], directory: str
) -> None:
    for secret in model_of.secret_files(services):
        folder = f"{directory}/{secret.service}"
        os.makedirs(folder, mode=0o700, exist_ok=True)
        uid, gid = engine.image_uid(images[secret.service], services[secret.service].get("user"), work.app.name)
        path, value = f"{directory}/{secret.path}", work.app.secrets[secret.name]
        owner, group, mode = secret.access(uid, gid)
        if read_text(path) != value or os.stat(path).st_mode & 0o777 != mode or os.stat(path).st_uid != owner:
            write_atomic(path, value, mode=mode, uid=owner, gid=group)


def write_configs(document: model_of.Model, contents: Mapping[str, bytes]) -> None:
    for name, config in (document.get("configs") or {}).items():
        os.makedirs(os.path.dirname(config["file"]), mode=0o700, exist_ok=True)
        # Any user of a container may have to read it, or to run it. On the host the directory is root's alone.
        write_atomic(config["file"], contents[name], mode=0o555)
