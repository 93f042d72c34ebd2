# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to PostgreSQL, for the service and for its migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common import setting

# The schema that this program needs, and the one that the release before it needs.
NEEDED = int(setting("SCHEMA", "1"))


def place() -> dict[str, Any]:
    """Where the database is, for asyncpg."""
    return {
        "host": setting("DATABASE_HOST"),
        "port": int(setting("DATABASE_PORT", "5432")),
        "database": setting("DATABASE_NAME", "technova"),
        "user": setting("DATABASE_USER", "technova"),
        "password": Path(setting("DATABASE_PASSWORD_FILE")).read_text().strip(),
        "timeout": 5,
    }
