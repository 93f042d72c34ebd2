# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate from a real ACME authority: issued, and renewed while the site is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.namespaces import apart
from tests.unit.roles.caddy.acme import ADDRESSES, PROJECT

# Ports and names of its own: neither is taken, nor seen, by anybody else on this machine.
INSIDE = 'ip link set lo up && mount --bind "$1/hosts" /etc/hosts && exec "$2" -m tests.unit.roles.caddy.acme "$1"'


def test_a_certificate_is_issued_and_renewed_without_a_failed_request() -> None:
    with tempfile.TemporaryDirectory(prefix="acme-") as directory:
        Path(directory, "hosts").write_text("".join(f"{address} {name}\n" for name, address in ADDRESSES.items()))
        argv = apart("sh", "-c", INSIDE, "sh", directory, sys.executable, mounts=True)
        search = os.pathsep.join((str(PROJECT), str(PROJECT / ".collections")))
        done = subprocess.run(
            argv,
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": search},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        logs = "".join(path.read_text()[-3000:] for path in Path(directory).glob("*/log"))
    came = json.loads(done.stdout)
    assert came["certificates"] >= 2, logs
    assert came["failed"] == []
    assert came["asked"] > 20
