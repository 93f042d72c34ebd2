# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host command is a package of its own, delivered by the role: put it, and what it shares with the modules, where
its imports find them."""

from __future__ import annotations

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(PROJECT / "roles" / "backup" / "files"))

import daffathan_backup  # noqa: E402

daffathan_backup.__path__.append(str(PROJECT / "plugins" / "module_utils"))
