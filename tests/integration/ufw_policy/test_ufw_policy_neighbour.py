# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a neighbour meets is what the guard foretells, a session never stalls, and others may use ufw meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import options
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.guard import Peer, verdict
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import InputError, Policy

from tests.support.firewall import OPEN, RULES, SSH, Answer, applied, policy, shell
from tests.support.lab import Host, attacker
from tests.support.neighbour import listen, outcomes, session
from tests.unit.plugins.module_utils.ufw.strategies import OPTIONS

PORTS = range(9101, 9109)
SOURCES = {4: ("10.231.0.6", "10.231.0.240"), 6: ("fd00:231::6", "fd00:231::f0")}
OUTCOMES = {"allow": "connected", "deny": "silent", "reject": "refused"}


@pytest.fixture(scope="module")
def addresses(vps: Host) -> Iterator[None]:
    """A second address of each family for the neighbour, and listeners on the ports of the tests."""
    seconds = [f"{SOURCES[4][1]}/24", f"{SOURCES[6][1]}/64"]
    for address in seconds:
        # Deprecated from the start: what the neighbour does beside these tests may not come from it (RFC 6724, rule 3).
        unasked = ["nodad", "preferred_lft", "0"] if ":" in address else []
        attacker("ip", "address", "add", address, "dev", "eth0", *unasked)
    listen(vps, *PORTS, unit="test-listen-verdicts")
    yield
    for address in seconds:
        attacker("ip", "address", "del", address, "dev", "eth0")


def parsed(rules: list[dict[str, Any]], **changed: Any) -> Policy:
    wanted = {**OPTIONS, "rules": rules, **changed}
    return options.parse_policy(wanted, options.parse_rules(wanted, {}))


def entry(draw: random.Random, host: Host) -> dict[str, Any]:
    """A rule that some of the neighbour's connections meet, or just miss."""
    family = draw.choice([4, 6])
    local = {4: host.address, 6: host.address6}[family]
    network = {4: "10.231.0.0/25", 6: "fd00:231::/124"}[family]
    first = draw.choice(PORTS)
    return {
        "action": draw.choice(["allow", "deny", "reject"]),
        "family": draw.choice(["auto", f"v{family}"]),
        "from": draw.choice(["any", "any", *SOURCES[family], network]),
        "to": draw.choice(["any", "any", local, SOURCES[family][0]]),
        "proto": draw.choice(["tcp", "tcp", "tcp", "udp"]),
        "port": draw.choice([None, str(first), f"{first}:{first + 3}", f"{first},{PORTS[0]}"]),
        "interface_in": draw.choice([None, None, "eth0", "eth+", "eth1"]),
        "log": draw.choice(["none", "none", "new"]),
    }


def rule_set(draw: random.Random, host: Host) -> list[dict[str, Any]]:
    rules = [SSH]
    while len(rules) < 12:
        found = entry(draw, host)
        try:
            parsed([*rules, found])
        except InputError:
            continue
        rules.append(found)
    return rules


@pytest.mark.parametrize("seed", range(6))
def test_the_neighbour_meets_what_the_guard_foretells(host: Host, addresses: None, seed: int) -> None:
    """The evaluator that protects the way in, judged by the kernel."""
    draw = random.Random(seed)
    rules, incoming = rule_set(draw, host), draw.choice(["deny", "reject", "allow"])
    applied(host, rules=rules, defaults={"incoming": incoming})
    stated = parsed(rules, defaults={**OPTIONS["defaults"], "incoming": incoming})
    tried = [
        (source, local, port)
        for local, family in ((host.address, 4), (host.address6, 6))
        for source in SOURCES[family]
        for port in PORTS
    ]
    foretold = [OUTCOMES[verdict(stated, Peer(source, port, local, "eth0"))] for source, local, port in tried]
    assert dict(zip(tried, outcomes(tried), strict=True)) == dict(zip(tried, foretold, strict=True))
    assert len(set(foretold)) > 1, "a set that decides nothing tells nothing"


def test_limit_lets_five_connections_through(host: Host) -> None:
    applied(host, rules=[SSH, {"action": "limit", "port": str(OPEN), "proto": "tcp"}])
    met = [outcomes([(SOURCES[4][0], host.address, OPEN)])[0] for _ in range(8)]
    assert met == ["connected"] * 5 + ["refused"] * 3


def test_a_session_never_stalls(host: Host) -> None:
    """No packet of it is lost: what TCP has to send again waits 200 ms at least."""
    with session(host) as watched:
        applied(host, defaults={"incoming": "reject"}, logging="full")
        applied(host, rules=[SSH, {"action": "deny"}], logging="low")
        applied(host)
        applied(host, state="disabled")
        applied(host)
    assert watched.result()["echoed"] > 100 and watched.result()["retransmitted"] == 0, watched.result()


def test_the_session_that_is_watched_notices_a_lost_packet(host: Host) -> None:
    with session(host) as watched:
        shell(
            host, "iptables -I INPUT -p tcp --dport 22 -j DROP; sleep 0.3; iptables -D INPUT -p tcp --dport 22 -j DROP"
        )
    assert watched.result()["retransmitted"] > 0


# ufw as it is, but slow between reading the rules and asking for the lock: until another program holds it.
LATE_UFW = """
import fcntl, runpy, sys, time, ufw.util
ask = ufw.util.create_lock
def ask_late(lockfile, dryrun):
    open("/run/test-ufw-has-read", "w").close()
    with open(lockfile, "w") as lock:
        while True:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.lockf(lock, fcntl.LOCK_UN)
                time.sleep(0.01)
            except OSError:
                break
    return ask(lockfile, dryrun)
ufw.util.create_lock = ask_late
runpy.run_path("/usr/sbin/ufw", run_name="__main__")
"""


def test_a_ufw_that_read_the_former_rules_does_not_bring_them_back(host: Host) -> None:
    """ufw reads the rules first and takes the lock then: what it writes is what stood there before the policy."""
    host.run("rm", "-f", "/run/test-ufw-has-read")
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(host.run, "python3", "-c", LATE_UFW, "allow", "7301/tcp")
        shell(host, "until [ -e /run/test-ufw-has-read ]; do sleep 0.05; done")
        ours = {"action": "allow", "port": "7300", "proto": "tcp"}
        applied(host, rules=[*RULES, ours], purge="none")
        late.result()
    added = set(host.run("ufw", "show", "added").splitlines())
    assert {"ufw allow 7300/tcp", "ufw allow 7301/tcp"} <= added
    assert not applied(host, rules=[*RULES, ours], purge="none").changed


def test_ten_runs_beside_ten_uses_of_ufw_lose_no_rule(host: Host) -> None:
    """Each run declares a rule of its own; each is confirmed, whichever comes last."""

    def ours(number: int) -> Answer:
        rule = {"action": "allow", "port": str(7100 + number), "proto": "tcp"}
        own: dict[str, Any] = {"rules": [rule], "purge": "tagged", "tag": f"run{number}"}
        return policy(host, **own, lock_timeout=120, rollback_timeout=300, patience=120)

    def theirs() -> None:
        for number in range(10):
            host.run("ufw", "allow", f"{7200 + number}/tcp")

    with ThreadPoolExecutor(11) as pool:
        others = pool.submit(theirs)
        answers = list(pool.map(ours, range(10)))
        others.result()
    assert [answer.result.get("msg") for answer in answers if answer.failed] == []
    assert all(answer.changed and answer.result["rollback"]["confirmed"] for answer in answers)
    added = host.run("ufw", "show", "added").splitlines()
    mine = {f"ufw allow {7100 + number}/tcp comment 'run{number}'" for number in range(10)}
    made = {f"ufw allow {7200 + number}/tcp" for number in range(10)}
    assert {*mine, *made} <= set(added)
    kernel = host.run("iptables", "-S", "ufw-user-input")
    assert all(f"--dport {7100 + number} -j ACCEPT" in kernel for number in range(10))
    assert not host.run("sh", "-c", "ls /var/lib/daffathan 2>/dev/null || true").strip()
    assert applied(host, rules=RULES).changed
