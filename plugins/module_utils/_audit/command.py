# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The command daffathan-port-audit: the audit without Ansible, for a timer on the host and for an app's own CI."""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit import composeenv, deliver, examine, verify
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    THRESHOLDS,
    InputError,
    Outcome,
    clean,
    failing,
)

CLEAN, FINDINGS, NOT_RUN = 0, 1, 2
_STATUS = """\
exit status: 0 no finding at or above the threshold, 1 there are some, 2 the audit could not run.
What could not be examined is a finding of severity `unknown`, which counts as `high`."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="daffathan-port-audit",
        description="Which ports of a host can be reached from outside, and what compose files would open.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--format", choices=("table", "json", "sarif"), default="table", help="of the answer")
    common.add_argument("--output", metavar="FILE", help="write the answer there instead of printing it")
    common.add_argument("--fail-on", choices=THRESHOLDS, default="high", help="severity that ends in status 1")
    declared = argparse.ArgumentParser(add_help=False)
    declared.add_argument(
        "--expected", metavar="FILE", default="", help='the declared ports: {"expected": [{"port": 22}]}'
    )
    modes = parser.add_subparsers(dest="mode", metavar="MODE", required=True)
    static = modes.add_parser("static", parents=[declared, common], help="judge compose files; needs PyYAML alone")
    static.add_argument(
        "files", nargs="*", metavar="FILE", help="or directory; default: this directory, as Compose reads it"
    )
    static.add_argument("--env-file", metavar="FILE", action="append", default=[], help="variables that win over .env")
    live = modes.add_parser("live", parents=[declared, common], help="judge this host; needs root")
    live.add_argument("--metrics", metavar="FILE", help="write metrics for the node exporter's textfile collector")
    live.add_argument("--engine-socket", metavar="PATH", default="/run/docker.sock", help="of Docker")
    live.add_argument("--engine-timeout", metavar="SECONDS", type=float, default=5.0, help="for each of its answers")
    probe = modes.add_parser("verify", parents=[common], help="compare a live audit of a host with what answers here")
    probe.add_argument("addresses", nargs="+", metavar="ADDRESS", help="by which this host reaches the audited one")
    probe.add_argument("--audit", metavar="FILE", required=True, help="what `live --format json` said there")
    probe.add_argument("--timeout", metavar="SECONDS", type=float, default=3.0, help="for the answer of a port")
    return parser


def _read(path: str, option: str) -> str:
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{option}: {path} cannot be read: {clean(error)}.") from None


def _env(paths: Sequence[str]) -> dict[str, str]:
    env: dict[str, str] = {}
    for path in paths:
        try:
            env.update(composeenv.parse_env(_read(path, "--env-file"), env))
        except composeenv.VariableError as error:
            raise InputError(f"--env-file: {path}: {clean(error)}. Correct the file.") from None
    return env


def _audited(path: str) -> dict[str, Any]:
    try:
        content = json.loads(_read(path, "--audit"))
    except ValueError as error:
        raise InputError(f"--audit: {path} is not JSON: {clean(error)}. Write it with live --format json.") from None
    if not isinstance(content, dict):
        raise InputError(f"--audit: {path} is not the outcome of an audit. Write it with live --format json.")
    return content


def _seconds(option: str, value: float) -> float:
    if not 0 < value <= 60:
        raise InputError(f"{option}: {value} is out of range. Write seconds from 1 to 60.")
    return value


def _outcome(options: argparse.Namespace) -> Outcome:
    if options.mode == "static":
        env = _env(options.env_file)
        return examine.static(options.files or ["."], env, examine.declared(options.expected, "--expected"))
    if options.mode == "verify":
        timeout = _seconds("--timeout", options.timeout)
        return verify.run(_audited(options.audit), options.addresses, socket.gethostname(), timeout)
    timeout = _seconds("--engine-timeout", options.engine_timeout)
    return examine.live(options.engine_socket, timeout, examine.declared(options.expected, "--expected"))


def _run(options: argparse.Namespace) -> int:
    reports = [deliver.Report(options.format, options.output, "--output")] if options.output else []
    if options.mode == "live" and options.metrics:
        reports.append(deliver.Report("metrics", options.metrics, "--metrics"))
    deliver.check(reports)
    started = time.monotonic()
    outcome = _outcome(options)
    clock = deliver.Clock(time.time(), time.monotonic() - started)
    deliver.write(reports, outcome, options.fail_on, clock, dry=False)
    if not options.output:
        sys.stdout.write(deliver.render(options.format, outcome, options.fail_on, clock))
    return FINDINGS if failing(outcome.findings, options.fail_on) else CLEAN


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status; see the epilog of --help."""
    options = _parser().parse_args(argv)
    try:
        return _run(options)
    except InputError as error:
        sys.stderr.write(f"daffathan-port-audit: {error}\n")
    except Exception as error:
        # Python's own exit status for this is 1, which would say that the audit ran.
        sys.stderr.write(f"daffathan-port-audit: the audit could not run: {type(error).__name__}: {clean(error)}\n")
    return NOT_RUN
