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

from ansible.plugins.loader import init_plugin_loader

from tests.bench.page import publish

HERE = Path(__file__).parent
# A comparison may use the collection itself, and the templates of its roles, whose filters Ansible finds only then.
init_plugin_loader([str(HERE.parents[1] / ".collections")])


def names() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def main(arguments: list[str]) -> int:
    known = names()
    unknown = [name for name in arguments if name not in known]
    if unknown:
        print(f"No comparison named {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    for name in arguments or known:
        module = importlib.import_module(f"tests.bench.bench_{name}")
        figures = module.run()
        publish(name, inspect.getdoc(module) or "", figures)
        print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
