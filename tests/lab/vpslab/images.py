# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the images of the lab, each one only when something it is made of has changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from vpslab import recipe, shell, tls
from vpslab.config import Lab, LabError
from vpslab.engine import Engine
from vpslab.recipe import EXAMPLES, IMAGES, File

PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
PULLED = "pulled"
_unreachable = threading.Event()


def pull(engine: Engine, image: str, mine: str) -> str | None:
    """Fetch a public image under a name of the lab's, or None when no public registry answers."""
    present = engine.image_id(image) is not None
    if not present:
        if _unreachable.is_set():
            return None
        with shell.step(f"pulling {image}"):
            done = engine.run("pull", "--quiet", image, check=False, timeout=300)
        if done.returncode != 0:
            shell.say(f"{image} cannot be pulled ({shell.tail(done.stderr, 1)}): making it from Debian packages")
            _unreachable.set()
            return None
    engine.run("tag", image, mine)
    if not present:
        engine.run("rmi", image)
    return mine


def _mirrors() -> tuple[str, str]:
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(path.read_text(errors="replace") for path in sources if path.is_file())
    release = Path("/etc/os-release")
    return recipe.mirrors(text, release.exists() and "\nID=debian\n" in "\n" + release.read_text())


def _root(engine: Engine, lab: Lab, suite: str) -> str:
    """Debian itself: the public image, or one made with debootstrap."""
    mine = f"{lab.image('debian')}:{suite}"
    if engine.image_id(mine) or pull(engine, f"debian:{suite}", mine):
        return mine
    cache = lab.cache / "debootstrap"
    cache.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(prefix=f"debian-{suite}-", dir=lab.cache))
    try:
        with shell.step(f"building base image debian:{suite} with debootstrap (about 60 s)"):
            argv = ["debootstrap", "--variant=minbase", f"--cache-dir={cache}", suite, str(target), _mirrors()[0]]
            path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
            shell.run_logged(argv, lab.run / "log" / f"debootstrap-{suite}.log", env={"PATH": path})
            _import(engine, lab, target, mine)
    finally:
        _unmount_below(target)
        shutil.rmtree(target)
    return mine


def _unmount_below(directory: Path) -> None:
    """An interrupted debootstrap leaves proc and sys mounted."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{directory}/")), reverse=True):
        shell.run(["umount", "--lazy", mount], check=False)


def _import(engine: Engine, lab: Lab, root: Path, reference: str) -> None:
    archive = ["tar", "--numeric-owner", "--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*"]
    archive += ["--exclude=./proc/*", "--exclude=./sys/*", "--exclude=./dev/*", "-C", str(root), "-c", "."]
    label = f"LABEL {lab.label}"
    importer = engine.argv("import", "--change", label, "--change", 'CMD ["bash"]', "-", reference)
    with subprocess.Popen(archive, stdout=subprocess.PIPE) as source:
        done = subprocess.run(importer, stdin=source.stdout, capture_output=True, check=False)
    if done.returncode != 0 or source.returncode != 0:
        raise LabError(f"importing {reference}: {done.stderr.decode(errors='replace')}")


def build(
    engine: Engine,
    lab: Lab,
    name: str,
    context: Mapping[str, File],
    arguments: Mapping[str, str],
    *,
    quiet: bool = False,
) -> str:
    """Build an image unless one of the same inputs exists; return its reference."""
    reference = f"{lab.image(name)}:{recipe.context_hash(context, arguments)}"
    if engine.image_id(reference):
        return reference
    proxies = {key: os.environ[key] for key in PROXIES if key in os.environ}
    argv = engine.argv("build", "--rm", "--label", lab.label, "--tag", reference)
    for key, value in {**proxies, **arguments}.items():
        argv += ["--build-arg", f"{key}={value}"]
    log = lab.run / "log" / f"build-{name.replace('/', '-')}.log"

    def work() -> None:
        # The classic builder needs no plugin, which the packages of Debian leave out.
        shell.run_logged([*argv, "-"], log, stdin=recipe.tar(context), env={"DOCKER_BUILDKIT": "0"})

    if quiet:
        work()
    else:
        with shell.step(f"building image {name}"):
            work()
    _remove_older(engine, lab, name, reference)
    return reference


def _remove_older(engine: Engine, lab: Lab, name: str, keep: str) -> None:
    """Drop the images that this one replaces; those that a container still uses stay."""
    listed = engine.out("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", lab.image(name)).split()
    for reference in listed:
        if reference != keep and not reference.endswith(f":{PULLED}"):
            engine.run("rmi", reference, check=False)


def base(engine: Engine, lab: Lab, suite: str) -> str:
    """Debian with this machine's archive settings and certificate authorities, and the lab's own."""
    archive, security = _mirrors()
    options = shell.run(["apt-config", "dump"], check=False).stdout if shutil.which("apt-config") else ""
    generated = {
        "etc/apt/sources.list.d/debian.sources": recipe.apt_sources(suite, archive, security).encode(),
        "etc/apt/apt.conf.d/90lab": recipe.apt_options(options, os.environ).encode(),
        "usr/local/share/ca-certificates/lab.crt": tls.authority(lab).read_bytes(),
    }
    # A proxy that inspects TLS is trusted through a file here; without it HTTPS fails inside the lab.
    for path in sorted(Path("/usr/local/share/ca-certificates").glob("**/*.crt")):
        generated[f"usr/local/share/ca-certificates/machine-{path.name}"] = path.read_bytes()
    context = recipe.read_context(IMAGES / "base")
    context.update({f"generated/{name}": File(data) for name, data in generated.items()})
    return build(engine, lab, f"base-{suite}", context, {"BASE": _root(engine, lab, suite)})


def simple(engine: Engine, lab: Lab, name: str, suite: str = "trixie", **arguments: str) -> str:
    """An image of images/<name>/ on the base of a suite."""
    context = recipe.read_context(IMAGES / name)
    return build(engine, lab, f"{name}-{suite}", context, {"BASE": base(engine, lab, suite), **arguments})


def public(
    engine: Engine, lab: Lab, image: str, name: str, directory: str = "", suite: str = "trixie", **arguments: str
) -> str:
    """A public image, or the one of images/<directory, or name>/ where no public registry answers."""
    pulled = f"{lab.image(name)}:{PULLED}"
    if engine.image_id(pulled):
        return pulled
    context = recipe.read_context(IMAGES / (directory or name))
    arguments = {"BASE": base(engine, lab, suite), **arguments}
    built = f"{lab.image(name)}:{recipe.context_hash(context, arguments)}"
    if engine.image_id(built):
        return built
    return pull(engine, image, pulled) or build(engine, lab, name, context, arguments)


def nginx(engine: Engine, lab: Lab) -> str:
    return public(engine, lab, "nginx:1.30", "nginx", MIRROR=_mirrors()[0])


def postgres(engine: Engine, lab: Lab) -> str:
    return public(engine, lab, "postgres:17", "postgres")


def caddy_package(engine: Engine, lab: Lab) -> None:
    """Put the package of a current Caddy into the directory of packages."""
    reference = simple(engine, lab, "caddy", MIRROR=_mirrors()[0])
    package = lab.packages / "caddy.deb"
    stamp = package.with_suffix(".image")
    if package.exists() and stamp.exists() and stamp.read_text() == reference:
        return
    lab.packages.mkdir(parents=True, exist_ok=True)
    container = engine.out("create", "--label", lab.label, reference).strip()
    try:
        engine.run("cp", f"{container}:/packages/caddy.deb", str(package))
    finally:
        engine.run("rm", container)
    stamp.write_text(reference)


def sample(engine: Engine, lab: Lab) -> dict[str, str]:
    """The sample service: one image per service and version, as {<service>:<version>: reference}."""
    context = recipe.read_context(EXAMPLES / "daffathan-labs" / "service")
    versions = json.loads((IMAGES / "sample" / "versions.json").read_text())
    common = build(engine, lab, "sample", context, {"BASE": base(engine, lab, "trixie")})
    found = {}
    for version, environment in versions.items():
        for service in ("ui", "api", "ai"):
            text = {key: str(value) for key, value in environment.items()}
            dockerfile = recipe.env_dockerfile(common, {**text, "SERVICE_NAME": service})
            name = f"sample-{service}-{version}"
            found[f"{service}:{version}"] = build(
                engine, lab, name, {"Dockerfile": File(dockerfile.encode())}, {}, quiet=True
            )
    return found
