# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verbs of the lab."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from vpslab import engine as engines
from vpslab import examples, hosts, network, services, shell, snapshots
from vpslab import images as bases
from vpslab.config import (
    ATTACKER,
    SERVICES,
    SUITES,
    Lab,
    LabError,
    check_host,
    check_snapshot,
    from_environment,
)
from vpslab.engine import Engine
from vpslab.hosts import Vps


def up(lab: Lab, options: argparse.Namespace) -> None:
    names = [check_host(name) for name in dict.fromkeys(options.hosts)]
    if options.snapshot and not names:
        raise LabError(f"--from {options.snapshot}: name the host to start from it")
    with shell.exclusive(lab, f"up {' '.join(names)}"):
        engine = engines.ensure(lab)
        network.ensure(engine, lab)
        hosts.ensure_key(lab)
        present = {vps.name: vps for vps in hosts.listed(engine, lab)}
        fresh = not options.snapshot and any(name not in present for name in names)
        _ensure_images(engine, lab, [options.suite or SUITES[0]] if fresh else [])
        wanted = [present.get(name) or _create(engine, lab, name, options) for name in names]
        for vps in wanted:
            _check_same(vps, options)
            if vps.state != "running":
                hosts.start(engine, lab, vps)
    _wait_all(engine, lab, wanted)


def _ensure_images(engine: Engine, lab: Lab, suites: Sequence[str]) -> None:
    """The images of the VPSes beside the services and their pushes, which wait for the disk and the network."""
    bases.base(engine, lab, SUITES[0])
    with ThreadPoolExecutor(max_workers=1) as pool:
        futures = [pool.submit(hosts.vps_image, engine, lab, suite) for suite in suites]
        services.ensure(engine, lab)
        for future in futures:
            future.result()


def _create(engine: Engine, lab: Lab, name: str, options: argparse.Namespace) -> Vps:
    if not options.snapshot:
        suite = options.suite or SUITES[0]
        return hosts.create(engine, lab, name, suite, hosts.vps_image(engine, lab, suite))
    snapshot = snapshots.get(engine, lab, options.snapshot)
    if options.suite and options.suite != snapshot.suite:
        raise LabError(f"--suite {options.suite}: snapshot {snapshot.name} is {snapshot.suite}; leave --suite out")
    vps = hosts.create(engine, lab, name, snapshot.suite, snapshot.image, snapshot.name)
    snapshots.restore_volumes(engine, lab, snapshot, name)
    return vps


def _check_same(vps: Vps, options: argparse.Namespace) -> None:
    """A host that exists is not silently something else than what was asked for."""
    for option, asked, has in (("--suite", options.suite, vps.suite), ("--from", options.snapshot, vps.snapshot)):
        if asked and asked != has:
            raise LabError(f"{option} {asked}: {vps.name} exists with {has or 'none'}; `lab.py down {vps.name}` first")


def _wait_all(engine: Engine, lab: Lab, wanted: Sequence[Vps]) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        for future in [pool.submit(hosts.wait, engine, lab, vps) for vps in wanted]:
            future.result()


def images(lab: Lab, options: argparse.Namespace) -> None:
    with shell.exclusive(lab, "images"):
        engine = engines.ensure(lab)
        network.ensure(engine, lab)
        _ensure_images(engine, lab, options.suites or SUITES[:1])
        for system in options.examples:
            services.push_all(engine, lab, examples.images_of(engine, lab, system))


def status(lab: Lab, options: argparse.Namespace) -> None:
    engine = engines.find(lab)
    answer: dict[str, object] = {"home": str(lab.home), "network": str(lab.network), "network6": str(lab.network6)}
    answer["engine"] = (engine.host or os.environ.get("DOCKER_HOST") or "default") if engine else None
    found = hosts.listed(engine, lab) if engine else []
    answer["hosts"] = [dataclasses.asdict(vps) for vps in found]
    answer["services"] = _services(engine, lab) if engine else []
    answer["snapshots"] = [dataclasses.asdict(entry) for entry in snapshots.listed(engine, lab)] if engine else []
    if options.json:
        print(json.dumps(answer, indent=2))
        return
    print(f"engine    {answer['engine'] or 'none'}\nnetwork   {lab.network} {lab.network6}\nhome      {lab.home}")
    for service in _services(engine, lab) if engine else []:
        print(f"service   {service['name']:<16} {service['address']:<14} {service['state']}")
    for vps in found:
        origin = f" from {vps.snapshot}" if vps.snapshot else ""
        print(f"host      {vps.name:<16} {vps.address.v4:<14} {vps.state:<9} {vps.suite}{origin}")
    for entry in snapshots.listed(engine, lab) if engine else []:
        print(f"snapshot  {entry.name:<16} {entry.suite}")


def _services(engine: Engine, lab: Lab) -> list[dict[str, str]]:
    found = {entry["Name"][1:]: entry for entry in engine.inspect("container", [lab.container(s) for s in SERVICES])}
    answer = []
    for service, octet in SERVICES.items():
        entry = found.get(lab.container(service))
        state = entry["State"]["Status"] if entry else "absent"
        address = lab.address(octet)
        answer.append({"name": service, "address": address.v4, "address6": address.v6, "state": state})
    return answer


def _replace_process(argv: Sequence[str]) -> None:
    sys.stdout.flush()
    os.execvp(argv[0], list(argv))


def execute(lab: Lab, options: argparse.Namespace) -> None:
    engine = engines.require(lab)
    if options.host not in SERVICES:
        hosts.get(engine, lab, options.host)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    terminal = ["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    if not command:
        raise LabError(f"exec {options.host}: name the command to run")
    _replace_process(engine.argv("exec", "--interactive", *terminal, lab.container(options.host), *command))


def ssh(lab: Lab, options: argparse.Namespace) -> None:
    vps = hosts.get(engines.require(lab), lab, options.host)
    _replace_process([*hosts.ssh_argv(lab, vps, options.user), *options.command])


def inventory(lab: Lab, options: argparse.Namespace) -> None:
    engine = engines.require(lab)
    sys.stdout.write(hosts.inventory(lab, [hosts.get(engine, lab, name) for name in options.hosts]))


def snapshot(lab: Lab, options: argparse.Namespace) -> None:
    name = check_snapshot(options.name)
    engine = engines.require(lab)
    with shell.exclusive(lab, f"snapshot {options.host} {name}"):
        vps = hosts.get(engine, lab, options.host)
        try:
            snapshots.take(engine, lab, vps, name)
        finally:
            hosts.start(engine, lab, vps)
    hosts.wait(engine, lab, vps)


def restart(lab: Lab, options: argparse.Namespace) -> None:
    engine = engines.require(lab)
    vps = hosts.get(engine, lab, options.host)
    with shell.step(f"restarting {vps.name}"):
        if options.power_loss:
            engine.run("kill", lab.container(vps.name))
            engine.run("start", lab.container(vps.name))
        else:
            engine.run("restart", lab.container(vps.name))
        hosts.wait(engine, lab, vps)


def down(lab: Lab, options: argparse.Namespace) -> None:
    if options.all and options.hosts:
        raise LabError("down --all takes no host: it removes all of them and the services")
    engine = engines.find(lab)
    with shell.exclusive(lab, "down"):
        if engine is None:
            if options.all:
                network.routes(lab, present=False)
            return
        present = {vps.name: vps for vps in hosts.listed(engine, lab)}
        for name in options.hosts or present:
            if name in present:
                hosts.remove(engine, lab, present[name])
        for name in options.snapshots:
            snapshots.remove(engine, lab, name)
        if options.all:
            services.remove(engine, lab)
            network.remove(engine, lab)


def purge(lab: Lab, options: argparse.Namespace) -> None:
    if not lab.home.exists():
        network.routes(lab, present=False)
        shell.say(f"{lab.home}: nothing there")
        return
    with shell.exclusive(lab, "purge"):
        engine = engines.revive(lab)
        if engine is not None:
            _purge_engine(engine, lab)
        network.routes(lab, present=False)
        engines.stop(lab)
        _unmount(lab)
        shutil.rmtree(lab.home)
    shell.say(f"{lab.home} and all containers, volumes, images, networks and routes of the lab are gone")


def _purge_engine(engine: Engine, lab: Lab) -> None:
    containers = engine.out("ps", "--all", "--quiet", "--filter", f"label={lab.label}").split()
    if containers:
        shell.say(f"removing {len(containers)} container(s)")
        engine.run("rm", "--force", "--volumes", *containers)
    volumes = engine.out("volume", "ls", "--quiet", "--filter", f"label={lab.label}").split()
    if volumes:
        engine.run("volume", "rm", "--force", *volumes)
    network.remove(engine, lab)
    references = engine.out("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    mine = [reference for reference in references if reference.startswith(lab.image(""))]
    if mine:
        shell.say(f"removing {len(mine)} image(s)")
        engine.run("rmi", "--force", *mine)


def _unmount(lab: Lab) -> None:
    with open("/proc/self/mounts") as file:
        mounts = [line.split()[1] for line in file]
    for mount in sorted((m for m in mounts if m.startswith(f"{lab.home}/")), reverse=True):
        shell.run(["umount", "--lazy", mount], check=False)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="lab.py", description="Real Debian VPSes in containers, for tests and the demo.")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, function: object, text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(function=function)
        return added

    sub = verb("up", up, "start the lab's services and the named VPSes; does nothing for what runs already")
    sub.add_argument("hosts", nargs="*", metavar="HOST")
    sub.add_argument("--suite", choices=SUITES, help=f"Debian release of new VPSes (default {SUITES[0]})")
    sub.add_argument("--from", dest="snapshot", metavar="SNAPSHOT", help="start new VPSes from a snapshot")
    sub = verb("images", images, "build all images and push them to the lab's registry")
    sub.add_argument("suites", nargs="*", choices=[*SUITES, []], metavar="SUITE")
    text = "also those of examples/SYSTEM of the collection"
    sub.add_argument("--example", dest="examples", action="append", default=[], metavar="SYSTEM", help=text)
    sub = verb("status", status, "show engine, services, VPSes and snapshots")
    sub.add_argument("--json", action="store_true")
    sub = verb("exec", execute, f"run a command as root in a VPS, in {ATTACKER} or in registry")
    sub.add_argument("host", metavar="HOST")
    sub.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD")
    sub = verb("ssh", ssh, "log in to a VPS, or run a command there, over SSH")
    sub.add_argument("host", metavar="HOST")
    sub.add_argument("--user", default=hosts.USER)
    sub.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD")
    sub = verb("inventory", inventory, "print an Ansible inventory of the named VPSes")
    sub.add_argument("hosts", nargs="+", metavar="HOST")
    sub = verb("snapshot", snapshot, "keep the state of a VPS under a name; it is down for some seconds")
    sub.add_argument("host", metavar="HOST")
    sub.add_argument("name", metavar="NAME")
    sub = verb("restart", restart, "reboot a VPS")
    sub.add_argument("host", metavar="HOST")
    sub.add_argument("--power-loss", action="store_true", help="kill all that runs there instead of shutting it down")
    sub = verb("down", down, "remove the named VPSes, or all of them; services, images and caches stay")
    sub.add_argument("hosts", nargs="*", metavar="HOST")
    sub.add_argument("--all", action="store_true", help="remove services, network and routes too; images stay")
    sub.add_argument("--snapshot", dest="snapshots", action="append", default=[], metavar="NAME", help="and a snapshot")
    verb("purge", purge, "remove everything the lab ever made on this machine")
    return top


def main() -> int:
    options = parser().parse_args()
    try:
        options.function(from_environment(), options)
    except LabError as error:
        sys.stderr.write(f"lab: error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
