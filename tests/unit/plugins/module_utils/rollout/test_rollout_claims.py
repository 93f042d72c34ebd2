# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the gateway's files claim, and that of two apps that want the same one is told about the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._docker import nginx
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import gateway
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.claims import check_claims, claims_of
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import (
    HTTP,
    TCP,
    App,
    Release,
    ReleasedService,
    RolloutError,
    Service,
)
from hypothesis import given

from tests.unit.plugins.module_utils.rollout.models import release
from tests.unit.plugins.module_utils.rollout.test_rollout_gateway import ADDRESS, cases, splits


@given(cases())
def test_a_text_claims_what_its_app_asks_for(case: tuple[App, Release]) -> None:
    app, of = case
    claims = claims_of(gateway.render(app, of, ADDRESS))
    assert claims.domains == set(app.domains)
    for protocol in (HTTP, TCP):
        assert claims.ports[protocol] == {service.port for service in app.speaking(protocol)}


@given(splits())
def test_a_canary_claims_no_more(case: tuple[App, Release, gateway.Split]) -> None:
    app, of, split = case
    assert claims_of(gateway.render(app, of, ADDRESS, split)) == claims_of(gateway.render(app, of, ADDRESS))


def text(name: str, port: int, protocol: str = HTTP, *domains: str) -> str:
    app = App(name, domains, (Service("api", port, ("/",) if domains else (), protocol=protocol),))
    service = ReleasedService("api:1", "sha256:1", port, ("10.9.0.128",), protocol=protocol)
    return gateway.render(app, replace(release(), services={"api": service}), ADDRESS)


CLASHES = {
    "domain": (text("a", 80, HTTP, "a.test", "b.test"), text("b", 80, HTTP, "b.test"), "b.test already belongs"),
    "TCP beside HTTP": (text("a", 3000), text("b", 3000, TCP), "port 3000 cannot be served with `protocol: tcp`"),
    "HTTP beside TCP": (text("a", 3000, TCP), text("b", 3000), "port 3000 cannot be served with `protocol: http`"),
}


@pytest.mark.parametrize(("first", "later", "said"), CLASHES.values(), ids=CLASHES)
def test_the_later_one_is_refused_and_both_are_named(first: str, later: str, said: str) -> None:
    # What stays, and what is loaded along, count alike.
    for wanted, others in (({"b": later}, {"a": first}), ({"a": first, "b": later}, {})):
        with pytest.raises(RolloutError) as error:
            check_claims(wanted, others)
        for word in (said, "app a", " b"):
            assert word in str(error.value)


def test_what_goes_and_what_clashed_before_are_in_nobodys_way() -> None:
    first, later, _ = CLASHES["domain"]
    check_claims({"b": later}, {"a": None})
    check_claims({"a": None, "b": later}, {})
    check_claims({"c": text("c", 80, HTTP, "c.test")}, {"a": first, "b": later, "spoiled": "not_a_directive on;"})
    check_claims({"b": text("b", 3000)}, {"a": text("a", 3000)})
    check_claims({"b": text("b", 3000, TCP)}, {"a": text("a", 3000, TCP)})


@pytest.mark.parametrize(("first", "later", "said"), CLASHES.values(), ids=CLASHES)
def test_the_gateway_is_asked_before_anything_is_written(
    first: str, later: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nginx, "DIRECTORY", str(tmp_path))
    for kind in nginx.KINDS:
        (tmp_path / kind).mkdir()
    (tmp_path / "nginx.conf").write_text("")
    nginx._write("a", first)
    before = sorted(tmp_path.rglob("*"))
    # The engine is asked for nothing by then.
    with pytest.raises(RolloutError, match=said):
        nginx.Gateway(None, "b").test_candidate(later)  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == before


def test_what_nginx_has_taken_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx, "DIRECTORY", str(tmp_path))
    for kind in nginx.KINDS:
        (tmp_path / kind).mkdir()
    includes = (f"include {nginx.INSIDE}/{kind}/*.conf;" for kind in nginx.KINDS)
    (tmp_path / "nginx.conf").write_text("\n".join(includes))
    gateway, asked = nginx.Gateway(None, "b"), []  # type: ignore[arg-type]
    monkeypatch.setattr(gateway, "_nginx_test", asked.append)
    for number in (3000, 3001, 3000, 3001):
        gateway.test_candidate(text("b", number))
    assert len(asked) == 2
    # Another app's file is another configuration.
    nginx._write("a", text("a", 3000))
    gateway.test_candidate(text("b", 3000))
    assert len(asked) == 3
