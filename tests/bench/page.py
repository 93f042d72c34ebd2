# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/benchmarks.md: a section for each comparison, refreshed by itself."""

from __future__ import annotations

import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Written by `make bench`; one comparison alone: `make bench NAME=<name>`. Every comparison runs ours and the peer in the
same run on lab VPSes (containers with systemd, sshd and Docker on one machine), `edge` without them, so ratios and
counts are the result; a time says something of that machine only. `soak_rollout` has no peer: `make soak NAME=rollout`
writes it.
"""


def publish(name: str, what: str, figures: dict[str, object]) -> None:
    """Replace the section of that name; the others stay."""
    done = sections(PAGE.read_text()) if PAGE.exists() else {}
    done[name] = section(name, what, figures)
    PAGE.write_text("\n".join([INTRODUCTION, *(done[name] for name in sorted(done))]))
    print(f"written: {PAGE}", file=sys.stderr)


def section(name: str, what: str, figures: dict[str, object]) -> str:
    """What was done in a comparison, and its figures."""
    return f"## {name}\n\n{what}\n\n{table(figures)}\n"


def table(figures: dict[str, object]) -> str:
    """A row for each figure; where the figures are those of several contenders, a row for each of these."""
    parties = {name: value for name, value in figures.items() if isinstance(value, dict)}
    rows: list[tuple[object, ...]]
    if not parties:
        rows = [("figure", "value"), *((f"`{key}`", value) for key, value in figures.items())]
    else:
        keys = list(dict.fromkeys(key for value in parties.values() for key in value))
        rows = [("contender", *(f"`{key}`" for key in keys))]
        rows += [(name, *(value.get(key, "") for key in keys)) for name, value in parties.items()]
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def sections(page: str) -> dict[str, str]:
    """The comparisons of a page, by name."""
    parts = page.split("\n## ")[1:]
    return {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts}
