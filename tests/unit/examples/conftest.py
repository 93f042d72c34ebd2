# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import stores


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that the user of a store can enter as well, which pytest's own is not."""
    if not stores.unpacked():
        pytest.skip(stores.MISSING)
    directory = Path(tempfile.mkdtemp(prefix="stores-"))
    directory.chmod(0o755)
    (directory / "password").write_text(stores.PASSWORD)
    yield directory
    shutil.rmtree(directory)
