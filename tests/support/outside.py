# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests to the sites of a VPS from the neighbour host, over TLS that is verified against Caddy's own authority."""

from __future__ import annotations

from tests.support.lab import Host, attacker
from tests.support.load import ROOT_CERTIFICATE


def trust(vps: Host) -> str:
    """Bring the authority's root certificate to the neighbour host; its path there."""
    path = f"/root/{vps.name}.crt"
    certificate = vps.run("cat", ROOT_CERTIFICATE)
    attacker("python3", "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])", path, certificate)
    return path


def curl(vps: Host, authority: str, site: str, path: str, *arguments: str, scheme: str = "https") -> str:
    """What curl prints. :raises LabError: no answer, or an error."""
    return answer(vps, authority, site, path, "--fail", *arguments, scheme=scheme)


def answer(vps: Host, authority: str, site: str, path: str, *arguments: str, scheme: str = "https") -> str:
    """The same whatever the status of the answer is."""
    port = "443" if scheme == "https" else "80"
    return attacker(
        *("curl", "--silent", "--show-error", "--max-time", "30", "--cacert", authority),
        *("--resolve", f"{site}:{port}:{vps.address}", *arguments, f"{scheme}://{site}{path}"),
    )
