# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Which packets rules have in common, and rules that no packet reaches since an earlier one takes all of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

from ansible_collections.daffathan.platform.plugins.module_utils._ufw import tuples
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import Rule, network

# Of ports; small enough to tell rules apart, and large enough for one that is for many ports.
_BLOCK = 64


def covers(first: Rule, second: Rule) -> bool:
    """Whether the first rule matches every packet that the second does."""
    return (
        first.family == second.family
        and first.chain == second.chain
        and _protocols_cover(first, second)
        and _ports_cover(first.dport, second.dport)
        and _ports_cover(first.sport, second.sport)
        and _interface_covers(first.interface_in, second.interface_in)
        and _interface_covers(first.interface_out, second.interface_out)
        and network(second.src).subnet_of(network(first.src))  # type: ignore[arg-type]
        and network(second.dst).subnet_of(network(first.dst))  # type: ignore[arg-type]
    )


def overlaps(first: Rule, second: Rule) -> bool:
    """Whether there may be a packet that both match, so that their order matters."""
    return (
        first.chain == second.chain
        and _ports_meet(first.dport, second.dport)
        and _protocols_meet(first, second)
        and _ports_meet(first.sport, second.sport)
        and _interfaces_meet(first.interface_in, second.interface_in)
        and _interfaces_meet(first.interface_out, second.interface_out)
        and network(first.src).overlaps(network(second.src))
        and network(first.dst).overlaps(network(second.dst))
    )


def covered(rules: Sequence[Rule]) -> Iterator[tuple[Rule, Rule]]:
    """Each rule of one family that can never match, with the first one that covers it."""
    # Thousands of rules that differ in port or source are common, and each pair of them would be too many.
    index: dict[tuple[str, str, str | int], list[int]] = {}
    prefixes: set[int] = set()
    for place, rule in enumerate(rules):
        candidates = sorted(
            earlier
            for source in _supernets(rule.src, prefixes)
            for port in ("any", _blocks(rule.dport)[0])
            for earlier in index.get((rule.chain, source, port), ())
        )
        found = next((rules[earlier] for earlier in candidates if covers(rules[earlier], rule)), None)
        if found is not None:
            # What this one covers, the other does too: it need not be in the index.
            yield rule, found
            continue
        source = network(rule.src)
        prefixes.add(source.prefixlen)
        for port in _blocks(rule.dport):
            index.setdefault((rule.chain, str(source), port), []).append(place)


def warnings(declared: Mapping[Rule, str]) -> list[str]:
    """A sentence for each entry that can never match, in whole or in part.

    :param declared: the rules of both families with the entry that each comes from.
    """
    hits: dict[str, list[tuple[Rule, Rule]]] = {}
    for family in (4, 6):
        for rule, by in covered([rule for rule in declared if rule.family == family]):
            hits.setdefault(declared[rule], []).append((rule, by))
    return [_sentence(entry, pairs, declared) for entry, pairs in hits.items()]


def _sentence(entry: str, pairs: Sequence[tuple[Rule, Rule]], declared: Mapping[Rule, str]) -> str:
    whole = len(pairs) == sum(where == entry for where in declared.values())
    what = entry if whole else f"{entry}, as far as it is {_listed(_text(rule) for rule, _by in pairs)},"
    by = _listed(f"{declared[by]} (`{tuples.command(by)}`)" for _rule, by in pairs)
    return f"{what} can never match: all of its packets meet {by} first. Remove it, or put it in front."


def _text(rule: Rule) -> str:
    ports = f", {rule.dport}/{rule.proto}" if rule.dapp else ""
    return f"`{tuples.command(rule)}` (v{rule.family}{ports})"


def _listed(texts: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(texts))


def _protocols_cover(first: Rule, second: Rule) -> bool:
    if first.proto == "any":
        # With a port it is TCP and UDP, and where the second has no port the ports do not cover it anyway.
        return True
    return first.proto == second.proto


def _protocols_meet(first: Rule, second: Rule) -> bool:
    if first.proto == second.proto:
        return True
    other = second.proto if first.proto == "any" else first.proto
    ported = {first.dport, first.sport, second.dport, second.sport} != {"any"}
    return "any" in (first.proto, second.proto) and (other in ("tcp", "udp") or not ported)


def _interface_covers(first: str, second: str) -> bool:
    if not first or first == second:
        return True
    return bool(second) and first.endswith("+") and second.startswith(first[:-1]) or first == "+"


def _interfaces_meet(first: str, second: str) -> bool:
    if not first or not second:
        return True
    return any(_interface_covers(*pair) for pair in ((first, second), (second, first)))


def _ports_meet(first: str, second: str) -> bool:
    if "any" in (first, second) or first == second:
        return True
    return any(a <= d and c <= b for a, b in _spans(first) for c, d in _spans(second))


def _ports_cover(first: str, second: str) -> bool:
    if first == "any" or first == second:
        return True
    if second == "any":
        return False
    spans = _spans(first)
    return all(any(low <= start and end <= high for low, high in spans) for start, end in _spans(second))


@cache
def _spans(ports: str) -> list[tuple[int, int]]:
    """Ports as ranges that neither meet nor touch."""
    ranges = []
    for part in ports.split(","):
        first, _colon, last = part.partition(":")
        ranges.append((int(first), int(last or first)))
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _blocks(ports: str) -> list[str | int]:
    """Where a rule stands in the index: what covers it stands in the first of its blocks, or under "any"."""
    if ports == "any":
        return ["any"]
    return sorted({block for low, high in _spans(ports) for block in range(low // _BLOCK, high // _BLOCK + 1)})


def _supernets(text: str, prefixes: Iterable[int]) -> Iterator[str]:
    whole = network(text)
    for prefix in prefixes:
        if prefix <= whole.prefixlen:
            yield str(whole.supernet(new_prefix=prefix))
