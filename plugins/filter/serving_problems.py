# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: what is wrong with how apps are to be served."""

from __future__ import annotations

DOCUMENTATION = r"""
name: serving_problems
short_description: What is wrong with how apps are to be served
version_added: 0.1.0
author:
  - the daffathan.platform authors (@daffathan)
description:
  - Looks through the options by which the gateway serves requests, as M(daffathan.platform.compose_rollout) would on
    the host.
  - Made for role P(daffathan.platform.app#role). It may change without notice.
positional: _input
options:
  _input:
    description: The apps, as in C(apps) of that role.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
problems: "{{ apps | daffathan.platform.serving_problems }}"
"""

RETURN = r"""
_value:
  description: A sentence for each app or service with a mistake, with the first one.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving_options import problems


def serving_problems(apps: Sequence[Mapping[str, Any]]) -> list[str]:
    return problems(apps)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"serving_problems": serving_problems}
