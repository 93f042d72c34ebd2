# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Certificates that users bring along, looked through before a host sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from ansible_collections.daffathan.platform.plugins.module_utils._edge.domains import is_address
from ansible_collections.daffathan.platform.plugins.module_utils._edge.model import Certificate, InputError

# ansible-core brings it along. It is asked for only on the controller.
try:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
except ImportError:
    pass

BEGIN = "-----BEGIN "


def parse_certificate(prefix: str, certificate: str, key: str, domains: Sequence[str], now: datetime) -> Certificate:
    """A certificate that serves all of the domains now.

    :param prefix: what stands before `certificate` and `certificate_key` in the names of the two variables.
    """
    name, secret = f"{prefix}certificate", f"{prefix}certificate_key"
    for variable, text in ((name, certificate), (secret, key)):
        if not text:
            raise InputError(f"{variable}: missing. A certificate and its key are given together, in PEM.")
        if BEGIN not in text:
            raise InputError(
                f"{variable}: is not in PEM (-----BEGIN ...). Give the content, for example with "
                "lookup('ansible.builtin.file', 'example.crt'), not a path."
            )
    chain = _chain(name, certificate)
    _check_key(secret, key, chain[0])
    _check_time(name, chain, now)
    covered = _names(chain[0])
    # One for addresses is rare enough to be left to Caddy.
    missing = [domain for domain in domains if not is_address(domain) and not covers(covered, domain)]
    if missing:
        raise InputError(
            f"{name}: is for {', '.join(covered) or 'no host name'}, not for {', '.join(missing)}. Give one for all "
            "names of the site, or make a site of its own for the others."
        )
    pem = f"{certificate.strip()}\n{key.strip()}\n"
    label = domains[0].replace("*", "wildcard") if domains else "default"
    return Certificate(f"{label}-{hashlib.sha256(pem.encode()).hexdigest()[:12]}.pem", pem, tuple(covered))


def _chain(name: str, text: str) -> list[x509.Certificate]:
    try:
        chain = x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        raise InputError(
            f"{name}: cannot be read as a certificate. Look at it with `openssl x509 -text`; the key belongs into "
            "certificate_key."
        ) from None
    for issued, issuer in zip(chain, chain[1:]):
        if issued.issuer != issuer.subject:
            raise InputError(
                f"{name}: the chain is out of order: {issued.subject.rfc4514_string()} is not issued by the one that "
                f"follows, {issuer.subject.rfc4514_string()}. Put the site's own certificate first, then each issuer."
            )
    return chain


def _check_key(name: str, text: str, certificate: x509.Certificate) -> None:
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise InputError(
            f"{name}: is encrypted, and nobody would be there to type its password. Decrypt it with `openssl pkey` and "
            "keep it in the vault."
        ) from None
    except Exception:
        # What the library says may quote the key.
        raise InputError(f"{name}: cannot be read as a private key. Look at it with `openssl pkey -noout`.") from None
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise InputError(
            f"{name}: does not belong to the certificate for {', '.join(_names(certificate))}. Give the key that the "
            "certificate was requested with; the site's own certificate comes first in its file."
        )


def _check_time(name: str, chain: Sequence[x509.Certificate], now: datetime) -> None:
    for certificate in chain:
        begin = certificate.not_valid_before_utc
        end = certificate.not_valid_after_utc
        subject = ", ".join(_names(certificate)) or certificate.subject.rfc4514_string()
        if now >= end:
            raise InputError(f"{name}: the one of {subject} expired on {end:%Y-%m-%d}. Renew it.")
        if now < begin:
            raise InputError(
                f"{name}: the one of {subject} is valid from {begin:%Y-%m-%d %H:%M} UTC on. Look at the clock of the "
                "controller, or wait."
            )


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]


def covers(names: Sequence[str], domain: str) -> bool:
    """A wildcard stands for one label, as browsers take it."""
    return domain in names or f"*.{domain.partition('.')[2]}" in names
