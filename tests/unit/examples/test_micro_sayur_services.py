# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The services of micro-sayur with PostgreSQL, Redis and RabbitMQ: an event arrives, whatever ends meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import stores
from tests.support.ansible import PROJECT
from tests.support.stores import Process, Rabbit, request

SERVICES = PROJECT / "examples" / "micro-sayur" / "services"
USER = "micro_sayur"


def eventually(answer: Callable[[], Any], wanted: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while (seen := answer()) != wanted:
        assert time.monotonic() < deadline, f"{seen} is not {wanted} after {seconds} s"
        time.sleep(0.1)


@dataclass
class System:
    """All of micro-sayur, with as many consumers as a test starts."""

    place: Path
    broker: Rabbit
    env: dict[str, str]
    users: int
    stack: ExitStack
    count: int = 0

    def start(self, name: str, **env: str) -> tuple[Process, int]:
        port, self.count = stores.free_port(), self.count + 1
        source, log = SERVICES / name / "main.py", self.place / f"{name}-{self.count}.log"
        process = stores.service(source, port, log, SERVICES, **{**self.env, "SERVICE": name, **env})
        process.start()
        self.stack.callback(process.stop)
        return process, port

    def consumer(self, **env: str) -> tuple[Process, int]:
        process, port = self.start("notification-service", **env)
        eventually(lambda: request(port, "/ready").status, 200)
        return process, port

    def add(self, name: str, **headers: str) -> stores.Answer:
        return request(self.users, "/users", {"name": name, "email": f"{name}@example.test"}, **headers)

    def sent(self) -> list[str]:
        """Names of those to whom a notification was sent, as often as one was."""
        found = [json.loads(path.read_text()) for path in (self.place / "sent").glob("*.json")]
        return sorted(item["to"].partition("@")[0] for item in found)

    def lines(self, correlation_id: str) -> set[tuple[str, str]]:
        """Which service said what about a request."""
        found = [
            json.loads(line) for log in self.place.glob("*-service-*.log") for line in log.open() if line[0] == "{"
        ]
        return {(line["service"], line["message"]) for line in found if line.get("correlation_id") == correlation_id}


@pytest.fixture(scope="module")
def system(place: Path) -> Iterator[System]:
    (place / "sent").mkdir()
    with ExitStack() as stack:
        database = stack.enter_context(stores.postgres(place, USER))
        cache = stack.enter_context(stores.redis(place))
        broker = stack.enter_context(stores.rabbitmq(place, USER))
        env = {
            "VERSION": "1.0.0",
            "DATA_DIR": str(place / "sent"),
            **{f"{name}_HOST": "127.0.0.1" for name in ("DB", "REDIS", "RABBITMQ")},
            **{f"{name}_PASSWORD_FILE": str(place / "password") for name in ("DB", "REDIS", "RABBITMQ")},
            "DB_PORT": str(database),
            "REDIS_PORT": str(cache),
            "RABBITMQ_PORT": str(broker.port),
        }
        found = System(place, broker, env, 0, stack)
        _, found.users = found.start("user-service")
        eventually(lambda: request(found.users, "/ready").status, 200)
        yield found


@pytest.fixture(autouse=True)
def fresh(system: System) -> None:
    for path in (system.place / "sent").glob("*.json"):
        path.unlink()


def test_an_event_becomes_one_notification_and_can_be_followed(system: System) -> None:
    consumer, port = system.consumer()
    answer = system.add("ani", X_Request_Id="follow-me")
    assert (answer.status, answer.headers["x-version"]) == (201, "1.0.0")
    eventually(system.sent, ["ani"])
    (sent,) = request(port, "/notifications?to=ani@example.test").body
    assert (sent["user"], sent["text"], sent["version"]) == (answer.body["id"], "Selamat datang, ani!", "1.0.0")
    assert request(port, f"/notifications/{sent['id']}").body == sent
    assert request(port, "/notifications?to=other@example.test").body == []
    assert request(port, "/notifications/..%2f..%2fpassword").status == 404
    expected = {("user-service", "request"), ("user-service", "published"), ("notification-service", "sent")}
    eventually(lambda: system.lines("follow-me"), expected)
    assert "notifications_sent_total 1" in request(port, "/metrics").body
    consumer.stop()


def test_a_user_is_read_through_the_cache(system: System) -> None:
    known = system.add("budi").body
    first, second = (request(system.users, f"/users/{known['id']}") for _ in range(2))
    assert first.body == second.body == known
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert known in request(system.users, "/users").body
    assert request(system.users, "/users/999999").status == 404


def test_what_is_no_user_is_refused_and_tells_nobody(system: System) -> None:
    assert system.add("citra").status == 201
    assert system.add("citra").status == 409
    bodies: list[object] = [{}, [], {"name": "x", "email": "nobody"}, {"name": " ", "email": "a@b"}]
    for body in bodies:
        assert request(system.users, "/users", body).status == 400
    consumer, _ = system.consumer()
    eventually(lambda: "citra" in system.sent(), True)
    assert system.sent().count("citra") == 1
    consumer.stop()


def test_no_event_is_lost_while_consumers_are_replaced_and_killed(system: System) -> None:
    old, _ = system.consumer()
    names = [f"swap{number}" for number in range(200)]
    for number, name in enumerate(names):
        assert system.add(name).status == 201
        if number == 50:
            new, _ = system.consumer(VERSION="1.1.0")
            assert old.stop() == 0, "a consumer that is told to end does so"
        if number == 120:
            # In the middle of its work: what it had taken and not acknowledged is another one's.
            new.stop(signal.SIGKILL)
    last, _ = system.consumer(VERSION="1.2.0")
    eventually(lambda: set(names) <= set(system.sent()), True)
    assert [name for name in system.sent() if name.startswith("swap")] == sorted(names), "each once"
    assert last.stop() == 0


def test_an_event_waits_for_a_broker_that_is_away(system: System) -> None:
    consumer, port = system.consumer()
    system.broker.server.stop()
    eventually(lambda: request(system.users, "/ready").status, 503)
    health = request(system.users, "/health")
    assert (health.status, health.body["status"], health.body["services"]["rabbitmq"]) == (
        200,
        "healthy",
        "disconnected",
    )
    assert system.add("dewi").status == 201
    system.broker.server.start()
    eventually(lambda: "dewi" in system.sent(), True, seconds=40)
    assert [request(number, "/ready").status for number in (system.users, port)] == [200, 200]
    consumer.stop()


JUNK = """
import asyncio, os, sys
import aio_pika
from common import DEAD, EVENT, EXCHANGE

async def main():
    connection = await aio_pika.connect(
        host="127.0.0.1", port=int(os.environ["RABBITMQ_PORT"]), login="micro_sayur", password=sys.argv[1])
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(EXCHANGE)
        await exchange.publish(aio_pika.Message(b"no JSON", correlation_id="junk"), EVENT)
        queue = await channel.get_queue(DEAD)
        message = await queue.get(timeout=10, fail=False)
        while message is None:
            await asyncio.sleep(0.1)
            message = await queue.get(timeout=10, fail=False)
        await message.ack()
        print(message.body.decode())

asyncio.run(asyncio.wait_for(main(), 20))
"""


def test_what_is_no_event_is_put_aside_and_holds_nothing_up(system: System) -> None:
    consumer, _ = system.consumer()
    env = stores.environment(**system.env)
    env["PYTHONPATH"] += f":{SERVICES}"
    argv = [stores.PYTHON, "-c", JUNK, stores.PASSWORD]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "no JSON", done.stderr
    system.add("eko")
    eventually(lambda: "eko" in system.sent(), True)
    consumer.stop()


def test_versions_that_are_broken_on_purpose_are(system: System) -> None:
    process, port = system.start("user-service", FAULT="not-ready")
    eventually(lambda: request(port, "/ready").body["services"]["rabbitmq"], "connected")
    assert (request(port, "/ready").status, request(port, "/health").status) == (503, 200)
    assert process.stop() == 0
    with pytest.raises(AssertionError, match="ended with status 1"):
        system.start("notification-service", FAULT="crash")


@pytest.mark.parametrize("missing", ["RABBITMQ_HOST", "RABBITMQ_PASSWORD_FILE"])
def test_a_setting_that_is_missing_is_named(system: System, missing: str) -> None:
    env = {name: value for name, value in system.env.items() if name != missing}
    source, log = SERVICES / "notification-service" / "main.py", system.place / f"missing-{missing}.log"
    process = stores.service(source, stores.free_port(), log, SERVICES, SERVICE="notification-service", **env)
    with pytest.raises(AssertionError, match="ended with status 1"):
        process.start()
    assert missing in log.read_text()
