# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The network of the lab, and the routes that keep its addresses on this machine."""

from __future__ import annotations

from vpslab import engine as engines
from vpslab import shell
from vpslab.config import Lab
from vpslab.engine import Engine

# The last one the kernel would ever choose, yet before the default route because it is more specific.
METRIC = "4294967294"


def create_argv(lab: Lab, mtu: int) -> list[str]:
    """Arguments of `docker` that create the network."""
    options = {"com.docker.network.bridge.name": lab.bridge, "com.docker.network.driver.mtu": str(mtu)}
    argv = ["network", "create", "--driver", "bridge", "--label", lab.label, "--ipv6"]
    argv += ["--subnet", str(lab.network), "--gateway", lab.address(1).v4]
    argv += ["--subnet", str(lab.network6), "--gateway", lab.address(1).v6]
    for name, value in options.items():
        argv += ["--opt", f"{name}={value}"]
    return [*argv, lab.name]


def ensure(engine: Engine, lab: Lab) -> None:
    routes(lab, present=True)
    if not engine.inspect("network", [lab.name]):
        shell.say(f"creating network {lab.name} ({lab.network}, {lab.network6})")
        engine.run(*create_argv(lab, engines.mtu()))


def remove(engine: Engine, lab: Lab) -> None:
    if engine.inspect("network", [lab.name]):
        engine.run("network", "rm", lab.name)
    routes(lab, present=False)


def routes(lab: Lab, present: bool) -> None:
    """Unreachable routes for the lab's ranges, so that nothing follows the default route while the network is down."""
    for family, prefix in zip(("-4", "-6"), lab.unreachable):
        verb = "replace" if present else "del"
        argv = ["ip", family, "route", verb, "unreachable", prefix, "metric", METRIC]
        # IPv6 may be off on this machine, and `del` of a route that is gone fails.
        shell.run(argv, check=present and family == "-4")
