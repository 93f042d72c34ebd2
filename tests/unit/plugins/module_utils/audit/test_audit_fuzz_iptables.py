# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever iptables-save prints: nothing crashes, and no rule of it gets lost."""

from __future__ import annotations

import contextlib

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import iptables
from ansible_collections.daffathan.platform.plugins.module_utils._audit.iptables_rule import RuleError, words_of
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.audit.samples import PACKETS, asked, inner, rules_of

numbers = st.integers(-1, 70000).map(str)
texts = st.text(alphabet=st.characters(exclude_characters="\n\r", exclude_categories=("Cc", "Zl", "Zp")), max_size=12)
quoted = texts.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
words = st.one_of(
    st.sampled_from(
        [
            *(
                "-m",
                "-p",
                "-j",
                "-g",
                "-i",
                "-o",
                "-s",
                "-d",
                "!",
                "-f",
                "tcp",
                "udp",
                "multiport",
                "conntrack",
                "ACCEPT",
            ),
            *(
                "--dport",
                "--dports",
                "--ctstate",
                "--comment",
                "comment",
                "--to-destination",
                "DNAT",
                "DROP",
                "one",
                "set",
            ),
            *(
                "--match-set",
                "--mark",
                "mark",
                "0x1/0xff",
                "10.0.0.0/8",
                "::/0",
                "1:2",
                "80,443",
                "[::1]:80",
                "1.2.3.4-9",
            ),
            *("REDIRECT", "--to-ports", "NETMAP", "--to", "u32", "--u32", "bpf", "--bytecode", "--tcp-flags", "ALL"),
        ]
    ),
    numbers,
    quoted,
    texts,
)
odd_lines = st.lists(words, max_size=8).map(lambda found: "-A INPUT " + " ".join(found))


@given(st.text(max_size=200))
def test_any_text_is_a_rule_set_or_an_error(text: str) -> None:
    with contextlib.suppress(RuleError):
        iptables.parse(text, 4, inner)


@given(st.lists(odd_lines, max_size=4), st.sampled_from(["nat", "filter", "raw"]))
def test_a_line_is_a_rule_or_an_error(lines: list[str], table: str) -> None:
    text = "\n".join([f"*{table}", ":INPUT DROP [0:0]", ":PREROUTING ACCEPT [0:0]", ":one - [0:0]", *lines, "COMMIT"])
    try:
        tables = iptables.parse(text, 4, inner)
    except RuleError:
        return
    # Text with another kind of line end in it is more than one line.
    expected = [line.strip() for line in text.splitlines() if line.strip().startswith("-A")]
    assert list(dict.fromkeys(rule.text for rule in rules_of(tables))) == list(dict.fromkeys(expected))
    asked(tables)


@given(st.lists(st.one_of(texts.filter(lambda text: text.strip() == text and text), st.just("x")), max_size=5))
def test_quotes_keep_words_together(values: list[str]) -> None:
    line = " ".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values)
    assert [str(word) for word in words_of(line)] == values


# What a rule says that is not evaluated: no packet of it may count as certainly let in or certainly kept out.
NOT_EVALUATED = [
    *("-m u32 --u32 0x0>>0x16&0x3c@0xc=0x1", '-m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"'),
    *('-m string --string "-j DROP" --algo bm --to 65535', "-m set --match-set ports dst", "-m socket", "-m rpfilter"),
    *("-m physdev --physdev-in tap0", "-m owner --uid-owner 0", "-m cluster --cluster-total-nodes 2", "-m made-up"),
    *("-m addrtype --dst-type LOCAL --limit-iface-in", "-p sctp -m sctp --chunk-types any INIT", "-m cpu --cpu 0"),
]


@pytest.mark.parametrize("match", NOT_EVALUATED)
@pytest.mark.parametrize(("target", "policy"), [("ACCEPT", "DROP"), ("DROP", "ACCEPT"), ("NFQUEUE", "DROP")])
def test_a_match_that_is_not_evaluated_decides_nothing(match: str, target: str, policy: str) -> None:
    text = f"*filter\n:INPUT {policy} [0:0]\n-A INPUT {match} -j {target}\nCOMMIT\n"
    for packet, ends in zip(PACKETS, asked(iptables.parse(text, 4, inner))):
        if packet.family == 4 and not (packet.proto != "sctp" and "-p sctp" in match):
            assert ends and (policy == "ACCEPT" or all(end.passage.opaque for end in ends))


@pytest.mark.parametrize(
    "match",
    [
        *(
            "-m limit --limit 3/min",
            "-m hashlimit --hashlimit-upto 1/sec --hashlimit-name x",
            "-m recent --name x --rcheck",
        ),
        *("-m set --match-set friends src", "-m mac --mac-source 02:00:00:00:00:01", "-m ttl --ttl-eq 255"),
        *("-s 192.0.2.0/24", "-m iprange --src-range 192.0.2.1-192.0.2.9", "-p tcp -m tcp --sport 53", "-m time --utc"),
        *('-m comment --comment "it\'s \\"open\\"" -s 192.0.2.1/32', "-p tcp -m multiport --sports 1:1023"),
    ],
)
def test_a_match_that_limits_the_sender_says_so(match: str) -> None:
    text = f"*filter\n:INPUT DROP [0:0]\n-A INPUT {match} -j ACCEPT\nCOMMIT\n"
    found = [end for ends in asked(iptables.parse(text, 4, inner)) for end in ends if end.packet.family == 4]
    assert found and all(end.passage.limits and not end.passage.opaque for end in found)
