# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From one firewall to another, on a host that is a few dictionaries."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import kernel, plan, restore, settings, tuples
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import Policy, Rule
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.restore import Table
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.ufw.packets import Refused, load
from tests.unit.plugins.module_utils.ufw.strategies import fresh_files, policies

EMPTY = Table({"INPUT": "ACCEPT", "FORWARD": "ACCEPT", "OUTPUT": "ACCEPT"}, {"INPUT": (), "FORWARD": (), "OUTPUT": ()})
DOCKER = Table(
    {"INPUT": "ACCEPT", "FORWARD": "DROP", "OUTPUT": "ACCEPT"},
    {
        "INPUT": ("-A INPUT -s 203.0.113.0/24 -j f2b-sshd",),
        "FORWARD": ("-A FORWARD -j DOCKER-USER", "-A FORWARD -o docker0 -j ACCEPT"),
        "OUTPUT": (),
        "DOCKER-USER": ("-A DOCKER-USER -j RETURN",),
        "f2b-sshd": ("-A f2b-sshd -j DROP",),
    },
)
SSH = Policy(True, rules4=(Rule(4, "allow", "tcp", "22"),), rules6=(Rule(6, "allow", "tcp", "22"),))
NO_IPV6 = Policy(True, rules4=SSH.rules4, ipv6=False)


class Host:
    """A host on which the steps of a plan can be done, all or the first few."""

    def __init__(self, table: Table = EMPTY) -> None:
        self.files = fresh_files()
        self.tables = {4: table, 6: table}
        self.unit = False

    def plan(self, desired: Policy) -> list[plan.Operation]:
        wanted = {}
        if desired.enabled:
            for family, text in plan.transactions(desired, self.files, dict.fromkeys(self.tables, Table())).items():
                wanted[family] = load(EMPTY, text)
        return plan.plan(desired, self.files, self.tables, wanted, unit_enabled=self.unit)

    def apply(self, desired: Policy, *, steps: int | None = None) -> None:
        for operation in self.plan(desired)[:steps]:
            if operation.kind == "file":
                self.files[operation.path] = operation.content
            elif operation.kind == "load":
                for family, text in plan.transactions(desired, self.files, self.tables).items():
                    self.tables[family] = load(self.tables[family], text)
            elif operation.kind == "stop":
                self.tables = {family: stopped(table) for family, table in self.tables.items()}
            elif operation.kind == "unit":
                self.unit = True


def stopped(table: Table) -> Table:
    """What `ufw-init force-stop` leaves: the chains stay hooked, and are empty."""
    chains = {name: () if name.startswith("ufw") else rules for name, rules in table.chains.items()}
    return Table(dict.fromkeys(table.policies, "ACCEPT"), chains)


def foreign(table: Table) -> dict[str, list[str]]:
    return {
        name: [rule for rule in rules if " -j ufw" not in rule]
        for name, rules in table.chains.items()
        if not name.startswith("ufw")
    }


@given(policies(), policies(), st.sampled_from([EMPTY, DOCKER]))
def test_applied_twice_plans_nothing_the_second_time(first: Policy, second: Policy, table: Table) -> None:
    host = Host(table)
    for desired in (first, second, first):
        host.apply(desired)
        assert host.plan(desired) == []
        assert plan.current_policy(host.files) == desired
        assert all(foreign(host.tables[family]) == foreign(table) for family in (4, 6))


@given(policies(), policies(), st.integers(0, 7))
def test_a_run_that_was_cut_short_is_mended_by_the_next(first: Policy, second: Policy, steps: int) -> None:
    host = Host()
    host.apply(first)
    host.apply(second, steps=steps)
    # The files can be read after every step, and what they say is one of the two in every respect.
    between = plan.current_policy(host.files)
    assert between.rules4 in (first.rules4, second.rules4) and between.enabled in (first.enabled, second.enabled)
    host.apply(second)
    assert host.plan(second) == []


def test_rules_are_written_before_what_they_save_from() -> None:
    steps = Host().plan(replace(SSH, outgoing="deny"))
    paths = [step.path for step in steps if step.kind == "file"]
    assert paths == [plan.USER_RULES[4], plan.USER_RULES[6], plan.DEFAULTS, plan.CONFIGURATION]
    assert [step.kind for step in steps[4:]] == ["load", "unit"]


@given(policies(), st.data())
def test_a_change_always_shows_in_the_description(first: Policy, data: st.DataObject) -> None:
    second = replace(
        data.draw(st.one_of(st.just(first), policies())),
        rules4=tuple(data.draw(st.permutations(first.rules4))),
        rules6=tuple(data.draw(st.permutations(first.rules6[data.draw(st.sampled_from([0, 1])) :]))),
    )
    assert (plan.describe(first) == plan.describe(second)) == (first == second)


@pytest.mark.parametrize(
    ("four", "six", "lines"),
    [
        (("22", "80"), ("22", "80"), ["ufw allow 22/tcp", "ufw allow 80/tcp"]),
        (("22", "80"), ("80", "22"), ["ufw allow 22/tcp (v4)", "ufw allow 80/tcp", "ufw allow 22/tcp (v6)"]),
        (("22", "1:9"), ("22",), ["ufw allow 22/tcp", "ufw allow 1:9/tcp (v4)"]),
        (("80",), ("22", "80", "90"), ["ufw allow 22/tcp (v6)", "ufw allow 80/tcp", "ufw allow 90/tcp (v6)"]),
    ],
)
def test_description_of_both_families(four: tuple[str, ...], six: tuple[str, ...], lines: list[str]) -> None:
    policy = Policy(
        True,
        rules4=tuple(Rule(4, "allow", "tcp", port) for port in four),
        rules6=tuple(Rule(6, "allow", "tcp", port) for port in six),
    )
    assert plan.describe(policy).splitlines()[3:] == lines


def test_description_of_profiles_and_addresses() -> None:
    policy = Policy(
        False,
        rules4=(Rule(4, "deny", src="192.0.2.0/24"), Rule(4, "allow", "tcp", "80,443", dapp="Web Full")),
        rules6=(Rule(6, "deny", src="fd00::/8"),),
    )
    assert plan.describe(policy) == (
        "Status: inactive\nLogging: low\nDefault: deny (incoming), allow (outgoing), deny (routed)\n"
        "ufw deny from 192.0.2.0/24\nufw allow 'Web Full' (80,443/tcp) (v4)\nufw deny from fd00::/8\n"
    )


def enabled_host(table: Table = EMPTY) -> Host:
    host = Host(table)
    host.apply(SSH)
    return host


def changed(table: Table, chain: str, *rules: str) -> Table:
    return Table(table.policies, {**table.chains, chain: rules})


def without(table: Table, chain: str) -> Table:
    return Table(table.policies, {name: rules for name, rules in table.chains.items() if name != chain})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("flushed", "chain ufw-user-input misses `-A ufw-user-input -p tcp --dport 22 -j ACCEPT`"),
        ("opened", "chain ufw-user-input has `-A ufw-user-input -p tcp --dport 9999 -j ACCEPT`"),
        ("policy", "policy of INPUT is ACCEPT, not DROP"),
        ("unhooked", "chain INPUT misses `-A INPUT -j ufw-before-input`"),
        ("shuffled", "chain INPUT has its 6 rules in another order"),
        ("doubled", "chain INPUT has 12 rules, not 6"),
        ("gone", "chain ufw-track-input is missing"),
        ("unloaded", "UFW is not loaded"),
        ("side door", "chain INPUT has `-A INPUT -p tcp --dport 99 -j ufw-user-limit-accept`"),
    ],
)
def test_drift_of_the_kernel_is_told_and_repaired(name: str, expected: str) -> None:
    host = enabled_host()
    good = host.tables[4]
    hooks, rules = good.chains["INPUT"], good.chains["ufw-user-input"]
    host.tables[4] = {
        "flushed": changed(good, "ufw-user-input"),
        "opened": changed(good, "ufw-user-input", *rules, "-A ufw-user-input -p tcp --dport 9999 -j ACCEPT"),
        "policy": Table({**good.policies, "INPUT": "ACCEPT"}, good.chains),
        "unhooked": changed(good, "INPUT", *(rule for rule in hooks if not rule.endswith("ufw-before-input"))),
        "shuffled": changed(good, "INPUT", *reversed(hooks)),
        "doubled": changed(good, "INPUT", *hooks, *hooks),
        "gone": without(good, "ufw-track-input"),
        "unloaded": EMPTY,
        "side door": changed(good, "INPUT", "-A INPUT -p tcp --dport 99 -j ufw-user-limit-accept", *hooks),
    }[name]
    assert expected in plan.difference(host.tables[4], good)
    assert [step.why for step in host.plan(SSH)] == ["load the rules into the kernel (IPv4)"]
    host.apply(SSH)
    assert host.tables[4] == good and host.plan(SSH) == []


@pytest.mark.parametrize(
    ("default", "policy", "skip", "reject", "track"),
    [("allow", "ACCEPT", "ACCEPT", 0, 2), ("deny", "DROP", "DROP", 0, 0), ("reject", "DROP", "REJECT", 1, 0)],
)
def test_chains_that_carry_a_default_policy(default: str, policy: str, skip: str, reject: int, track: int) -> None:
    host = Host()
    host.apply(replace(SSH, incoming=default))
    table = host.tables[6]
    assert table.policies["INPUT"] == policy
    assert table.chains["ufw6-skip-to-policy-input"] == (f"-A ufw6-skip-to-policy-input -j {skip}",)
    assert len(table.chains["ufw6-reject-input"]) == reject and len(table.chains["ufw6-track-input"]) == track
    # The static rules come first, then the rules of the user.
    assert table.chains["ufw6-before-input"][-1] == "-A ufw6-before-input -j ufw6-user-input"


@pytest.mark.parametrize("rule", ["-A INPUT -j DROP", "-A INPUT -p tcp --dport 80 -j ACCEPT"])
def test_jumps_keep_their_place_among_rules_of_others(rule: str) -> None:
    host = enabled_host()
    hooks = host.tables[4].chains["INPUT"]
    # A rule of somebody else behind ours stays behind ours when the policy changes.
    host.tables[4] = changed(host.tables[4], "INPUT", *hooks, rule)
    assert host.plan(SSH) == []
    host.apply(replace(SSH, incoming="reject"))
    assert host.tables[4].chains["INPUT"] == (*hooks, rule)


def test_chains_that_only_have_the_prefix_are_left_alone() -> None:
    host = enabled_host()
    table = changed(host.tables[4], "ufw-docker-logging", "-A ufw-docker-logging -j DROP")
    host.tables[4] = changed(table, "FORWARD", "-A FORWARD -j ufw-docker-logging", *table.chains["FORWARD"])
    assert host.plan(SSH) == []
    host.apply(replace(SSH, logging="full"))
    assert host.plan(replace(SSH, logging="full")) == []
    assert host.tables[4].chains["FORWARD"][0] == "-A FORWARD -j ufw-docker-logging"
    assert host.tables[4].chains["ufw-docker-logging"] == ("-A ufw-docker-logging -j DROP",)


def test_docker_user_in_after_rules_does_not_cost_docker_its_jump() -> None:
    host = enabled_host(DOCKER)
    path = plan.STATIC_RULES[4][1]
    added = ":DOCKER-USER - [0:0]\n-A DOCKER-USER -j ufw-user-forward\nCOMMIT\n"
    head, _commit, _rest = host.files[path].rpartition("COMMIT\n")
    host.files[path] = head + added
    host.apply(replace(SSH, incoming="reject"))
    assert "-A FORWARD -j DOCKER-USER" in host.tables[4].chains["FORWARD"]
    assert host.tables[4].chains["DOCKER-USER"] == ("-A DOCKER-USER -j ufw-user-forward",)


def test_disabling_ends_when_ufw_is_stopped() -> None:
    host = enabled_host()
    off = replace(SSH, enabled=False)
    assert [step.kind for step in host.plan(off)] == ["file", "stop"]
    host.apply(off)
    assert host.plan(off) == [] and not host.tables[4].running
    # Stopped half way: the chains are empty, and everything is dropped.
    closed = {**host.tables[4].policies, "INPUT": "DROP"}
    host.tables[4] = Table(closed, host.tables[4].chains)
    assert [step.kind for step in host.plan(off)] == ["stop"]


def test_docker_closing_the_forward_chain_is_not_ufw() -> None:
    assert not DOCKER.running
    assert not Table(DOCKER.policies, {**DOCKER.chains, "ufw-before-input": ()}).running


def test_files_that_are_right_are_left_as_they_are() -> None:
    host = Host()
    host.files[plan.CONFIGURATION] = "# mine\nENABLED=YES\nLOGLEVEL=low # quiet\n"
    host.files[plan.DEFAULTS] = host.files[plan.DEFAULTS].replace("IPV6=yes", 'IPV6="YES"')
    wanted = plan.wanted_files(SSH, host.files)
    assert all(wanted[path] == host.files[path] for path in (plan.CONFIGURATION, plan.DEFAULTS))
    assert plan.current_policy(host.files).enabled


def test_ipv6_switched_off_is_switched_on() -> None:
    host = Host()
    host.files[plan.DEFAULTS] = host.files[plan.DEFAULTS].replace("IPV6=yes", "IPV6=no")
    assert not plan.current_policy(host.files).ipv6
    host.apply(SSH)
    assert plan.current_policy(host.files).ipv6 and settings.get(host.files[plan.DEFAULTS], "IPV6") == "yes"


def closed_host() -> Host:
    host = enabled_host(DOCKER)
    host.apply(NO_IPV6)
    return host


@given(policies(), policies(ipv6=False), st.sampled_from([EMPTY, DOCKER]))
def test_without_ipv6_only_the_loopback_interface_is_open(first: Policy, second: Policy, table: Table) -> None:
    host = Host(table)
    host.apply(first)
    six = host.files[plan.USER_RULES[6]]
    host.apply(second)
    assert host.plan(second) == [] and host.files[plan.USER_RULES[6]] == six
    assert replace(plan.current_policy(host.files), rules6=()) == second
    if second.enabled:
        closed = host.tables[6]
        assert set(closed.policies.values()) == {"DROP"}
        assert not any(rules for name, rules in closed.chains.items() if name.startswith("ufw"))
        mine = {"INPUT": ["-A INPUT -i lo -j ACCEPT"], "OUTPUT": ["-A OUTPUT -o lo -j ACCEPT"]}
        assert foreign(closed) == {name: mine.get(name, []) + rules for name, rules in foreign(table).items()}
    # And back, as if it had never been.
    host.apply(first)
    assert host.plan(first) == [] and plan.current_policy(host.files) == first
    assert host.tables[6].running == first.enabled


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("opened", "policy of OUTPUT is ACCEPT, not DROP"),
        ("no loopback", "chain INPUT misses `-A INPUT -i lo -j ACCEPT`"),
        ("a rule", "chain ufw6-user-input has `-A ufw6-user-input -p tcp --dport 9999 -j ACCEPT`"),
    ],
)
def test_drift_of_closed_ipv6_is_told_and_repaired(change: str, expected: str) -> None:
    host = closed_host()
    good = host.tables[6]
    host.tables[6] = {
        "opened": Table({**good.policies, "OUTPUT": "ACCEPT"}, good.chains),
        "no loopback": changed(good, "INPUT", *good.chains["INPUT"][1:]),
        "a rule": changed(good, "ufw6-user-input", "-A ufw6-user-input -p tcp --dport 9999 -j ACCEPT"),
    }[change]
    assert plan.difference(host.tables[6], load(EMPTY, plan.transactions(NO_IPV6, host.files, {6: Table()})[6])) == [
        expected
    ]
    assert [step.why for step in host.plan(NO_IPV6)] == ["load the rules into the kernel (IPv6)"]
    host.apply(NO_IPV6)
    assert host.tables[6] == good and host.plan(NO_IPV6) == []


def test_closed_ipv6_after_a_boot_needs_nothing() -> None:
    """ufw itself leaves no chain behind, and Docker adds its own when it starts."""
    host = closed_host()
    loopback = {"INPUT": ("-A INPUT -i lo -j ACCEPT",), "OUTPUT": ("-A OUTPUT -o lo -j ACCEPT",)}
    host.tables[6] = Table(dict.fromkeys(EMPTY.policies, "DROP"), {**DOCKER.chains, **loopback})
    assert host.plan(NO_IPV6) == []


def test_a_kernel_without_ipv6_has_no_table_of_it() -> None:
    host = Host()
    del host.tables[6]
    host.apply(NO_IPV6)
    assert host.plan(NO_IPV6) == [] and list(host.tables) == [4] and host.tables[4].running
    host.apply(replace(NO_IPV6, enabled=False))
    assert not host.tables[4].running


def test_description_without_ipv6() -> None:
    text = "Status: active\nLogging: low\nDefault: deny (incoming), allow (outgoing), deny (routed)\nIPv6: off\n"
    assert plan.describe(NO_IPV6) == text + "ufw allow 22/tcp\n"
    # What the file of IPv6 holds has no effect.
    assert plan.describe(replace(SSH, ipv6=False)) == text + "ufw allow 22/tcp\n"


def test_lines_in_a_file_that_is_not_written_are_no_loss() -> None:
    host = Host()
    host.files[plan.USER_RULES[6]] += "-A ufw6-user-input -j DROP\n"
    assert len(plan.strange_lines(host.files, SSH)) == 1 and plan.strange_lines(host.files, NO_IPV6) == []


def test_garbled_rule_files_are_told_and_replaced() -> None:
    host = enabled_host()
    garbage = f"{tuples.MARK} allow tcp 22 0.0.0.0"
    host.files[plan.USER_RULES[6]] = f"*filter\n{garbage}\n"
    assert plan.strange_lines(host.files, SSH) == [f"{plan.USER_RULES[6]}: {garbage}"]
    host.apply(SSH)
    assert plan.strange_lines(host.files, SSH) == [] and plan.current_policy(host.files) == SSH


SAVED = """# Generated by iptables-save
*mangle
:INPUT DROP [0:0]
-A INPUT -j MARK --set-xmark 0x1
COMMIT
*filter
:INPUT DROP [12:3400]
:OUTPUT ACCEPT [0:0]
:ufw-before-input - [0:0]
:DOCKER - [0:0]
-A INPUT -j ufw-before-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m comment --comment "x -j ufw-y" -j DROP
COMMIT
*raw
:OUTPUT DROP [0:0]
:PREROUTING ACCEPT [0:0]
COMMIT
"""


def test_the_table_in_the_output_of_iptables_save() -> None:
    table = restore.parse(SAVED)
    assert table.policies == {"INPUT": "DROP", "OUTPUT": "ACCEPT"}
    assert table.chains["INPUT"] == ("-A INPUT -j ufw-before-input",)
    assert len(table.chains["ufw-before-input"]) == 2 and table.chains["DOCKER"] == ()
    assert "PREROUTING" not in table.chains
    assert set(table.own().chains) == {"ufw-before-input", *restore.BUILTIN}


@pytest.mark.parametrize(
    ("error", "line", "file"),
    [
        (
            "iptables-restore --noflush: exit status 1: v1.8.9 (nf_tables): line 3: RULE_APPEND failed",
            "-A bad",
            "before.rules",
        ),
        ("iptables-restore --noflush: exit status 2: Error occurred at line: 3", "-A bad", "after.rules"),
        ("ip6tables-restore --noflush: exit status 1: line 2 failed", ":six", "before6.rules"),
        ("ip6tables-save -t filter: exit status 1: line 2 failed", ":six", "after6.rules"),
    ],
)
def test_what_the_kernel_refuses_is_shown(error: str, line: str, file: str) -> None:
    family, transaction = (6, "*filter\n:six\n") if error.startswith("ip6") else (4, "*filter\n:four\n-A bad\n")
    message = kernel.explain(error, family, transaction)
    assert f"`{line}`" in message and file in message and error in message and "nothing was changed" in message
    assert "It stopped" not in kernel.explain("iptables-restore: exit status 4: locked", 4, "")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "Warning: Extension ipvs revision 0 not supported, missing kernel module? | "
            "iptables-restore v1.8.9 (nf_tables): | line 3: RULE_APPEND failed (No such file or directory): rule in x",
            ["The kernel has no `ipvs`", "modprobe xt_ipvs", "a container uses the modules of the machine"],
        ),
        (
            "iptables-restore v1.8.9 (nf_tables): Couldn't load match `quota2':No such file or directory | "
            "Error occurred at line: 3",
            ["iptables knows no match `quota2`."],
        ),
        ("iptables-restore v1.8.9: line 3: RULE_APPEND failed (Invalid argument)", ["It stopped at `-A bad`. Correct"]),
    ],
)
def test_what_the_kernel_lacks_is_named(said: str, words: list[str]) -> None:
    message = kernel.explain(f"iptables-restore --noflush: exit status 4: {said}", 4, "*filter\n:four\n-A bad\n")
    assert all(word in message for word in words) and said in message


def test_the_target_of_a_rule_is_not_in_its_comment() -> None:
    assert restore.target('-A INPUT -m comment --comment "a -j ufw-x" -j DROP') == "DROP"
    assert restore.target("-A INPUT -g ufw-x") == "ufw-x" and restore.target("-A INPUT -p tcp") == ""


def test_the_tests_own_iptables_refuses_what_the_real_one_does() -> None:
    for text in ("-A nowhere -j DROP", "-D INPUT -j ufw-before-input"):
        with pytest.raises(Refused):
            load(EMPTY, text)
