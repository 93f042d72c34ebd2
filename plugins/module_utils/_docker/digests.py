# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the references of images stand for: content that their names may not stand for tomorrow."""

from __future__ import annotations

from ansible_collections.daffathan.platform.plugins.module_utils._docker.engine import Engine, EngineError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import compose as model_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.parts import Parts
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State


def digests(engine: Engine, parts: Parts, state: State, warnings: list[str]) -> dict[str, str]:
    """The content each reference of an image stands for now."""
    kept = dict(state.base_references or {})
    swapped = {parts.images[name] for name in parts.swapped}
    found: dict[str, str] = {}
    for reference in sorted(set(parts.images.values())):
        if "@" in reference:
            found[reference] = reference.split("@", 1)[1]
        elif reference in kept and reference not in swapped:
            # A database is not restarted because its tag moved: that takes a change of the compose file.
            found[reference] = kept[reference]
        else:
            found[reference] = _digest(engine, reference, state, warnings)
    return found


def _digest(engine: Engine, reference: str, state: State, warnings: list[str]) -> str:
    try:
        return engine.registry_digest(reference)
    except EngineError as error:
        image = engine.local_image(reference)
        if image is None:
            used = _used(engine, reference, state)
            if used is not None:
                warnings.append(
                    f"image {reference}: its registry did not answer ({error}); what a release of this host was "
                    "made of under that name is used."
                )
                return used
            raise RolloutError(
                f"image {reference}: the registry does not have it, or does not answer ({error}). Check its name "
                "and tag, that it was pushed, that the registry is reachable from this host, and `docker login` "
                "for a private one."
            ) from error
        repository = model_of.repository(reference)
        known = [text.split("@", 1) for text in image.attrs.get("RepoDigests") or []]
        digest = next(
            (d for name, d in known if repository in (name, f"docker.io/{name}", f"docker.io/library/{name}")), None
        )
        warnings.append(f"image {reference}: its registry did not answer ({error}); the copy on this host is used.")
        return digest or f"{model_of.LOCAL_IMAGE}{image.id}"


def _used(engine: Engine, reference: str, state: State) -> str | None:
    """What the reference stood for in the latest release that has it, where that is still here."""
    for release in state.kept:
        for image, digest in release.images.values():
            if image == reference and engine.local_image(model_of.pinned_reference(image, digest)) is not None:
                return digest
    return None
