# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make bench NAME=<name>` prints the figures of one comparison as JSON on its last line.

Without a name it runs all of them. Each refreshes its own part of docs/benchmarks.md. A comparison is a module
`tests/bench/bench_<name>.py` with a docstring that says what is compared and how, and a function
`run() -> dict[str, float | int | str]`. Figures are ratios against a peer of the same run, or counts of lost requests.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
# A comparison may use the collection itself.
sys.path.insert(0, str(HERE.parents[1] / ".collections"))
INTRODUCTION = """# Benchmarks

Written by `make bench`; one comparison alone: `make bench NAME=<name>`. Every comparison runs ours and the peer in the
same run on lab VPSes (containers with systemd, sshd and Docker on one machine), so ratios and counts are the result; a
time says something of that machine only.
"""


def names() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


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


def main(arguments: list[str]) -> int:
    known = names()
    unknown = [name for name in arguments if name not in known]
    if unknown:
        print(f"No comparison named {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    for name in arguments or known:
        module = importlib.import_module(f"tests.bench.bench_{name}")
        figures = module.run()
        done = sections(PAGE.read_text()) if PAGE.exists() else {}
        done[name] = section(name, inspect.getdoc(module) or "", figures)
        PAGE.write_text("\n".join([INTRODUCTION, *(done[name] for name in known if name in done)]))
        print(f"written: {PAGE}", file=sys.stderr)
        print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
