# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which TLS a site speaks."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from tests.unit.roles.caddy.served import Edge, edge

SITE = "labs.example.com"
# With forward secrecy and authenticated encryption, for a key of the kind that the site has.
GOOD = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305")
BAD = (
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-ECDSA-AES128-CCM8",
    "AES128-SHA",
    "AES256-GCM-SHA384",
)


def offering(least: ssl.TLSVersion, most: ssl.TLSVersion, suites: str = "ALL:@SECLEVEL=0") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(suites)
    context.minimum_version, context.maximum_version = least, most
    return context


async def spoken(found: Edge, context: ssl.SSLContext) -> str | None:
    """The version agreed on, or none."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", found.https_port, ssl=context, server_hostname=SITE)
    except (ssl.SSLError, ConnectionError):
        return None
    version: str = writer.get_extra_info("ssl_object").version()
    writer.close()
    return version


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_and_weak_suites_are_refused() -> None:
    two, three = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

    async def play() -> None:
        async with edge({"apps": [{"name": "labs", "domains": [SITE]}]}) as found:
            assert await spoken(found, offering(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)) is None
            assert await spoken(found, offering(three, three)) == "TLSv1.3"
            for suite in GOOD:
                assert await spoken(found, offering(two, two, f"{suite}:@SECLEVEL=0")) == "TLSv1.2", suite
            for suite in BAD:
                assert await spoken(found, offering(two, two, f"{suite}:@SECLEVEL=0")) is None, suite

    asyncio.run(play())
