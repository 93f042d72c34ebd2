#!/usr/bin/env python3
# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab: real Debian VPSes in containers. See README.md beside this file, or `lab.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from vpslab.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
