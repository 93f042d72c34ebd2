# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a client sees of the sites of role caddy: a real Caddy with the role's own configuration."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tests.support.certificates import Authority
from tests.unit.roles.caddy.served import PAGE, Edge, edge

# The passwords are `test`.
HASH = "$2a$10$gPi3c5W5RhHsxMOtV3nKEebXzCPlfo1JzsgFbkI94mzswp.nYEmi2"
LABS = "labs.example.com"
OTHER: dict[str, Any] = {"domains": ["other.example.com"], "redirect_to": "https://labs.example.com/from"}


def labs(*sites: dict[str, Any], site: dict[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
    return {"apps": [{"name": "labs", "domains": [LABS], "site": site or {}}], "caddy_sites": list(sites), **variables}


def login(name: str, password: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(name, password)}


def served(variables: dict[str, Any], scene: Callable[[Edge], Awaitable[None]], **client: Any) -> None:
    async def play() -> None:
        async with edge(variables, **client) as found:
            await asyncio.wait_for(scene(found), 60)

    asyncio.run(play())


def test_redirects_keep_path_and_query() -> None:
    async def scene(found: Edge) -> None:
        for host, path, status, location in (
            ("www.labs.example.com", "/a%20b/?c=d&e", 301, "https://labs.example.com/a%20b/?c=d&e"),
            ("labs.example.org", "/", 301, "https://labs.example.com/"),
            ("other.example.com", "/x?y", 308, "https://labs.example.com/from/x?y"),
        ):
            answer = await found.get(path, host)
            assert (answer.status, answer.headers["Location"]) == (status, location)
        plain = found.url("/a?b", scheme="http")
        async with found.client.get(plain, allow_redirects=False) as answer:
            assert answer.status == 308
            assert answer.headers["Location"] == f"https://{LABS}/a?b"
        assert (await found.get()).status == 200

    site = {"redirect_from": ["www.labs.example.com", "labs.example.org"], "redirect_status": 301}
    served(labs(OTHER, site=site), scene)


def test_headers_are_added_where_the_app_has_none() -> None:
    async def scene(found: Edge) -> None:
        answer = await found.get()
        assert answer.headers.getall("Strict-Transport-Security") == ["max-age=600; includeSubDomains"]
        assert answer.headers.getall("X-Frame-Options") == ["SAMEORIGIN"]
        assert answer.headers["Content-Security-Policy"] == 'default-src "self"'
        assert "Referrer-Policy" not in answer.headers, "an empty text leaves it out"
        assert not {"Server", "Via", "X-Powered-By"} & set(answer.headers)
        own = await found.get("/?own")
        assert own.headers.getall("X-Frame-Options") == ["DENY"]
        assert own.headers.getall("Strict-Transport-Security") == ["max-age=1"]
        assert "Server" not in (await found.get(host="www.example.com")).headers

    site = {
        "hsts_max_age": 600,
        "hsts_include_subdomains": True,
        "headers": {"content-security-policy": 'default-src "self"', "Referrer-Policy": ""},
        "redirect_from": ["www.example.com"],
    }
    served(labs(site=site), scene)


GUARDED = [
    *("/admin", "/admin/", "/admin/users?x=1", "/ADMIN", "//admin", "/%61dmin", "/x/../admin", "/x/%2e%2e/admin"),
    *("/x/..%2fadmin", "/admin%2fusers", "/admin;x=1", "/.//admin", "/admin?x", "/ops"),
]
OPEN = ["/", "/administrator", "/x/admin", "/admins", "/?/admin"]


def test_a_guarded_path_has_no_other_spelling() -> None:
    async def scene(found: Edge) -> None:
        for path in GUARDED:
            assert (await found.get(path)).status == 401, path
            assert (await found.get(path, headers=login("ops", "guess"))).status == 401, path
            assert (await found.get(path, headers=login("nobody", "test"))).status == 401, path
            assert (await found.get(path, headers=login("ops", "test"))).status == 200, path
        for path in OPEN:
            assert (await found.get(path)).status == 200, path

    served(labs(site={"access_rules": [{"paths": ["/admin", "/ops"], "users": {"ops": HASH}}]}), scene)


@pytest.mark.parametrize(("local", "status"), [("127.0.0.1", 403), ("127.7.0.1", 200)])
def test_an_allow_list_goes_by_the_clients_address(local: str, status: int) -> None:
    async def scene(found: Edge) -> None:
        told = {"X-Forwarded-For": "127.7.0.1", "X-Real-IP": "127.7.0.1"}
        assert (await found.get("/admin", headers=told)).status == status, "nobody is trusted"
        assert (await found.get("/")).status == 200

    served(labs(site={"access_rules": [{"paths": ["/admin"], "allow": ["127.7.0.0/16"]}]}), scene, local=local)


def test_a_rule_with_both_asks_for_both_and_comes_before_directives() -> None:
    async def scene(found: Edge) -> None:
        near, far = {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-For": "198.51.100.9"}
        assert (await found.get("/x", headers=near)).status == 401
        assert (await found.get("/x", headers={**far, **login("ops", "test")})).status == 403
        answer = await found.get("/x", headers={**near, **login("ops", "test")})
        assert (answer.status, found.body) == (200, b"by directives")

    site = {
        "access_rules": [{"allow": ["203.0.113.0/24"], "users": {"ops": HASH}}],
        "directives": 'handle /x {\n\trespond "by directives"\n}',
    }
    served(labs(site=site, caddy_trusted_proxies=["127.0.0.1"]), scene)


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ({"X-Forwarded-For": "203.0.113.9"}, "203.0.113.9"),
        ({"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}, "203.0.113.9"),
        ({"X-Forwarded-For": "198.51.100.1, 203.0.113.9, 10.0.0.7"}, "203.0.113.9"),
        ({"CF-Connecting-IP": "2001:db8::9", "X-Forwarded-For": "198.51.100.1"}, "2001:db8::9"),
        ({}, "127.0.0.1"),
    ],
    ids=["one", "claimed by the client", "two proxies", "header of its own", "none"],
)
def test_the_client_behind_trusted_proxies(headers: dict[str, str], client: str) -> None:
    async def scene(found: Edge) -> None:
        asked = await found.asked(headers=headers)
        assert asked["headers"]["X-Forwarded-For"] == client
        # The line is written when the answer is out already.
        while f'"client_ip":"{client}"' not in (found.directory / "access.log").read_text():
            await asyncio.sleep(0.05)

    proxies = {"caddy_trusted_proxies": ["127.0.0.1", "10.0.0.0/8"]}
    served(labs(**proxies, caddy_client_ip_headers=["CF-Connecting-IP", "X-Forwarded-For"]), scene)


def test_nobody_is_believed_without_trusted_proxies() -> None:
    async def scene(found: Edge) -> None:
        claimed = {
            "X-Forwarded-For": "203.0.113.9",
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": "evil.example.com",
        }
        asked = (await found.asked(headers=claimed))["headers"]
        assert asked["X-Forwarded-For"] == "127.0.0.1"
        assert asked["X-Forwarded-Proto"] == "https"
        assert asked["X-Forwarded-Host"].startswith(LABS)

    served(labs(), scene)


def test_text_is_compressed_where_the_client_takes_it() -> None:
    async def scene(found: Edge) -> None:
        answer = await found.get("/page", headers={"Accept-Encoding": "gzip"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(found.body).decode() == PAGE
        assert "Accept-Encoding" in answer.headers["Vary"]
        best = await found.get("/page", headers={"Accept-Encoding": "gzip, zstd"})
        assert best.headers["Content-Encoding"] == "zstd"
        plain = await found.get("/page", headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in plain.headers
        off = await found.get("/page", "plain.example.com", headers={"Accept-Encoding": "gzip"})
        assert (found.body.decode(), off.headers.get("Content-Encoding")) == (PAGE, None)

    plain = {"name": "plain", "domains": ["plain.example.com"], "site": {"compression": False}}
    variables = labs()
    served({**variables, "apps": [*variables["apps"], plain]}, scene)


@pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson", "application/json", "text/html"])
def test_a_stream_comes_as_it_is_sent(kind: str) -> None:
    """Part by part: the app sends the next one only when the one before has arrived."""

    async def scene(found: Edge) -> None:
        headers = {"Accept-Encoding": "gzip", "Accept": kind}
        pending = found.client.get(found.url(f"/stream?type={kind}"), headers=headers)
        if kind == "text/event-stream":
            answer = await asyncio.wait_for(pending, 20)
            found.app.part.release()
        else:
            found.app.part.release()
            answer = await asyncio.wait_for(pending, 20)
        compressed = kind in ("application/json", "text/html")
        assert answer.headers.get("Content-Encoding") == ("gzip" if compressed else None)
        for _ in range(3):
            assert await asyncio.wait_for(answer.content.readany(), 20)
            found.app.part.release()

    served(labs(), scene)


def test_streams_outlive_a_reload_for_another_site() -> None:
    async def scene(found: Edge) -> None:
        headers = {"Accept": "text/event-stream"}
        events = await found.client.get(found.url("/stream?type=text/event-stream"), headers=headers)
        opened = await found.client.ws_connect(found.url("/socket"))
        found.app.part.release()
        assert (await events.content.readline()).startswith(b"data: 0")
        for number in range(3):
            await found.reload(labs({**OTHER, "domains": [f"other{number}.example.com"]}))
            await opened.send_str(f"message {number}")
            assert await opened.receive_str(timeout=20) == f"message {number}"
        # Longer than the grace period of this test.
        await asyncio.sleep(1.5)
        found.app.part.release()
        found.app.part.release()
        rest = await asyncio.wait_for(events.content.read(), 20)
        assert b"data: 1" in rest and b"data: 2" in rest
        await opened.send_str("still here")
        assert await opened.receive_str(timeout=20) == "still here"

    served(labs(), scene)


def test_without_a_delay_a_reload_ends_them() -> None:
    """What the option is for: the test before could not fail otherwise."""

    async def scene(found: Edge) -> None:
        opened = await found.client.ws_connect(found.url("/socket"))
        await found.reload(labs(OTHER, caddy_stream_close_delay="0"))
        assert (await opened.receive(timeout=20)).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)

    served(labs(caddy_stream_close_delay="0"), scene)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_unknown_host_gets_no_content(scheme: str) -> None:
    async def scene(found: Edge) -> None:
        with pytest.raises(aiohttp.ClientError):
            await found.client.get(found.url(host="unknown.example.com", scheme=scheme), allow_redirects=False)

    served(labs(), scene)


def test_metrics_are_on_an_address_of_their_own() -> None:
    async def scene(found: Edge) -> None:
        at = f"http://localhost:{found.metrics_port}"
        await found.get()
        # Caddy counts a request when its answer has already left; the time of the scene ends a search in vain.
        counted = ""
        while "caddy_http_requests_total{" not in counted:
            await asyncio.sleep(0.05)
            async with found.client.get(f"{at}/metrics", headers={"Accept-Encoding": "identity"}) as answer:
                assert answer.status == 200
                counted = await answer.text()
        async with found.client.get(f"{at}/") as answer:
            assert answer.status == 404
        assert (await found.asked("/metrics"))["path"] == "/metrics", "the app has its own"

    served(labs(caddy_metrics_address="127.0.0.1:9180"), scene)


def test_the_sites_own_certificate_is_served() -> None:
    authority = Authority()
    issued = authority.issue([LABS, "www.labs.example.com"])
    site = {"certificate": issued.certificate, "certificate_key": issued.key, "redirect_from": ["www.labs.example.com"]}

    async def scene(found: Edge) -> None:
        trusted = ssl.create_default_context(cadata=authority.certificate)
        for host in site["redirect_from"], [LABS]:
            assert (await found.get(host=host[0], ssl=trusted)).status in (200, 308)
        with pytest.raises(aiohttp.ClientSSLError):
            await found.get(host="other.example.com", ssl=trusted)

    served(labs(OTHER, site=site), scene)


@pytest.mark.parametrize("offered", [True, False])
def test_http3_is_offered_or_not(offered: bool) -> None:
    async def scene(found: Edge) -> None:
        assert ("h3" in (await found.get()).headers.get("Alt-Svc", "")) is offered

    served(labs(caddy_http3=offered), scene)


def test_a_head_that_is_too_large_is_refused() -> None:
    async def scene(found: Edge) -> None:
        # The app itself takes so many of this length, and Caddy by itself half of 32 KiB.
        head = {f"X-Large-{number}": "x" * 6000 for number in range(7)}
        assert (await found.get(headers=dict(list(head.items())[:4]))).status == 200
        assert (await found.get(headers=head)).status == 431

    served(labs(), scene)


def test_a_client_that_sends_its_head_drop_by_drop_is_sent_away() -> None:
    async def scene(found: Edge) -> None:
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", found.https_port, ssl=unverified, server_hostname=LABS
        )
        writer.write(b"GET / HTTP/1.1\r\n")
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert not answer.startswith(b"HTTP/1.1 200")

    served(labs(caddy_read_header_timeout="1s"), scene)
