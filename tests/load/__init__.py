# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An open-loop load generator for the sample service, as a command and as a context manager."""

from __future__ import annotations

from tests.load.background import Load, LoadError
from tests.load.report import Report

__all__ = ["Load", "LoadError", "Report"]
