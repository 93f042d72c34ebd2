# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make bench NAME=<name>` prints the figures of one comparison as JSON on its last line.

Without a name it runs all of them and writes docs/benchmarks.md. A comparison is a module `tests/bench/bench_<name>.py`
with a docstring that says what is compared and how, and a function `run() -> dict[str, float | int | str]`. Figures are
ratios against a peer of the same run, or counts of lost requests.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Written by `make bench`; one comparison alone: `make bench NAME=<name>`. Every comparison runs ours and the peer in the
same run on lab VPSes (containers with systemd, sshd and Docker on one machine), so ratios and counts are the result; a
time says something of that machine only.
"""


def names() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def page(results: dict[str, tuple[str, dict[str, object]]]) -> str:
    """docs/benchmarks.md: per comparison what was done, and its figures."""
    parts = [INTRODUCTION]
    for name, (what, figures) in results.items():
        rows = "\n".join(f"| `{key}` | {value} |" for key, value in figures.items())
        parts.append(f"## {name}\n\n{what}\n\n| figure | value |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    known = names()
    unknown = [name for name in arguments if name not in known]
    if unknown:
        print(f"No comparison named {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    results: dict[str, tuple[str, dict[str, object]]] = {}
    for name in arguments or known:
        module = importlib.import_module(f"tests.bench.bench_{name}")
        figures = module.run()
        results[name] = (inspect.getdoc(module) or "", figures)
        print(json.dumps(figures), flush=True)
    if not arguments:
        PAGE.write_text(page(results))
        print(f"written: {PAGE}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
