# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page: what is in stock, as `api` says."""

from __future__ import annotations

import asyncio
import html

import aiohttp
from aiohttp import web
from common import Web, setting

service = Web()


async def page(_request: web.Request) -> web.Response:
    try:
        # The name leads to the gateway, so that a swap of `api` is none of this service's business.
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(setting("API_URL")) as answer:
            answer.raise_for_status()
            items = await answer.json()
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        return web.Response(text=f"The inventory does not answer: {error!r}", status=502)
    rows = "".join(f"<li>{html.escape(item['name'])}: {item['stock']}</li>" for item in items)
    text = f"<!doctype html><title>TechNova</title><h1>TechNova {html.escape(service.version)}</h1><ul>{rows}</ul>"
    return web.Response(text=text, content_type="text/html")


if __name__ == "__main__":
    service.app.add_routes([web.get("/", page)])
    service.run()
