# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Load on a site of the platform, by default the demo's: HTTPS, and all that a user's request passes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.load.background import Load
from tests.support.lab import Host

SITE = "labs.example.test"
ROOT_CERTIFICATE = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"


@contextmanager
def site_load(
    host: Host,
    *,
    site: str = SITE,
    rate: float = 200,
    seconds: float = 900,
    websockets: int = 1,
    samples: Path | None = None,
) -> Iterator[Load]:
    """Open-loop load for as long as the block runs, a quarter over HTTP/2; `seconds` bounds a block that never ends.

    A request may leave late by up to a second: on a small machine the generator has Ansible and the VPS beside it.
    """
    with tempfile.TemporaryDirectory() as directory:
        authority = Path(directory, "root.crt")
        authority.write_text(host.run("cat", ROOT_CERTIFICATE))
        with Load(
            f"https://{site}",
            address=host.address,
            ca=authority,
            rate=rate,
            seconds=seconds,
            prefixes=("/api",),
            http2=0.25,
            websockets=websockets,
            samples=samples,
            lag_limit=1.0,
            timeout=20,
        ) as load:
            yield load
