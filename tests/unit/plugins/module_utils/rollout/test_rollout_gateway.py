# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import gateway, streams
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    HTTP,
    TCP,
    App,
    Release,
    ReleasedService,
    RolloutError,
    Service,
)
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.serving_options import parse_serving
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.split import Split
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.rollout.models import APP, SERVED, release

GOLDEN = Path(__file__).with_name("golden")
TEMPLATE = Path(__file__).parents[5] / "roles/gateway/templates/etc/daffathan/gateway/nginx.conf.j2"
ADDRESS = "10.9.0.254"
# Two services on one port, one of them without a route: both are told apart by the name a caller used.
INTERNAL = replace(APP, domains=(), services=(Service("api", 3001), Service("web", 3001)))
# Beside HTTP a broker, which takes connections of any kind.
STREAMS = replace(
    APP, domains=(), services=(Service("api", 3001), Service("broker", 1883, protocol=TCP, idle_timeout=3600))
)
SERVING_OF_API = parse_serving("api", {"port": 3001, "routes": ["/api/"], **SERVED}, APP.domains)
SERVING = replace(APP, services=(replace(APP.services[0], serving=SERVING_OF_API), APP.services[1]))


def with_broker(value: Release) -> Release:
    broker = ReleasedService("broker:1", "sha256:1", 1883, ("10.9.0.131", "10.9.0.132"), protocol=TCP)
    return replace(value, services={"api": value.services["api"], "broker": broker})


def same_port(value: Release) -> Release:
    services = {name: replace(service, port=3001) for name, service in value.services.items()}
    return replace(value, services=services)


def canary(of: Release) -> Release:
    services = {
        name: replace(service, addresses=tuple(address.replace(".1", ".2") for address in service.addresses))
        for name, service in of.services.items()
    }
    return replace(of, id="r20260102t000000-00000002", hash="2" * 64, colour="green", services=services)


SPLIT = Split(canary(release("blue")), 10, frozenset(["web"]))
STREAMS_SPLIT = Split(canary(with_broker(release("blue"))), 10, frozenset())


@pytest.mark.parametrize(
    ("name", "app", "of", "split"),
    [
        ("public", APP, release("blue"), None),
        ("internal", INTERNAL, same_port(release("green")), None),
        ("canary", replace(APP, name="my-labs"), release("blue"), SPLIT),
        ("streams", STREAMS, with_broker(release("blue")), None),
        ("streams-canary", STREAMS, with_broker(release("blue")), STREAMS_SPLIT),
        ("serving", SERVING, release("blue"), None),
    ],
    ids=["public", "internal", "canary", "streams", "streams beside a canary", "with all options of a service"],
)
def test_file_is_as_reviewed(name: str, app: App, of: Release, split: Split | None) -> None:
    assert gateway.render(app, of, ADDRESS, split) == (GOLDEN / f"{name}.conf").read_text()


def blocks(text: str, kind: str) -> list[str]:
    """Top-level blocks of a kind: their text from the opening to the closing brace."""
    return re.findall(rf"^{kind}[^\n]*\{{\n.*?^\}}$", text, re.MULTILINE | re.DOTALL)


def value_of(block: str, directive: str) -> str:
    found = re.findall(rf"^    {directive} ([^;]*);$", block, re.MULTILINE)
    assert len(found) == 1, f"{directive}: {found}"
    return str(found[0])


NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True), min_size=1, max_size=5, unique=True)


@st.composite
def cases(draw: st.DrawFn) -> tuple[App, Release]:
    names = sorted(draw(NAMES))
    tcp = draw(st.sets(st.sampled_from(names)))
    http = [name for name in names if name not in tcp]
    paths = draw(st.lists(st.from_regex(r"/([a-z0-9]{1,5}/)?", fullmatch=True), unique=True, max_size=8 * bool(http)))
    owners = [draw(st.sampled_from(http)) for _ in paths]
    ports = {
        name: 5000 + names.index(name) if name in tcp else draw(st.sampled_from((80, 3000, 3001))) for name in names
    }
    routes = {name: tuple(p for p, owner in zip(paths, owners) if owner == name) for name in names}
    services = tuple(Service(name, ports[name], routes[name], protocol=TCP if name in tcp else HTTP) for name in names)
    domains = tuple(f"{name}.example.test" for name in draw(NAMES)) if paths else ()
    released = {}
    for index, service in enumerate(services):
        count = draw(st.integers(1, 3))
        addresses = tuple(f"10.9.0.{128 + index * 4 + number}" for number in range(count))
        released[service.name] = ReleasedService(
            f"{service.name}:1", "sha256:1", service.port, addresses, protocol=service.protocol
        )
    return App("labs", domains, services), replace(release(), services=released)


@given(cases())
def test_every_route_is_there_once_and_goes_to_its_service(case: tuple[App, Release]) -> None:
    app, of = case
    public = [block for block in blocks(gateway.render(app, of, ADDRESS), "server") if gateway.PUBLIC in block]
    assert len(public) == bool(app.domains)
    found = re.findall(r"^    location (\S+) \{\n +proxy_pass http://([^;]+);$", "".join(public), re.MULTILINE)
    wanted = [(route, f"labs.{service.name}") for service in app.services for route in service.routes]
    assert sorted(found) == (sorted(wanted) if app.domains else [])
    for block in public:
        assert value_of(block, "server_name").split() == list(app.domains)


@given(cases())
def test_every_replica_of_every_service_is_a_server_once(case: tuple[App, Release]) -> None:
    app, of = case
    found = {}
    for block in blocks(gateway.render(app, of, ADDRESS), "upstream"):
        found[block.split()[1]] = re.findall(r"^    server (\S+) ", block, re.MULTILINE)
    wanted = {
        f"labs.{name}": [f"{a}:{service.port}" for a in service.addresses] for name, service in of.services.items()
    }
    assert found == wanted


@given(cases())
def test_east_west_a_caller_reaches_the_service_it_names(case: tuple[App, Release]) -> None:
    app, of = case
    http, tcp = streams.divide(gateway.render(app, of, ADDRESS))
    servers = blocks(http, "server")
    for port in {service.port for service in app.speaking(HTTP)}:
        # The wildcard is bound once per port and serves nobody.
        assert sum(value_of(block, "listen") == str(port) and "return 421;" in block for block in servers) == 1
        mine = [block for block in servers if value_of(block, "listen").split()[0] == f"{ADDRESS}:{port}"]
        assert sum("default_server" in block for block in mine) == 1
        reached = {name: block for block in mine for name in value_of(block, "server_name").split()}
        here = [service.name for service in app.speaking(HTTP) if service.port == port]
        assert set(reached) == {name for base in here for name in (base, f"{base}.labs_private")}
        for name, block in reached.items():
            assert f"proxy_pass http://labs.{name.split('.')[0]};" in block
    reached = {value_of(block, "listen").split()[0]: value_of(block, "proxy_pass") for block in blocks(tcp, "server")}
    assert reached == {f"{ADDRESS}:{service.port}": f"labs.{service.name}" for service in app.speaking(TCP)}


@given(cases())
def test_http_and_streams_are_one_text_and_two_files(case: tuple[App, Release]) -> None:
    app, of = case
    text = gateway.render(app, of, ADDRESS)
    http, tcp = streams.divide(text)
    assert streams.unite(http, tcp or None) == text
    assert bool(tcp) == bool(app.speaking(TCP))
    # Neither has a word that the other context does not know.
    assert not re.search(r"proxy_timeout|proxy_half_close|so_keepalive", http)
    assert not re.search(r"http|location|server_name", tcp)
    assert streams.divide(tcp) == ("", tcp) and streams.divide(http) == (http, "")
    assert streams.unite(None, None) is None


@given(cases(), cases())
def test_files_that_were_not_written_together_announce_nothing_and_name_both(
    one: tuple[App, Release], two: tuple[App, Release]
) -> None:
    new = replace(two[1], id="r20260102t000000-00000002")
    texts = [gateway.render(app, of, ADDRESS) for app, of in (one, (two[0], new))]
    (old_http, old_streams), (_, new_streams) = (streams.divide(text) for text in texts)
    torn = gateway.generation(streams.unite(old_http, new_streams or None))
    if old_streams or new_streams:
        assert torn not in [gateway.generation(text) for text in texts]
        assert gateway.releases_of(torn) == {one[1].id, new.id} if new_streams else {one[1].id}
        # The file for HTTP is the last to be written: it says which release serves.
        assert gateway.release_of(torn) == one[1].id
    if new_streams:
        assert gateway.releases_of(gateway.generation(new_streams)) == {new.id}


@given(cases(), cases())
def test_generation_names_the_release_and_changes_with_the_content(
    one: tuple[App, Release], two: tuple[App, Release]
) -> None:
    texts = [gateway.render(app, of, ADDRESS) for app, of in (one, two)]
    generations = [gateway.generation(text) for text in texts]
    assert {gateway.release_of(generation) for generation in generations} == {release().id}
    assert (generations[0] == generations[1]) == (texts[0] == texts[1])


@st.composite
def splits(draw: st.DrawFn) -> tuple[App, Release, Split]:
    app, of = draw(cases())
    beside = canary(of)
    known = draw(st.sets(st.sampled_from(sorted(of.services))))
    kept = {name: service for name, service in beside.services.items() if name in known}
    users = {service.name for service in app.speaking(HTTP)}
    shared = frozenset(name for name in known & users if draw(st.booleans()))
    sticky, header = draw(st.sampled_from(("cookie", "client", "none"))), draw(st.sampled_from(("X-Canary", None)))
    return app, of, Split(replace(beside, services=kept), draw(st.integers(1, 99)), shared, sticky, header)


@given(splits())
def test_beside_a_canary_every_route_goes_to_both_or_to_the_live_release(case: tuple[App, Release, Split]) -> None:
    app, of, split = case
    text = gateway.render(app, of, ADDRESS, split)
    public = "".join(block for block in blocks(text, "server") if gateway.PUBLIC in block)
    found = re.findall(r"^    location (\S+) \{\n(?: +set .*\n)* +proxy_pass http://([^;]+);$", public, re.MULTILINE)
    wanted = [
        (route, f"${{canary_labs_group}}.{service.name}" if service.name in split.services else f"labs.{service.name}")
        for service in app.services
        for route in service.routes
    ]
    assert sorted(found) == (sorted(wanted) if app.domains else [])
    # Whatever a variable may stand for is there: nginx finds out about a missing one with the first request.
    upstreams = {block.split()[1] for block in blocks(text, "upstream")}
    for name in split.services | set(split.candidate.services):
        assert {f"labs.{name}", f"labs--canary.{name}"} <= upstreams
    assert all(f"{address} labs--canary;" in text for address in split.candidate.addresses)
    # Of the server, and of each form of its own answers, which inherit none beside a header of theirs.
    assert public.count("add_header Set-Cookie") == 3 * (split.sticky == "cookie" and bool(app.domains))


@given(splits())
def test_a_growing_weight_changes_nothing_but_the_share(case: tuple[App, Release, Split]) -> None:
    app, of, split = case
    texts = [gateway.render(app, of, ADDRESS, replace(split, weight=weight)) for weight in (7, 70)]
    differing = [pair for pair in zip(*(text.splitlines() for text in texts)) if pair[0] != pair[1]]
    assert [len(text.splitlines()) for text in texts] == [len(texts[0].splitlines())] * 2
    # The heading of each file, the share and the generation; the canary has the places from 0 on.
    assert len(differing) == (4 if app.speaking(TCP) else 3)
    assert differing[1] == ("    7% canary;", "    70% canary;")
    assert f"{differing[1][0]}\n    * stable;" in texts[0]


@given(splits())
def test_a_generation_beside_a_canary_names_both(case: tuple[App, Release, Split]) -> None:
    app, of, split = case
    found = gateway.generation(gateway.render(app, of, ADDRESS, split))
    assert gateway.release_of(found) == of.id
    assert gateway.releases_of(found) == {of.id, split.candidate.id}
    assert gateway.releases_of(gateway.generation(gateway.render(app, of, ADDRESS))) == {of.id}
    assert gateway.releases_of(None) == frozenset()


def test_a_file_edited_by_hand_is_told() -> None:
    with pytest.raises(RolloutError, match="edited by hand"):
        gateway.generation("server { }\n")


BASE = "http {\n    include /etc/gateway/apps/*.conf;\n}\nstream {\n    include /etc/gateway/streams/*.conf;\n}\n"


@pytest.mark.parametrize("base", ["", "include /etc/gateway/apps/*.conf;\n" * 2], ids=["none", "twice"])
def test_a_base_configuration_without_one_place_for_apps_is_refused(base: str) -> None:
    with pytest.raises(RolloutError, match="Run role gateway again"):
        gateway.test_configuration(base, {"apps": []}, "/etc/gateway")


def test_the_configuration_to_test_has_the_new_files_beside_the_others() -> None:
    files = {
        kind: [f"/etc/gateway/.labs.{kind}.candidate", f"/etc/gateway/{kind}/b.conf"] for kind in ("apps", "streams")
    }
    text = gateway.test_configuration(BASE, files, "/etc/gateway")
    http, stream = text.split("stream {")
    assert re.findall("include ([^;]+);", http) == files["apps"]
    assert re.findall("include ([^;]+);", stream) == files["streams"]


def test_the_test_leaves_the_logs_alone() -> None:
    base = TEMPLATE.read_text()
    text = gateway.test_configuration(base, {"apps": [], "streams": []}, "/etc/gateway")
    assert (base.count("/var/log/gateway/"), text.count("/var/log/gateway/")) == (3, 0)
    assert text.count("access_log /dev/null json;") == 2 and "error_log /dev/null notice;" in text


def test_what_an_app_names_is_in_the_base_configuration() -> None:
    base = TEMPLATE.read_text()
    assert gateway.lacks(base) == []
    assert gateway.lacks(base.replace("$gateway_client {", "$client {")) == ["$gateway_client"]
    # Each of an app's own begins with what it is for.
    text = gateway.render(SERVING, release(), ADDRESS, SPLIT)
    used = set(re.findall(r"\$\{?(gateway_\w+)", text)) - set(re.findall(r"^ +set \$(\w+)", text, re.MULTILINE))
    assert {name for name in used if f"${name} {{" not in base} == set()


def test_a_base_configuration_of_before_streams_serves_apps_without_them() -> None:
    base = BASE.partition("stream {")[0]
    assert gateway.knows_streams(BASE) and not gateway.knows_streams(base)
    files = {"apps": ["/etc/gateway/.labs.apps.candidate"], "streams": []}
    assert ".labs.apps.candidate;" in gateway.test_configuration(base, files, "/etc/gateway")
    with pytest.raises(RolloutError, match="streams.*Run role gateway again"):
        gateway.test_configuration(base, {**files, "streams": ["/etc/gateway/x"]}, "/etc/gateway")
