# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a person sees of a deploy, in a real browser and through the whole chain: a page, a chat, a login."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import Browser, browsing, install
from tests.support.lab import Host, up
from tests.support.oven import APP, DOMAIN, oven, version
from tests.support.rollout import Call, rollout

# The sample service with a page that chats over a WebSocket, and with a login that is a cookie.
CHAT = '''
import sys
sys.path.insert(0, "/app")
import app
from aiohttp import web
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Chat</title></head><body><ul></ul><script>
let joined = 0, socket;
function join() {
    socket = new WebSocket("wss://" + location.host + "/api/ws");
    socket.onopen = () => { joined += 1; };
    socket.onclose = () => setTimeout(join, 100);
    socket.onmessage = (message) => {
        document.querySelector("ul").appendChild(document.createElement("li")).textContent = message.data;
    };
}
async function until(true_) {
    for (let tries = 0; tries < 200 && !true_(); tries++) await new Promise((next) => setTimeout(next, 50));
}
async function say(text) {
    await until(() => socket.readyState === WebSocket.OPEN);
    socket.send(text);
    await until(() => [...document.querySelectorAll("li")].some((line) => line.textContent === text));
    return [...document.querySelectorAll("li")].map((line) => line.textContent);
}
join();
</script></body></html>
"""
made = app.Service.application
def application(self):
    async def page(request):
        return web.Response(text=PAGE, content_type="text/html")
    async def login(request):
        answer = web.json_response({})
        answer.set_cookie("session", (await request.json())["user"], secure=True, httponly=True, samesite="Lax")
        return answer
    async def me(request):
        return web.json_response({"user": request.cookies.get("session"), "version": self.now.version})
    found = made(self)
    found.router.add_get("/api/chat", page)
    found.router.add_post("/api/login", login)
    found.router.add_get("/api/me", me)
    return found
app.Service.application = application
app.main()
'''
ENTRYPOINT = ["python3", "-c", CHAT]
PAGE = f"https://{DOMAIN}/api/chat"
ME = "return (await fetch('/api/me')).json()"
GRACE = 20


@pytest.fixture(scope="module")
def desk() -> Iterator[Host]:
    host = up("it-desk")
    install(host)
    yield host
    host.down()


@pytest.fixture(scope="module")
def browser(desk: Host, platform_host: Host) -> Iterator[Browser]:
    with browsing(desk, platform_host, DOMAIN) as found:
        yield found


@pytest.fixture
def host(platform_host: Host) -> Iterator[Host]:
    yield platform_host
    rollout(platform_host, {"app": APP, "state": "absent"})


def succeeded(result: dict[str, Any]) -> None:
    assert not result["failed"], result["msg"]


def deployed(host: Host, number: str, **options: Any) -> None:
    succeeded(rollout(host, oven(host, number, entrypoint=ENTRYPOINT, **options)))


def test_a_chat_goes_on_through_a_deploy_without_joining_again(host: Host, browser: Browser) -> None:
    grace = {"drain_timeout": GRACE}
    deployed(host, "1", service=grace)
    browser.open(PAGE)
    assert browser.run("return document.title") == "Chat"
    assert browser.run("return say('before')") == ["before"]
    call = Call(host, oven(host, "2", entrypoint=ENTRYPOINT, service=grace))
    talked = ["before"]
    while version(host) != "2":
        talked.append(f"while {len(talked)}")
        assert browser.run(f"return say('{talked[-1]}')") == talked
    # Whoever asks anew meets the new version; the chat is with the old one until its time is over.
    assert browser.run(ME)["version"] == "2"
    talked.append("after the switch")
    assert browser.run("return say('after the switch')") == talked
    assert browser.run("return joined") == 1
    succeeded(call.result())
    assert browser.run("return say('with the new one')") == [*talked, "with the new one"]
    assert browser.run("return joined") == 2


def test_a_login_is_kept_while_a_canary_grows(host: Host, browser: Browser) -> None:
    deployed(host, "1")
    browser.open(PAGE)
    browser.run("await fetch('/api/login', {method: 'POST', body: JSON.stringify({user: 'ada'})})")
    assert browser.run("return document.cookie").find("session") == -1, "a cookie for the server alone"
    steps = [{"weight": weight, "pause": "manual"} for weight in (20, 50, 80)]
    deployed(host, "2", service={"strategy": "canary"}, canary={"steps": steps})
    met = []
    for promotion in range(4):
        if promotion:
            succeeded(rollout(host, {"app": APP, "state": "promoted"}))
        seen = [browser.run(ME) for _ in range(10)]
        assert {answer["user"] for answer in seen} == {"ada"}
        assert len({answer["version"] for answer in seen}) == 1, "one release at a time"
        met.append(seen[0]["version"])
    assert met == sorted(met), "never back to the old release"
    assert met[-1] == "2"
    browser.open(PAGE)
    assert browser.run(ME) == {"user": "ada", "version": "2"}
