# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What answers to another host, against what the audit of a host says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import probe, verify
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Finding, InputError

HOST, HOST6 = "198.51.100.7", "2001:db8::7"


def entry(port: int, proto: str = "tcp", **more: Any) -> dict[str, Any]:
    return {"proto": proto, "port": port, "family": "ipv4", "path": "input", "why": "", **more}


def audited(*reachable: dict[str, Any], behind: tuple[int, ...] = ()) -> dict[str, Any]:
    candidates = [*({"proto": item["proto"], "port": item["port"]} for item in reachable)]
    return {
        "reachable": list(reachable),
        "candidates": [*candidates, *({"proto": "tcp", "port": port} for port in behind)],
    }


def answered(answer: str, port: int, proto: str = "tcp", address: str = HOST) -> probe.Target:
    return probe.Target(address, proto, port, answer)


def judged(audit: dict[str, Any], *answers: probe.Target) -> list[tuple[str, str, int]]:
    found: list[Finding] = verify.judge(audit, list(answers), "controller")
    return [(item.id, item.severity, item.port) for item in found]


SSH_OPEN = answered(probe.OPEN, 22)


def test_both_agree() -> None:
    assert judged(audited(entry(22), behind=(5432,)), SSH_OPEN, answered(probe.SILENT, 5432)) == []


def test_open_although_the_audit_says_no() -> None:
    found = judged(audited(entry(22), behind=(5432,)), SSH_OPEN, answered(probe.OPEN, 5432))
    assert found == [("verify-open", "critical", 5432)]


@pytest.mark.parametrize("answer", [probe.CLOSED, probe.SILENT])
def test_closed_although_the_audit_says_open(answer: str) -> None:
    audit = audited(entry(22), entry(8080))
    assert judged(audit, SSH_OPEN, answered(answer, 8080)) == [("verify-closed", "low", 8080)]


def test_closed_to_this_host_alone_is_no_finding() -> None:
    audit = audited(entry(22), entry(8080, limits=["from 192.0.2.0/24"]))
    assert judged(audit, SSH_OPEN, answered(probe.SILENT, 8080)) == []


def test_a_silent_udp_port_tells_nothing_and_a_refused_one_does() -> None:
    audit = audited(entry(22), entry(443, "udp"), entry(53, "udp"))
    answers = (SSH_OPEN, answered(probe.SILENT, 443, "udp"), answered(probe.CLOSED, 53, "udp"))
    assert judged(audit, *answers) == [("verify-closed", "low", 53)]


def test_udp_that_answers_undeclared() -> None:
    audit = audited(entry(22))
    assert judged(audit, SSH_OPEN, answered(probe.OPEN, 53, "udp")) == [("verify-open", "critical", 53)]


def test_the_families_are_judged_apart() -> None:
    audit = audited(entry(22), entry(22, family="ipv6"), entry(8080))
    six = (answered(probe.OPEN, 22, address=HOST6), answered(probe.OPEN, 8080, address=HOST6))
    assert judged(audit, SSH_OPEN, answered(probe.OPEN, 8080), *six) == [("verify-open", "critical", 8080)]


def test_the_addresses_are_judged_apart_where_the_audit_knows_them() -> None:
    other = "198.51.100.8"
    audit = audited(entry(22, address=HOST), entry(22, address=other), entry(8080, address=other))
    answers = [answered(probe.OPEN, port, address=address) for port in (22, 8080) for address in (HOST, other)]
    (found,) = verify.judge(audit, answers, "controller")
    assert (found.id, found.host_ip, found.port) == ("verify-open", HOST, 8080)
    assert judged(audit, SSH_OPEN, answered(probe.OPEN, 8080, address="203.0.113.1")) == [], "behind NAT"


@pytest.mark.parametrize(("answer", "word"), [(probe.SILENT, "no port answered"), (probe.NO_WAY, "no route")])
def test_an_address_that_says_nothing_at_all_is_no_proof(answer: str, word: str) -> None:
    (found,) = verify.judge(audited(entry(22), behind=(5432,)), [answered(answer, 22), answered(answer, 5432)], "here")
    assert (found.id, found.severity) == ("verify-no-answer", "unknown")
    assert word in found.evidence


def test_what_is_asked_is_bounded() -> None:
    with pytest.raises(InputError, match=r"verify\.candidates: 8000 questions"):
        verify.targets(audited(*(entry(port) for port in range(1, 4001))), [HOST, HOST6])


@pytest.mark.parametrize(
    ("audit", "addresses", "word"),
    [
        ({"reachable": [], "candidates": []}, [], "verify.addresses: empty"),
        ({"reachable": []}, [HOST], "verify.candidates: missing"),
        ({"candidates": [], "reachable": [{"port": 22}]}, [HOST], "verify.reachable"),
        ({"candidates": [{"proto": "tcp", "port": "x"}], "reachable": []}, [HOST], "verify.candidates"),
        ({"candidates": [], "reachable": []}, ["no such name"], "verify.addresses: no such name"),
    ],
)
def test_bad_input_is_named(audit: dict[str, Any], addresses: list[str], word: str) -> None:
    with pytest.raises(InputError) as error:
        verify.run(audit, addresses, "here", 0.1)
    assert str(error.value).startswith(word)


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that is taken and not listened on: it refuses, and nobody else gets it meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_knocking_at_real_ports(listener: int, nobody: int) -> None:
    asked = [probe.Target("127.0.0.1", "tcp", port) for port in (listener, nobody)]
    assert [item.answer for item in probe.knock_all(asked, 2)] == [probe.OPEN, probe.CLOSED]


def test_knocking_at_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        asked = probe.Target("127.0.0.1", "udp", mute.getsockname()[1])
        assert probe.knock(asked, 0.1).answer == probe.SILENT
    assert probe.knock(asked, 2).answer == probe.CLOSED


def test_a_verification_from_end_to_end(listener: int, nobody: int) -> None:
    audit = audited(entry(nobody), behind=(listener,))
    outcome = verify.run(audit, ["127.0.0.1"], "controller", 2)
    assert [(item.id, item.port) for item in outcome.findings] == [("verify-open", listener), ("verify-closed", nobody)]
