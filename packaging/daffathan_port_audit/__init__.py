# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command daffathan-port-audit as a Python package, for machines without Ansible.

The code is the collection's own. It lies below this package, and not beside it, so that Ansible in the same environment
does not take it for the whole collection.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    sys.path.insert(0, str(Path(__file__).parent))
    from ansible_collections.daffathan.platform.plugins.module_utils._audit import command

    return command.main()
