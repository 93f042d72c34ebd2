# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A new release that a part of the users meets first: it goes on, waits for a person, or is taken away."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.support.app import APP, COMPOSE, containers, other_than, version
from tests.support.lab import Host
from tests.support.load import SITE, site_load
from tests.support.rollout import Call, assert_settled, gateway_log, journal, killed_at, looks, rollout, site, state_of

SERVICES = {"ui": 1, "api": 1, "ai": 1}
ANALYSIS = {"min_requests": 40, "interval": 1, "max_wait": 60}
# Every twentieth request fails, as that of a user who meets a rare fault; the health check does not notice.
FAULTY = """
import sys
sys.path.insert(0, "/app")
import app
from aiohttp import web
count = 0
for name in ("version", "index", "slow", "echo", "big"):
    def wrap(good):
        async def handler(self, request):
            global count
            count += 1
            if count % 20 == 0:
                return web.json_response({"error": "on purpose"}, status=500)
            return await good(self, request)
        return handler
    setattr(app.Service, name, wrap(getattr(app.Service, name)))
app.main()
"""
# Which version each of many users meets: one request with the cookie of each, over the gateway's public socket.
USERS = """
import http.client, json, socket, sys
class Gateway(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/daffathan/gateway/public/http.sock")
def ask(path, **headers):
    connection = Gateway(sys.argv[1])
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = json.loads(answer.read())
    return {"version": body["version"].split("/")[-1], "cookie": answer.getheader("Set-Cookie")}
users = {f"{number:032x}": None for number in range(200)}
found = {"users": {key: ask("/api/version", Cookie=f"daffathan_canary={key}")["version"] for key in users}}
found["new"] = ask("/api/version")
found["always"], found["never"] = (ask("/api/version", X_Canary=word)["version"] for word in ("always", "never"))
found["peer"] = {word: ask("/ai/peer", X_Canary=word)["version"] for word in ("always", "never")}
print(json.dumps(found))
"""


def canary(host: Host, tag: str, *steps: tuple[int, object], analysis: dict[str, Any] | None = None) -> dict[str, Any]:
    """The options of the demo's app in another version, which the users of two of its services meet step by step."""
    options = site(host, tag)
    for name in ("api", "ai"):
        options["services"][name]["strategy"] = "canary"
    policy: dict[str, Any] = {"steps": [{"weight": weight, "pause": pause} for weight, pause in steps]}
    if analysis is not None:
        policy["analysis"] = analysis
    return {**options, "canary": policy}


def faulty(options: dict[str, Any], host: Host) -> dict[str, Any]:
    """The same with a service api of which every twentieth answer is an error."""
    model = yaml.safe_load(COMPOSE.read_text())
    model["services"]["api"]["entrypoint"] = ["python3", "-c", FAULTY.replace("$", "$$")]
    path = options["compose_file"].replace("compose.yml", "faulty.yml")
    host.write(path, json.dumps(model))
    return {**options, "compose_file": path}


def users(host: Host) -> dict[str, Any]:
    return dict(json.loads(host.run("python3", "-c", USERS, SITE)))


def succeeded(result: dict[str, Any]) -> dict[str, Any]:
    assert not result["failed"], result["msg"]
    return result


def test_a_healthy_canary_is_promoted_step_by_step_without_a_failed_request(platform_host: Host) -> None:
    host = platform_host
    old = version(host)
    options = canary(host, other_than(old), (25, 6), (60, 4), analysis=ANALYSIS)
    call = Call(host, options, "--check")
    planned = succeeded(call.result())
    assert planned["operations"][-1]["text"].endswith("in steps: 25 % for 6 s, 60 % for 4 s, then all")
    with site_load(host, rate=40) as load:
        succeeded(rollout(host, options))
        report = load.stop()
    assert report.failed == 0, report.describe()
    assert_settled(host, APP, SERVICES)
    assert version(host) == other_than(old)
    begun = [line["weight"] for line in journal(host) if line["step"] == "canary" and line["event"] == "begin"]
    assert begun == [25, 60]
    # The load has no cookies: each of its requests is drawn by itself.
    shares = [
        look["canary"]["requests"] / (look["canary"]["requests"] + look["stable"]["requests"])
        for look in looks(host)[-1:]
    ]
    assert 0.4 < shares[0] < 0.8, looks(host)
    assert looks(host)[-1]["verdict"] == "promote"
    assert succeeded(rollout(host, options))["changed"] is False


def test_errors_abort_the_canary_within_its_first_window(platform_host: Host) -> None:
    host = platform_host
    old, before = version(host), state_of(host, APP)["live"]["id"]
    options = faulty(canary(host, old, (50, 120), analysis=ANALYSIS), host)
    with site_load(host, rate=40) as load:
        result = rollout(host, options)
        report = load.stop()
    assert result["failed"]
    for word in ("met by 50 % of the users", "errors of the canary", f"{before} keeps serving"):
        assert word in result["msg"], result["msg"]
    state = assert_settled(host, APP, SERVICES)
    assert state["live"]["id"] == before
    assert state["history"][-1]["event"] == "aborted"
    last = looks(host)[-1]
    assert last["verdict"] == "abort" and last["stable"]["errors"] == 0, last
    # In half the first window, and "Most often" tells what a person has to look at.
    assert len(looks(host)) < 60, looks(host)
    assert [line["weight"] for line in journal(host) if (line["step"], line["event"]) == ("canary", "begin")] == [50]
    assert "(service api: " in result["msg"], result["msg"]
    # Nothing failed but what the canary failed, and no more users met it than by its weight, give or take what chance
    # does: each request of the load is a user of its own.
    drawn = [line for line in gateway_log(host, journal(host)[0]["at"]) if line["chosen"] == "weight"]
    met = [line for line in drawn if line["release"] != before]
    assert len(met) <= 0.5 * len(drawn) + 4 * (0.25 * len(drawn)) ** 0.5, (len(met), len(drawn))
    assert not [line for line in drawn if line["status"] >= 500 and line["release"] == before]
    assert 3 <= report.failed == len([line for line in met if line["status"] >= 500]), report.describe()
    assert report.failed <= 0.05 * len(met) + 1, (report.failed, len(met))
    assert report.failed_requests == {"status": report.failed}, report.describe()


def test_users_stay_on_their_side_and_a_person_takes_the_canary_on(platform_host: Host) -> None:
    host = platform_host
    old = version(host)
    new = other_than(old)
    options = canary(host, new, (20, "manual"), (60, "manual"))
    waits = succeeded(rollout(host, options))
    assert waits["canary"]["paused"] == "waits to be promoted"
    assert (waits["canary"]["weight"], waits["canary"]["step"]) == (20, 1)
    first = users(host)
    met = {key for key, seen in first["users"].items() if seen == new}
    assert 20 <= len(met) <= 60
    assert users(host)["users"] == first["users"]
    assert (first["always"], first["never"]) == (new, old)
    # Containers of the canary reach their own, those of the live release theirs.
    assert first["peer"] == {"always": new, "never": old}
    cookie = str(first["new"]["cookie"])
    assert cookie.startswith("daffathan_canary=") and "HttpOnly; SameSite=Lax" in cookie
    same = succeeded(rollout(host, options))
    assert same["changed"] is False and same["canary"] == waits["canary"]
    refused = rollout(host, {"app": APP, "state": "rolled_back"})
    assert refused["failed"] and "playbooks/abort.yml" in refused["msg"]
    with site_load(host, rate=20) as load:
        play = host.play("promote")
        assert play.rc == 0, play.output[-4000:]
        for words in (
            "met by 60 % of the users, step 2 of 2",
            "waits to be promoted: ansible-playbook playbooks/promote.yml",
        ):
            assert words in play.output, play.output[-4000:]
        second = users(host)
        met_now = {key for key, seen in second["users"].items() if seen == new}
        assert met < met_now and 90 <= len(met_now) <= 150
        promoted = succeeded(rollout(host, {"app": APP, "state": "promoted"}))
        report = load.stop()
    assert promoted["release"] == waits["canary"]["release"] and "canary" not in promoted
    assert report.failed == 0, report.describe()
    assert_settled(host, APP, SERVICES)
    assert set(users(host)["users"].values()) == {new}
    assert succeeded(rollout(host, {"app": APP, "state": "promoted"}))["changed"] is False


def test_a_person_takes_the_canary_away(platform_host: Host) -> None:
    host = platform_host
    old, before = version(host), containers(host)
    with site_load(host, rate=20) as load:
        waits = succeeded(rollout(host, canary(host, other_than(old), (50, "manual"), analysis=ANALYSIS)))
        assert looks(host)[-1]["verdict"] == "promote"
        play = host.play("abort", "--extra-vars", f"app_release={waits['canary']['release']}")
        report = load.stop()
    assert play.rc == 0, play.output[-4000:]
    assert play.changed(host.name) == 1
    assert report.failed == 0, report.describe()
    assert_settled(host, APP, SERVICES)
    assert containers(host) == before
    assert set(users(host)["users"].values()) == {old}
    assert succeeded(rollout(host, {"app": APP, "state": "aborted"}))["changed"] is False


def test_a_kill_in_a_step_is_made_good_by_the_same_command(platform_host: Host) -> None:
    host = platform_host
    options = canary(host, other_than(version(host)), (20, 2), (60, 2), analysis={**ANALYSIS, "min_requests": 5})
    tag = options["env"]["TAG"]
    with site_load(host, rate=40) as load:
        # Behind fetch, start and ready: the share of the first step, a look, the share of the second, the last switch.
        last = killed_at(host, options, 10)
        assert last is not None and (last["event"], last["step"]) == ("look", "canary")
        candidate = state_of(host, APP)["candidate"]["id"]
        again = killed_at(host, options, 3)
        assert again is not None and again["step"] == "canary"
        result = succeeded(rollout(host, options))
        report = load.stop()
    assert [operation["kind"] for operation in result["operations"]] == ["canary"]
    assert result["release"] == candidate
    assert report.failed == 0, report.describe()
    assert_settled(host, APP, SERVICES)
    assert version(host) == tag


def test_what_cannot_be_is_refused_before_anything_starts(platform_host: Host) -> None:
    host = platform_host
    before = (containers(host), state_of(host, APP))
    options = canary(host, other_than(version(host)), (50, 1), (10, 1))
    result = rollout(host, options)
    assert result["failed"] and "canary.steps[1].weight: 10" in result["msg"] and "grow" in result["msg"]
    assert (containers(host), state_of(host, APP)) == before
