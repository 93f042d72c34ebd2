# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a person sees of a deploy, in a real browser and through the whole chain: a page, a chat, a login."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.app import APP, COMPOSE, other_than, version
from tests.support.browser import Browser, browsing, install
from tests.support.lab import Host, up
from tests.support.load import SITE
from tests.support.rollout import Call, rollout, site

# The demo's service with a page that chats over a WebSocket, and with a login that is a cookie.
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
PAGE = f"https://{SITE}/api/chat"
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
    with browsing(desk, platform_host, SITE) as found:
        yield found


def chatting(host: Host, tag: str, **service: Any) -> dict[str, Any]:
    """The options of the demo's app in a version whose service api chats."""
    model = yaml.safe_load(COMPOSE.read_text())
    model["services"]["api"]["entrypoint"] = ["python3", "-c", CHAT.replace("$", "$$")]
    options = site(host, tag)
    options["compose_file"] = options["compose_file"].replace("compose.yml", "chat.yml")
    host.write(options["compose_file"], json.dumps(model))
    options["services"]["api"] |= service
    return options


def succeeded(result: dict[str, Any]) -> None:
    assert not result["failed"], result["msg"]


def test_a_chat_goes_on_through_a_deploy_without_joining_again(platform_host: Host, browser: Browser) -> None:
    host, old = platform_host, version(platform_host)
    new = other_than(old)
    succeeded(rollout(host, chatting(host, old, drain_timeout=GRACE)))
    browser.open(PAGE)
    assert browser.run("return document.title") == "Chat"
    assert browser.run("return say('before')") == ["before"]
    call = Call(host, chatting(host, new, drain_timeout=GRACE))
    talked = ["before"]
    while version(host) != new:
        talked.append(f"while {len(talked)}")
        assert browser.run(f"return say('{talked[-1]}')") == talked
    # Whoever asks anew meets the new version; the chat is with the old one until its time is over.
    assert browser.run(ME)["version"] == new
    talked.append("after the switch")
    assert browser.run("return say('after the switch')") == talked
    assert browser.run("return joined") == 1
    succeeded(call.result())
    assert browser.run("return say('with the new one')") == [*talked, "with the new one"]
    assert browser.run("return joined") == 2


def test_a_login_is_kept_while_a_canary_grows(platform_host: Host, browser: Browser) -> None:
    host, old = platform_host, version(platform_host)
    new = other_than(old)
    succeeded(rollout(host, chatting(host, old)))
    browser.open(PAGE)
    browser.run("await fetch('/api/login', {method: 'POST', body: JSON.stringify({user: 'ada'})})")
    assert "session" not in browser.run("return document.cookie"), "it is for the server alone"
    steps = [{"weight": weight, "pause": "manual"} for weight in (20, 50, 80)]
    succeeded(rollout(host, {**chatting(host, new, strategy="canary"), "canary": {"steps": steps}}))
    met = []
    for promotion in range(len(steps) + 1):
        if promotion:
            succeeded(rollout(host, {"app": APP, "state": "promoted"}))
        seen = [browser.run(ME) for _ in range(10)]
        assert {answer["user"] for answer in seen} == {"ada"}
        assert len({answer["version"] for answer in seen}) == 1, "one release at a time"
        met.append(seen[0]["version"])
    assert met == sorted(met, key=[old, new].index), "never back to the old release"
    assert met[-1] == new
    browser.open(PAGE)
    assert browser.run(ME) == {"user": "ada", "version": new}
