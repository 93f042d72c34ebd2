# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: the sites of role caddy, looked through and filled in."""

from __future__ import annotations

DOCUMENTATION = r"""
name: edge_sites
short_description: The sites of role caddy, looked through and filled in
version_added: 0.1.0
author:
  - the daffathan.platform authors (@daffathan)
description:
  - Makes the variables of role P(daffathan.platform.caddy#role) into a list of sites in which every option has its
    value.
  - Made for that role. It may change without notice.
positional: _input
options:
  _input:
    description: The variables of the role by their names without C(caddy_), and C(apps).
    type: dict
    required: true
    suboptions:
      apps:
        description: The apps of the host.
        type: list
        elements: dict
  version:
    description: Version of the Caddy that is to serve them; empty where it is not known yet.
    type: str
    default: ""
"""

EXAMPLES = r"""
edge: "{{ variables | daffathan.platform.edge_sites(version='2.11.4') }}"
"""

RETURN = r"""
_value:
  description:
    - The sites (C(sites)), what is wrong (C(problems)), own certificates by the names of their files (C(certificates),
      secret), the URL of the ACME authority (C(acme_ca)) and the name of the provider of the DNS challenge
      (C(dns_provider)).
  type: dict
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._edge import settings
from ansible_collections.daffathan.platform.plugins.module_utils._edge.sites import parse_edge


def edge_sites(variables: Mapping[str, Any], version: str = "") -> dict[str, Any]:
    edge = parse_edge(variables["apps"], variables["sites"], variables, datetime.now(timezone.utc))
    authority = variables["acme_ca"]
    return {
        "problems": settings.check(variables, version) + edge.problems,
        "sites": [asdict(site) for site in edge.sites],
        "certificates": edge.certificates,
        "acme_ca": settings.AUTHORITIES.get(authority, authority),
        "dns_provider": settings.provider(variables["acme_dns"]),
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"edge_sites": edge_sites}
