# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an image is made of: pure functions over files and text, and their hash."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

IMAGES = Path(__file__).resolve().parent.parent / "images"
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
DEFAULT_SECURITY = "http://deb.debian.org/debian-security"
APT_OPTIONS = (
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
)
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class File:
    data: bytes
    mode: int = 0o644


Context = Mapping[str, File]


def read_context(directory: Path) -> dict[str, File]:
    """All files of a build directory, by their relative path."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            executable = path.stat().st_mode & 0o111
            found[str(path.relative_to(directory))] = File(path.read_bytes(), 0o755 if executable else 0o644)
    return found


def context_hash(context: Context, arguments: Mapping[str, str]) -> str:
    """One hash over everything that goes into an image."""
    digest = hashlib.sha256()
    for name, value in sorted(arguments.items()):
        digest.update(f"{name}={value}\0".encode())
    for name, file in sorted(context.items()):
        digest.update(f"{name}\0{file.mode:o}\0{len(file.data)}\0".encode() + file.data)
    return digest.hexdigest()[:12]


def tar(context: Context, owners: Mapping[str, tuple[int, int]] | None = None) -> bytes:
    """The files as an archive, owned by root unless owners says otherwise; nothing in it depends on the clock."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, file in sorted(context.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(file.data), file.mode
            info.uid, info.gid = (owners or {}).get(name, (0, 0))
            archive.addfile(info, io.BytesIO(file.data))
    return buffer.getvalue()


def mirrors(sources: str, is_debian: bool) -> tuple[str, str]:
    """The archive and the security archive this machine uses, from the text of its apt sources."""
    lines = [line for line in sources.splitlines() if not line.lstrip().startswith("#")]
    found = re.findall(r"http://\S+", "\n".join(lines)) if is_debian else []
    archive = [url.rstrip("/") for url in found if re.search(r"/debian/?$", url)]
    security = [url.rstrip("/") for url in found if re.search(r"(/debian-security|//security\.debian\.org)/?$", url)]
    return (archive or [DEFAULT_MIRROR])[0], (security or [DEFAULT_SECURITY])[0]


def apt_sources(suite: str, archive: str, security: str) -> str:
    return (
        f"Types: deb\nURIs: {archive}\nSuites: {suite} {suite}-updates\nComponents: main\nSigned-By: {KEYRING}\n\n"
        f"Types: deb\nURIs: {security}\nSuites: {suite}-security\nComponents: main\nSigned-By: {KEYRING}\n"
    )


def apt_options(dump: str, environ: Mapping[str, str]) -> str:
    """The lines of `apt-config dump` without which the archive cannot be reached from here."""
    kept = [line for line in dump.splitlines() if line.split(" ", 1)[0] in APT_OPTIONS]
    for scheme in ("http", "https"):
        proxy = environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY")
        if proxy and not any(line.startswith(f"Acquire::{scheme}::Proxy ") for line in kept):
            kept.append(f'Acquire::{scheme}::Proxy "{proxy}";')
    return "\n".join([*kept, 'Acquire::Languages "none";', ""])


def nameservers(resolv_conf: str) -> list[str]:
    """Name servers that a container can use as well: loopback ones are this machine's alone."""
    words = [line.split() for line in resolv_conf.splitlines()]
    found = [line[1] for line in words if line[:1] == ["nameserver"] and line[1:]]
    return [server for server in found if not server.startswith("127.") and server != "::1" and "%" not in server]


def env_dockerfile(base: str, environment: Mapping[str, str]) -> str:
    """A Dockerfile that only adds variables."""
    lines = [f"FROM {base}"]
    for name, value in sorted(environment.items()):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"environment variable {name!r}: not a name")
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", "\\n")
        lines.append(f'ENV {name}="{escaped}"')
    return "\n".join(lines) + "\n"
