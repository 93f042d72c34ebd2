# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes events from the broker and sends a notification for each, once.

In place of a provider of mails there is a directory: a notification is a file, named by the id of its message. An event
that comes a second time finds the file, and is done.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import aio_pika
from aiohttp import web
from common import QUEUE, Broker, Web, log, setting

MESSAGE_ID = re.compile(r"[0-9a-f-]{36}")


class Notifications:
    def __init__(self) -> None:
        self.sent = Path(setting("DATA_DIR"))
        self.broker = Broker(self.consume)
        self.web = Web({"rabbitmq": self.broker.connected})
        self.web.app.cleanup_ctx.append(self.broker.serve)
        self.web.app.add_routes([web.get("/notifications", self.list), web.get("/notifications/{id}", self.get)])

    async def consume(self, channel: aio_pika.abc.AbstractChannel, closed: asyncio.Event) -> None:
        queue = await channel.get_queue(QUEUE)
        # What is not acknowledged when this process ends goes to another one.
        await queue.consume(self.take)
        await closed.wait()

    async def take(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        try:
            user = json.loads(message.body)["user"]
            if not MESSAGE_ID.fullmatch(message.message_id or ""):
                raise ValueError(f"message_id is {message.message_id!r}")
            notification = {"id": message.message_id, "user": user["id"], "to": user["email"]}
            notification["text"] = f"Selamat datang, {user['name']}!"
        except (ValueError, KeyError, TypeError) as error:
            log("error", "not understood", error=repr(error), correlation_id=message.correlation_id)
            # To the queue of dead letters, where somebody can look at it.
            await message.reject(requeue=False)
            return
        fresh = self.send(notification)
        await message.ack()
        if fresh:
            self.web.count("notifications_sent_total")
        text = "sent" if fresh else "was sent before"
        log("info", text, correlation_id=message.correlation_id, message_id=message.message_id)

    def send(self, notification: dict[str, str]) -> bool:
        """Whether it was sent now, and not before."""
        path = self.sent / f"{notification['id']}.json"
        draft = path.with_suffix(f".{os.getpid()}-{os.urandom(4).hex()}")
        with draft.open("w") as file:
            json.dump({**notification, "version": self.web.version}, file)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True

    async def list(self, request: web.Request) -> web.Response:
        """All that were sent, or those to one address."""
        found = [json.loads(path.read_text()) for path in sorted(self.sent.glob("*.json"))]
        to = request.query.get("to")
        return web.json_response([item for item in found if to in (None, item["to"])])

    async def get(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        path = self.sent / f"{name}.json"
        if not MESSAGE_ID.fullmatch(name) or not path.exists():
            return web.json_response({"error": "there is no such notification"}, status=404)
        return web.json_response(text=path.read_text())


if __name__ == "__main__":
    Notifications().web.run()
