# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's certificate authority and the certificate of its registry, made with openssl."""

from __future__ import annotations

from pathlib import Path

from vpslab import shell
from vpslab.config import REGISTRY, REGISTRY_NAME, SERVICES, Lab

DAYS = "3650"


def authority(lab: Lab) -> Path:
    """The certificate of the lab's CA; made at the first call."""
    certificate, key = lab.ca / "ca.crt", lab.ca / "ca.key"
    if not (certificate.exists() and key.exists()):
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        argv += ["-days", DAYS, "-subj", "/CN=daffathan lab CA", "-keyout", str(key), "-out", str(certificate)]
        argv += ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        shell.run(argv)
    return certificate


def registry_directory(lab: Lab) -> Path:
    """The directory with registry.crt and registry.key, as the registry container mounts it."""
    directory = lab.ca / "registry"
    directory.mkdir(exist_ok=True)
    certificate, key = directory / "registry.crt", directory / "registry.key"
    if certificate.exists() and key.exists():
        return directory
    issuer = authority(lab)
    request, extensions = directory / "registry.csr", directory / "registry.ext"
    address = lab.address(SERVICES[REGISTRY])
    names = f"DNS:{REGISTRY_NAME},DNS:localhost,IP:{address.v4},IP:{address.v6},IP:127.0.0.1"
    extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n")
    argv = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    shell.run([*argv, "-subj", f"/CN={REGISTRY_NAME}", "-keyout", str(key), "-out", str(request)])
    argv = ["openssl", "x509", "-req", "-in", str(request), "-CA", str(issuer), "-CAkey", str(lab.ca / "ca.key")]
    argv += ["-CAcreateserial", "-days", DAYS, "-extfile", str(extensions), "-out", str(certificate)]
    shell.run(argv)
    return directory
