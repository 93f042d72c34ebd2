# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""UFW's files against the kernel, and what else lies in the packet filter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import iptables, ufw
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import Engine
from ansible_collections.daffathan.platform.plugins.module_utils._audit.interfaces import Interface
from ansible_collections.daffathan.platform.plugins.module_utils._audit.judge import judge
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Finding
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Table
from ansible_collections.daffathan.platform.plugins.module_utils._audit.ufw import Ufw
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import Policy
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.tuples import parse

from tests.support.audit_values import HOST4, HOST6, engine, found, host, ids, inner, listener

ANY4 = "0.0.0.0/0"


def rule(text: str, family: int = 4) -> Any:
    return parse(f"### tuple ### {text}", family)


SSH = rule(f"limit tcp 22 {ANY4} any {ANY4} in")
WEB = rule(f"allow tcp 80,443,9000:9010 {ANY4} any {ANY4} in")


def files(*rules: Any, unit: str = "enabled", static: dict[str, str] | None = None, **policy: Any) -> Ufw:
    return Ufw(Policy(**{"enabled": True, "rules4": rules or (SSH, WEB), **policy}), unit, static or {})


def test_files_and_kernel_that_agree() -> None:
    assert ids(host(listener(22), ufw=files()), ({"port": 22}, {"port": 80})) == {"declaration-unused": "low"}


@pytest.mark.parametrize("unit", ["disabled", "masked", "missing"])
def test_a_firewall_that_the_next_boot_does_not_start(unit: str) -> None:
    """Row 16."""
    assert ids(host(ufw=files(SSH, unit=unit)), ({"port": 22},))["firewall-not-at-boot"] == "high"
    assert unit in found(host(ufw=files(SSH, unit=unit)), "firewall-not-at-boot").evidence


def test_rules_in_the_kernel_and_enabled_no() -> None:
    item = found(host(ufw=files(enabled=False)), "firewall-not-at-boot")
    assert item.severity == "high" and "ENABLED=no" in item.evidence
    assert "firewall-not-at-boot" not in ids(host(rules="", ufw=files(enabled=False, unit="disabled")))


@pytest.mark.parametrize(
    ("rules", "differs"),
    [
        ((SSH,), True),
        ((rule(f"deny tcp 80 {ANY4} any {ANY4} in"), WEB), True),
        ((WEB,), False),
        ((rule(f"allow tcp 80 {ANY4} any 10.0.0.0/8 in"),), False),
        ((rule(f"deny tcp 80 {ANY4} any 10.0.0.0/8 in"), WEB), False),
        ((rule(f"allow any 80 {ANY4} any {ANY4} in"),), False),
        ((rule(f"allow udp 80 {ANY4} any {ANY4} in"),), True),
        ((rule(f"allow tcp 80 {ANY4} any {ANY4} out"),), True),
        ((rule(f"route:allow tcp 80 {ANY4} any {ANY4} in"),), True),
    ],
)
def test_the_file_says_deny_and_the_kernel_accepts(rules: tuple[Any, ...], differs: bool) -> None:
    """Case 37."""
    subject = host(listener(80), ufw=files(*rules))
    assert (ids(subject, ({"port": 80},)).get("firewall-differs") == "high") == differs


def test_ipv6_that_the_files_leave_out_and_the_kernel_lets_in() -> None:
    """Row 17."""
    both = [Interface("eth0", 2, (HOST4, HOST6))]
    rules = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
    subject = host(listener(80, "::"), rules="", interfaces=both, ufw=files(ipv6=False))
    assert subject.filter is not None
    subject.filter.tables += iptables.parse(rules, 6, inner, "ip6tables")
    item = [item for item in judged(subject) if item.id == "firewall-inactive" and item.host_ip == "::"]
    assert item and "IPV6=no" in item[0].evidence


def judged(subject: Any) -> list[Finding]:
    return judge(subject, ()).findings


@pytest.mark.parametrize(
    ("text", "stale"),
    [
        (f"allow tcp 9999 {ANY4} any {ANY4} in", True),
        (f"limit tcp 9999 {ANY4} any {ANY4} in", True),
        (f"allow any 9999 {ANY4} any 10.0.0.0/8 in", True),
        (f"deny tcp 9999 {ANY4} any {ANY4} in", False),
        (f"allow tcp 22 {ANY4} any {ANY4} in", False),
        (f"allow tcp 9990:9999 {ANY4} any {ANY4} in", True),
        (f"allow tcp 20:30 {ANY4} any {ANY4} in", False),
        (f"allow tcp 9999 {ANY4} any {ANY4} out", False),
        (f"allow any any {ANY4} any 10.0.0.0/8 in", False),
    ],
)
def test_a_rule_for_a_port_on_which_nobody_listens(text: str, stale: bool) -> None:
    """Row 21."""
    subject = host(listener(22), ufw=files(rule(text)))
    assert (ids(subject).get("undeclared-rule") == "medium") == stale
    assert "undeclared-rule" not in ids(subject, ({"port": 9999}, {"port": 9990}, {"port": 9999, "proto": "udp"}))


@pytest.mark.parametrize(
    ("text", "stale"),
    [
        (f"route:allow tcp 80 172.17.0.9 any {ANY4} in", True),
        (f"route:allow tcp 80 172.17.0.2 any {ANY4} in", False),
        (f"route:allow tcp 80 203.0.113.5 any {ANY4} in", False),
        (f"route:deny tcp 80 172.17.0.9 any {ANY4} in", False),
        (f"route:allow tcp 80 {ANY4} any {ANY4} in", False),
        (f"allow tcp 22 172.17.0.9 any {ANY4} in", False),
    ],
)
def test_a_forward_to_a_container_that_is_gone(text: str, stale: bool) -> None:
    """Row 24: rules that name addresses of containers go stale."""
    subject = host(listener(22), engine=engine(), ufw=files(SSH, rule(text)))
    assert (ids(subject).get("stale-route-rule") == "medium") == stale


BEFORE = "-A INPUT {}\n-A INPUT -j ufw-before-input\n"


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("-p tcp -m tcp --dport 8080 -j ACCEPT", "high"),
        ("-j ACCEPT", "high"),
        ("-s 203.0.113.0/24 -j ACCEPT", "medium"),
        ("-i lo -j ACCEPT", None),
        ("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", None),
        ("-p tcp -m multiport --dports 22 -j DROP", None),
    ],
)
def test_rules_before_those_of_ufw(text: str, severity: str | None) -> None:
    """Row 22."""
    chains = ":INPUT DROP [0:0]\n:ufw-before-input - [0:0]\n"
    subject = host(rules=f"*filter\n{chains}{BEFORE.format(text)}COMMIT\n", ufw=files())
    assert ids(subject).get("accept-before-ufw") == severity
    behind = f"*filter\n{chains}-A INPUT -j ufw-before-input\n-A INPUT {text}\nCOMMIT\n"
    assert "accept-before-ufw" not in ids(host(rules=behind, ufw=files()))


USER = "*filter\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n{}COMMIT\n"


@pytest.mark.parametrize(
    ("text", "kind", "severity"),
    [
        ("-A DOCKER-USER -i eth0 -j ACCEPT\n", "docker-user-accepts", "high"),
        ("-A DOCKER-USER -s 203.0.113.0/24 -j ACCEPT\n", "docker-user-accepts", "medium"),
        ("-A DOCKER-USER -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n", "docker-user-accepts", None),
        ("-A DOCKER-USER -i eth0 -j DROP\n", "docker-user-accepts", None),
        ("-A DOCKER-USER -j RETURN\n", "docker-user-accepts", None),
        ("-A DOCKER-USER -s 192.168.0.0/16 -j RETURN\n", "docker-user-private", "medium"),
        ("-A DOCKER-USER -s 192.168.1.0/24 -j RETURN\n", "docker-user-private", None),
    ],
)
def test_the_chain_for_rules_of_users(text: str, kind: str, severity: str | None) -> None:
    """Row 24."""
    assert ids(host(rules=USER.format(text), guard=False)).get(kind) == severity
    if severity:
        assert ids(host(rules=USER.format(text)))[kind] == "low"


def test_the_nftables_backend_forgets_that_chain() -> None:
    """Case 26 and row 26."""
    drop = USER.format("-A DOCKER-USER -i eth0 -j DROP\n")
    nft = Engine(backend="nftables")
    assert ids(host(rules=drop, engine=nft, guard=False))["docker-user-ignored"] == "high"
    assert ids(host(rules=drop, engine=nft))["docker-user-ignored"] == "medium"
    assert "docker-user-ignored" not in ids(host(rules=drop, engine=Engine(backend="iptables")))
    assert "docker-user-ignored" not in ids(host(rules=USER.format("-A DOCKER-USER -j RETURN\n"), engine=nft))


def test_everything_is_forwarded() -> None:
    """Row 36."""
    rules = "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"
    assert ids(host(rules=rules, guard=False))["forward-policy-accept"] == "medium"
    assert ids(host(rules=rules))["forward-policy-accept"] == "low"
    assert "forward-policy-accept" not in ids(host(rules=rules, forwarding={4: False, 6: False}))
    assert "forward-policy-accept" not in ids(host())


def test_a_section_that_grows_with_every_reload() -> None:
    """Row 25."""
    line = "-A PREROUTING -p tcp -m tcp --dport 81 -j REDIRECT --to-ports 80\n"
    assert "duplicate-nat-rules" not in ids(host(rules=f"*nat\n:PREROUTING ACCEPT [0:0]\n{line}COMMIT\n"))
    twice = f"*nat\n:PREROUTING ACCEPT [0:0]\n{line}{line}COMMIT\n"
    assert ids(host(rules=twice))["duplicate-nat-rules"] == "medium"
    text = "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"
    static = {"/etc/ufw/after.rules": text * 2}
    assert found(host(ufw=files(static=static)), "duplicate-nat-rules").file == "/etc/ufw/after.rules"
    assert "duplicate-nat-rules" not in ids(host(ufw=files(static={"/etc/ufw/after.rules": text})))


def test_the_block_of_ufw_docker() -> None:
    static = {"/etc/ufw/after.rules": "# BEGIN UFW AND DOCKER\n"}
    assert ids(host(ufw=files(static=static)))["ufw-docker-rules"] == "low"
    assert ids(host(ufw=files(static=static), guard=False))["ufw-docker-rules"] == "medium"


def test_two_backends_at_once() -> None:
    """Row 22 and case 37: the legacy tables are asked as well."""
    subject = host(engine=engine())
    assert subject.filter is not None
    old = "*filter\n:INPUT ACCEPT [0:0]\n{}COMMIT\n"
    subject.filter.tables += iptables.parse(old.format(""), 4, inner, "iptables-legacy")
    assert "two-backends" not in ids(subject)
    subject.filter.tables += iptables.parse(old.format("-A INPUT -j ACCEPT\n"), 4, inner, "iptables-legacy")
    assert ids(subject)["two-backends"] == "medium"


def test_the_legacy_backend_alone_is_one_backend() -> None:
    subject = host(rules="")
    assert subject.filter is not None
    subject.filter.tables.append(Table("iptables-legacy filter", (4,)))
    subject.filter.tables += iptables.parse("*filter\n:INPUT DROP [0:0]\nCOMMIT\n", 4, inner, "iptables-legacy")
    assert "two-backends" not in ids(subject)


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_ufw_as_its_files_have_it(tmp_path: Path) -> None:
    problems: list[Finding] = []
    assert ufw.read(problems, str(tmp_path)) is None and not problems
    write(tmp_path, "etc/ufw/ufw.conf", "ENABLED=yes\nLOGLEVEL=low\n")
    write(tmp_path, "etc/default/ufw", 'IPV6=no\nDEFAULT_INPUT_POLICY="DROP"\n')
    assert ufw.read(problems, str(tmp_path)) is None and "DEFAULT_OUTPUT_POLICY" in problems.pop().evidence
    policies = "".join(f'DEFAULT_{name}_POLICY="DROP"\n' for name in ("INPUT", "OUTPUT", "FORWARD"))
    write(tmp_path, "etc/default/ufw", f"IPV6=no\n{policies}")
    write(tmp_path, "etc/ufw/user.rules", f"### tuple ### allow tcp 22 {ANY4} any {ANY4} in\n")
    read = ufw.read(problems, str(tmp_path))
    assert read is not None and not problems and read.unit == "missing"
    assert read.policy.enabled and not read.policy.ipv6 and [item.dport for item in read.policy.rules4] == ["22"]
    write(tmp_path, "usr/lib/systemd/system/ufw.service", "[Service]\n")
    assert ufw.read(problems, str(tmp_path)).unit == "disabled"  # type: ignore[union-attr]
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "ufw.service").symlink_to("/usr/lib/systemd/system/ufw.service")
    assert ufw.read(problems, str(tmp_path)).unit == "enabled"  # type: ignore[union-attr]
    (tmp_path / "etc/ufw/user.rules").unlink()
    (tmp_path / "etc/ufw/user.rules").mkdir()
    assert ufw.read(problems, str(tmp_path)) is None
    assert [(item.id, item.severity) for item in problems] == [("ufw-not-examined", "unknown")]
