# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests byte by byte over TLS to this machine, as no client would write them."""

from __future__ import annotations

import asyncio
import re
import ssl

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, ResponseReceived, StreamReset

# Stands for a line feed alone.
LF = "\x01"


async def connect(
    port: int, name: str, protocol: str = "http/1.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, whatever the certificate. :param name: the server's, as TLS names it"""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    unverified.set_alpn_protocols([protocol])
    return await asyncio.open_connection("127.0.0.1", port, ssl=unverified, server_hostname=name)


async def exchange(port: int, name: str, text: str) -> bytes:
    """All that is answered on a connection of its own until the server closes it.

    :param text: what is sent, in which a line break stands for CR LF
    """
    reader, writer = await connect(port, name)
    writer.write(text.replace("\n", "\r\n").replace(LF, "\n").encode("latin-1"))
    try:
        return await asyncio.wait_for(reader.read(), 30)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def statuses(answer: bytes) -> list[int]:
    """Those of the answers, without the word that a body may be sent."""
    found = [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3})", answer)]
    return [status for status in found if status != 100]


async def exchange_http2(port: int, name: str, headers: list[tuple[str, str]], body: bytes = b"") -> int | None:
    """The status of what is answered to these headers, sent as they are; none where the stream is reset."""
    reader, writer = await connect(port, name, "h2")
    careless = H2Configuration(
        header_encoding="latin-1", validate_outbound_headers=False, normalize_outbound_headers=False
    )
    session = H2Connection(careless)
    session.initiate_connection()
    session.send_headers(1, headers, end_stream=not body)
    if body:
        session.send_data(1, body, end_stream=True)
    writer.write(session.data_to_send())
    try:
        while received := await asyncio.wait_for(reader.read(65536), 30):
            for event in session.receive_data(received):
                if isinstance(event, ResponseReceived):
                    return next(int(value) for name, value in event.headers if name in (":status", b":status"))
                if isinstance(event, (StreamReset, ConnectionTerminated)):
                    return None
            writer.write(session.data_to_send())
        return None
    finally:
        writer.close()
