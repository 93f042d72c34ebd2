# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open-loop load on the sample service.

python -m tests.load --url https://labs.example.test --address 10.231.0.10 --ca ca.crt --output report.json

Exit status: 0 no failure; 1 failures; 2 options or target refused; 3 the generator could not keep its schedule.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.load.background import STARTED
from tests.load.report import Report
from tests.load.run import Plan, run
from tests.load.target import Target, UsageError, parse, parse_prefix

OK, FAILURES, USAGE, OVERLOADED = 0, 1, 2, 3


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--url", required=True, help="origin of the site, http or https")
    add("--address", help="the address its name stands for; loopback or lab networks only")
    add("--ca", help="PEM file of the certificate authority (default: the system's)")
    add("--prefix", action="append", help="path prefix of a service, for example /api; may be repeated (default: /)")
    add("--rate", type=float, default=Plan.rate, help="requests per second (%(default)s)")
    add("--seconds", type=float, default=Plan.seconds, help="longest duration (%(default)s)")
    add("--until-file", help="end as soon as this file exists")
    add(
        "--fresh", type=float, default=Plan.fresh, help="share of requests with a connection of their own (%(default)s)"
    )
    add("--http2", type=float, default=Plan.http2, help="share of requests over HTTP/2 (%(default)s)")
    add("--websockets", type=int, default=Plan.websockets, help="WebSockets to hold, per prefix (%(default)s)")
    add("--timeout", type=float, default=Plan.timeout, help="seconds until a request counts as failed (%(default)s)")
    add("--lag-limit", type=float, default=Plan.lag_limit, help="seconds after which a request left late (%(default)s)")
    add("--samples", help="file for a line per request: due at, kind, protocol, latency in ms, outcome")
    add("--output", type=Path, help="file for the JSON report (default: standard output)")
    return parser


def main(argv: list[str]) -> int:
    options = arguments().parse_args(argv)
    try:
        target = parse(options.url, options.address, os.environ)
        plan = Plan(
            rate=options.rate,
            seconds=options.seconds,
            prefixes=tuple(dict.fromkeys(parse_prefix(text) for text in options.prefix or ["/"])),
            fresh=options.fresh,
            http2=options.http2,
            websockets=options.websockets,
            timeout=options.timeout,
            lag_limit=options.lag_limit,
            ca=options.ca,
            until_file=options.until_file,
            samples=options.samples,
        )
        if options.output and not options.output.parent.is_dir():
            raise UsageError(f"--output {options.output}: no directory {options.output.parent}")
        if options.samples and not Path(options.samples).parent.is_dir():
            raise UsageError(f"--samples {options.samples}: no directory {Path(options.samples).parent}")
        report = asyncio.run(_run(target, plan))
    except UsageError as error:
        print(f"load: {error}", file=sys.stderr)
        return USAGE
    if options.output:
        options.output.write_text(report.to_json())
    else:
        print(report.to_json(), end="")
    print(report.describe(), file=sys.stderr)
    if not report.kept_schedule:
        return OVERLOADED
    return OK if report.passed else FAILURES


async def _run(target: Target, plan: Plan) -> Report:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await run(target, plan, stop, lambda: print(STARTED, file=sys.stderr, flush=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
