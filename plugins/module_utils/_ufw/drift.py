# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Where the kernel is not what UFW's files say, before and after."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.daffathan.platform.plugins.module_utils._ufw import kernel, plan, restore
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import Policy


def of_kernel(
    present: Policy,
    files: Mapping[str, str],
    tables: Mapping[int, restore.Table],
    candidate: Mapping[int, str],
    wanted: Mapping[int, restore.Table],
) -> list[str]:
    """Where the kernel is not what the present policy of the files makes it.

    :param candidate: transactions whose outcome is known already: it is wanted.
    """
    if not present.enabled:
        return []
    described = plan.transactions(present, files, {family: restore.Table() for family in tables})
    try:
        expected = wanted if wanted and described == candidate else kernel.measure(described)
    except kernel.KernelError as error:
        # The files are about to be replaced; they need not be good for that.
        return [f"UFW's files do not load: {error}"]
    return [
        f"IPv{family}: {line}" for family, table in expected.items() for line in plan.difference(tables[family], table)
    ]


def verify(wanted: Mapping[int, restore.Table]) -> None:
    """The kernel has the last word; nothing is wanted of a firewall that is off."""
    found = kernel.read(wanted)
    for family, table in wanted.items():
        lines = plan.difference(found[family], table)
        if lines:
            raise kernel.KernelError(
                f"the rules were loaded, but the kernel shows others (IPv{family}: {'; '.join(lines[:5])}). "
                "Does another program change UFW's chains? Run the task again."
            )
