# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The names of the swapped services, by which the containers of an app reach the gateway.

A container brings the names along as links, which Docker's DNS knows for that container alone. So a name can come with
a release: the gateway's own names in the network can be changed only by detaching it, with every connection through it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import GATEWAY, canonical_hash

Model = dict[str, Any]
_KEY = "external_links"
_MINE = f"{GATEWAY}:"


def add_links(service: Model, names: Collection[str]) -> None:
    """Let a service that is in the private network call these names. A link of the team's own to a name stays."""
    own = list(service.get(_KEY) or [])
    links = [*own, *(f"{_MINE}{name}" for name in sorted(set(names) - _linked(service)))]
    if links:
        service[_KEY] = links


def keep_links(services: Mapping[str, Model], before: Mapping[str, Model]) -> None:
    """Leave a service that is otherwise as before the links it had: other ones would take a new container."""
    for name, service in services.items():
        old = before.get(name)
        if old is None or canonical_hash(_others(old)) != canonical_hash(_others(service)):
            continue
        # A name that is one of the base now leads to the gateway no more.
        if _linked(old) & set(services):
            continue
        service.pop(_KEY, None)
        if _KEY in old:
            service[_KEY] = old[_KEY]


def _linked(service: Model) -> set[str]:
    """The names that the links of a service give."""
    return {str(link).rpartition(":")[2] for link in service.get(_KEY) or []}


def _others(service: Model) -> Model:
    """A service without the links of the platform."""
    own = [link for link in service.get(_KEY) or [] if not str(link).startswith(_MINE)]
    return {**{key: value for key, value in service.items() if key != _KEY}, **({_KEY: own} if own else {})}


def unknown_names(services: Mapping[str, Model], names: Collection[str], carried: Collection[str] | None) -> list[str]:
    """What to say of names that services of the base mention, and that their containers cannot know.

    :param carried: the names that every container of the network knows; None where they are still to be given
    """
    if carried is None:
        return []
    said = []
    for key, service in sorted(services.items()):
        text = json.dumps(_others(service))
        missing = [
            name
            for name in sorted(set(names) - set(carried) - _linked(service))
            if re.search(rf"(?<![\w.-]){name}(?![\w-])", text)
        ]
        if missing and "private" in (service.get("networks") or {}):
            said.append(
                f"base service {key} mentions {', '.join(missing)}, and its container was made before there was a "
                f"service of this name, so it cannot call it. Any change of {key} in the compose file, as of "
                "a label, makes a new container, which can."
            )
    return said
