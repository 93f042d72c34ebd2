# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prices, by a formula that changes with the version: what one would try on a part of the users first."""

from __future__ import annotations

from aiohttp import web
from common import Web, setting

service = Web()


async def price(request: web.Request) -> web.Response:
    factor = float(setting("FACTOR", "1.0"))
    base = sum(map(ord, request.match_info["name"])) / 10
    return web.json_response({"name": request.match_info["name"], "price": round(base * factor, 2)})


if __name__ == "__main__":
    service.app.add_routes([web.get("/prices/{name}", price)])
    service.run()
