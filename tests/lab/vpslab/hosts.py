# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The VPSes: created, started, reached, taken down."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpslab import images, recipe, shell
from vpslab.config import REGISTRY, REGISTRY_NAME, SERVICES, Address, Lab, LabError, allocate
from vpslab.engine import Engine
from vpslab.recipe import File

# Overlay file systems do not stack: what a nested engine stores needs a real one.
VOLUMES = {"docker": "/var/lib/docker", "containerd": "/var/lib/containerd"}
USER = "admin"
UNPRIVILEGED = (
    "--cap-add=ALL",
    "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--security-opt=systempaths=unconfined",
    "--device-cgroup-rule=a *:* rwm",
)
BOOT_TIMEOUT = 120
SSH_TIMEOUT = 10


@dataclass(frozen=True)
class Vps:
    name: str
    address: Address
    suite: str
    snapshot: str
    state: str


def create_argv(
    lab: Lab, vps: Vps, image: str, *, privileged: bool, nameservers: Sequence[str], modules: bool
) -> list[str]:
    """Arguments of `docker` that create a VPS."""
    argv = ["create", "--name", lab.container(vps.name), "--hostname", vps.name]
    labels = {"host": vps.name, "suite": vps.suite, "snapshot": vps.snapshot}
    argv += ["--label", lab.label, *(f"--label=daffathan.lab.{key}={value}" for key, value in labels.items())]
    argv += ["--network", lab.name, "--ip", vps.address.v4, "--ip6", vps.address.v6]
    argv += ["--sysctl", "net.ipv6.conf.all.disable_ipv6=0"]
    argv += ["--add-host", f"{REGISTRY_NAME}:{lab.address(SERVICES[REGISTRY]).v4}"]
    argv += ["--privileged"] if privileged else list(UNPRIVILEGED)
    argv += ["--cgroupns=private", "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec,mode=1777"]
    argv += ["--stop-signal", "SIGRTMIN+3", "--stop-timeout", "60", "--env", "container=docker"]
    argv += ["--env", f"LAB_NAMESERVERS={' '.join(nameservers)}"]
    for key, path in VOLUMES.items():
        argv += ["--volume", f"{volume(lab, vps.name, key)}:{path}"]
    argv += ["--volume", f"{apt_directory(lab, vps.name)}:/var/cache/apt/archives"]
    if modules:
        argv += ["--volume", "/lib/modules:/lib/modules:ro"]
    return [*argv, image]


def volume(lab: Lab, host: str, key: str) -> str:
    return f"{lab.container(host)}-{key}"


def apt_directory(lab: Lab, host: str) -> Path:
    """Each VPS has an archive directory of its own: apt locks it."""
    return lab.cache / "apt" / "hosts" / host


def listed(engine: Engine, lab: Lab) -> list[Vps]:
    """All VPSes of the lab, running or not."""
    filters = ["--filter", f"label={lab.label}", "--filter", "label=daffathan.lab.host"]
    names = engine.out("ps", "--all", "--quiet", *filters).split()
    return sorted((_vps(entry) for entry in engine.inspect("container", names)), key=lambda vps: vps.name)


def _vps(entry: dict[str, Any]) -> Vps:
    labels = entry["Config"]["Labels"]
    (network,) = entry["NetworkSettings"]["Networks"].values()
    configured = network["IPAMConfig"] or {}
    address = Address(configured.get("IPv4Address", ""), configured.get("IPv6Address", ""))
    suite, snapshot = labels["daffathan.lab.suite"], labels.get("daffathan.lab.snapshot", "")
    return Vps(labels["daffathan.lab.host"], address, suite, snapshot, entry["State"]["Status"])


def get(engine: Engine, lab: Lab, host: str) -> Vps:
    for vps in listed(engine, lab):
        if vps.name == host:
            return vps
    raise LabError(f"host {host!r}: there is none; start it with `lab.py up {host}`")


def _privileged(engine: Engine, lab: Lab, image: str) -> bool:
    """Whether this kernel lets the engine grant everything; tried once and remembered."""
    answer = lab.run / "privileged"
    if not answer.exists():
        probe = ["run", "--rm", "--privileged", "--network=none", "--label", lab.label, "--entrypoint", "true", image]
        answer.write_text("yes" if engine.ok(*probe) else "no")
    return answer.read_text() == "yes"


def _nameservers() -> list[str]:
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        found = recipe.nameservers(path.read_text()) if path.exists() else []
        if found:
            return found
    return []


def ensure_key(lab: Lab) -> str:
    """The public key that every VPS accepts."""
    if not lab.ssh_key.exists():
        shell.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "daffathan-lab", "-f", str(lab.ssh_key)])
    return lab.ssh_key.with_suffix(".pub").read_text()


def create(engine: Engine, lab: Lab, host: str, suite: str, image: str, snapshot: str = "") -> Vps:
    """Create a VPS, not yet started."""
    others = listed(engine, lab)
    for other in others:
        harvest_apt(lab, other)
    address = lab.address(allocate(host, [lab.last_octet(other.address.v4) for other in others]))
    vps = Vps(host, address, suite, snapshot, "created")
    _seed_apt(lab, vps)
    for key in VOLUMES:
        engine.run("volume", "create", "--label", lab.label, volume(lab, host, key))
    argv = create_argv(
        lab,
        vps,
        image,
        privileged=_privileged(engine, lab, image),
        nameservers=_nameservers(),
        modules=Path("/lib/modules").is_dir(),
    )
    engine.run(*argv)
    public = File(ensure_key(lab).encode(), 0o600)
    files = {"root/.ssh/authorized_keys": public, f"home/{USER}/.ssh/authorized_keys": public}
    archive = recipe.tar(files, owners={f"home/{USER}/.ssh/authorized_keys": (1000, 1000)})
    engine.run("cp", "-", f"{lab.container(host)}:/", stdin=archive)
    return vps


def vps_image(engine: Engine, lab: Lab, suite: str) -> str:
    return images.simple(engine, lab, "vps", suite)


def start(engine: Engine, lab: Lab, vps: Vps) -> None:
    shell.say(f"starting {vps.name} at {vps.address.v4}")
    engine.run("start", lab.container(vps.name))


def wait(engine: Engine, lab: Lab, vps: Vps) -> None:
    """Until systemd has booted and sshd lets the lab's key in."""
    name = lab.container(vps.name)
    # One that ran before has had its time to boot: a closed door is an answer.
    deadline = time.monotonic() + (SSH_TIMEOUT if vps.state == "running" else BOOT_TIMEOUT)
    state = ""
    while state not in ("running", "degraded"):
        if time.monotonic() > deadline:
            logs = engine.run("logs", "--tail", "20", name, check=False).stdout
            raise LabError(f"{vps.name}: does not boot (systemd says {state or 'nothing'!r})\n{logs}")
        # systemd's bus appears a moment after PID 1; until then the question itself fails.
        state = engine.run("exec", name, "systemctl", "is-system-running", "--wait", check=False).stdout.strip()
        if state not in ("running", "degraded"):
            time.sleep(0.2)
    if state == "degraded":
        failed = engine.out("exec", name, "systemctl", "--failed", "--plain", "--no-legend")
        shell.say(f"{vps.name}: systemd is degraded: {' '.join(line.split()[0] for line in failed.splitlines())}")
    with shell.exclusive(lab, f"known_hosts of {vps.name}"):
        _remember_host_keys(engine, lab, vps)
    probe = shell.run([*ssh_argv(lab, vps), "true"], check=False, timeout=60)
    while probe.returncode != 0:
        if time.monotonic() > deadline:
            raise LabError(
                f"{vps.name}: sshd does not let {USER} in: {probe.stderr.strip()}; "
                f"look inside with `lab.py exec {vps.name} bash` (a firewall? `ufw disable`)"
            )
        time.sleep(0.3)
        probe = shell.run([*ssh_argv(lab, vps), "true"], check=False, timeout=60)
    shell.say(f"{vps.name} is up at {vps.address.v4} and {vps.address.v6}")


def known_hosts(current: str, vps: Vps, keys: Sequence[str]) -> str:
    """The known_hosts file with the keys of one VPS replaced; no keys means forget it."""
    addresses = {vps.address.v4, vps.address.v6}
    kept = [line for line in current.splitlines() if line.strip() and not addresses & set(line.split()[0].split(","))]
    new = [f"{vps.name},{vps.address.v4},{vps.address.v6} {' '.join(key.split()[:2])}" for key in keys]
    return "".join(f"{line}\n" for line in [*kept, *new])


def _remember_host_keys(engine: Engine, lab: Lab, vps: Vps) -> None:
    command = ["sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub"]
    _write_known_hosts(lab, vps, engine.out("exec", lab.container(vps.name), *command).splitlines())


def _write_known_hosts(lab: Lab, vps: Vps, keys: Sequence[str]) -> None:
    current = lab.known_hosts.read_text() if lab.known_hosts.exists() else ""
    temporary = lab.known_hosts.with_suffix(".new")
    temporary.write_text(known_hosts(current, vps, keys))
    temporary.replace(lab.known_hosts)


def ssh_options(lab: Lab) -> list[str]:
    return [f"-oUserKnownHostsFile={lab.known_hosts}", "-oStrictHostKeyChecking=yes", "-oIdentitiesOnly=yes"]


def ssh_argv(lab: Lab, vps: Vps, user: str = USER) -> list[str]:
    argv = ["ssh", "-i", str(lab.ssh_key), "-oBatchMode=yes", "-oConnectTimeout=5", *ssh_options(lab)]
    return [*argv, f"{user}@{vps.address.v4}"]


def inventory(lab: Lab, hosts: Sequence[Vps]) -> str:
    """An Ansible inventory of the group vps, as YAML."""
    lines = ["---", "all:", "  children:", "    vps:", "      hosts:"]
    for vps in hosts:
        lines += [f"        {vps.name}:", f"          ansible_host: {vps.address.v4}"]
        lines += [f'          lab_ipv6: "{vps.address.v6}"']
    lines += ["      vars:", f"        ansible_user: {USER}", f"        ansible_ssh_private_key_file: {lab.ssh_key}"]
    lines += ["        ansible_python_interpreter: /usr/bin/python3"]
    lines += [f'        ansible_ssh_common_args: "{" ".join(ssh_options(lab))}"']
    return "\n".join([*lines, ""])


def _seed_apt(lab: Lab, vps: Vps) -> None:
    """Give a new VPS the packages that earlier ones downloaded, as hard links."""
    mine = apt_directory(lab, vps.name)
    shutil.rmtree(mine, ignore_errors=True)
    mine.mkdir(parents=True)
    _link_packages(lab.cache / "apt" / vps.suite, mine)


def harvest_apt(lab: Lab, vps: Vps) -> None:
    """Keep what this VPS downloaded for the next ones."""
    _link_packages(apt_directory(lab, vps.name), lab.cache / "apt" / vps.suite)


def _link_packages(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for package in source.glob("*.deb") if source.is_dir() else ():
        if not (target / package.name).exists():
            os.link(package, target / package.name)


def remove(engine: Engine, lab: Lab, vps: Vps) -> None:
    shell.say(f"removing {vps.name}")
    engine.run("rm", "--force", lab.container(vps.name))
    engine.run("volume", "rm", "--force", *(volume(lab, vps.name, key) for key in VOLUMES))
    harvest_apt(lab, vps)
    shutil.rmtree(apt_directory(lab, vps.name), ignore_errors=True)
    _write_known_hosts(lab, vps, [])
