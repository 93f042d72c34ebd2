# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Which rules stay though they are not declared, and the tag that marks those that are."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._ufw import shadow
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import InputError, Policy, Rule


@dataclass(frozen=True)
class Purge:
    """What happens to rules that are not declared."""

    mode: str = "all"
    tag: str = ""
    keep: tuple[str, ...] = ()

    def pinned(self, rule: Rule) -> bool:
        """Whether a pattern keeps the rule, and keeps it where it is: a rule without a comment matches none."""
        return bool(rule.comment) and any(fnmatch.fnmatchcase(rule.comment, pattern) for pattern in self.keep)

    def stays(self, rule: Rule) -> bool:
        if self.mode == "none" or self.pinned(rule):
            return True
        return self.mode == "tagged" and not has_tag(rule.comment, self.tag)


def parse(options: Mapping[str, Any]) -> Purge:
    """The options `purge`, `purge_keep` and `tag`; what makes no sense together is refused."""
    mode, tag, keep = options["purge"], options["tag"] or "", tuple(options["purge_keep"])
    if options["tag"] is not None and (not tag or tag.endswith(":") or not _is_word(tag)):
        raise InputError(
            f"tag: {tag!r} cannot mark rules. Give one word without spaces, quotes or a colon at its end, for example "
            "`platform`."
        )
    if mode == "tagged" and not tag:
        raise InputError(
            "tag: `purge: tagged` removes rules by the tag in their comment, and there is none. "
            "Give one, for example `tag: platform`; or set `purge` to all or none."
        )
    for index, pattern in enumerate(keep):
        if not pattern.strip():
            raise InputError(
                f"purge_keep[{index}]: {pattern!r} matches no comment. Remove it, or write a pattern such as "
                "'by Fail2Ban*'."
            )
    if mode == "all" and not options["rules"] and not options["allow_empty"]:
        raise InputError(
            "rules: the list is empty, and `purge: all` would remove every rule of the host. Give rules, set "
            "`purge: none` to keep those that are there, or `allow_empty: true` if this is meant."
        )
    return Purge(mode, tag, keep)


def with_undeclared(desired: Policy, current: Policy, purge: Purge) -> Policy:
    """The wanted policy with those rules that are there, are not declared, and stay."""
    return replace(
        desired,
        rules4=_merged(desired.rules4, current.rules4, purge),
        rules6=_merged(desired.rules6, current.rules6, purge) if desired.ipv6 else (),
    )


def _merged(mine: tuple[Rule, ...], theirs: tuple[Rule, ...], purge: Purge) -> tuple[Rule, ...]:
    """Declared rules come first, in effect: what stands in front of them now stays there if it can change nothing.

    Otherwise two tasks that each own some of the rules would move them about for ever.
    """
    declared = {rule.identity for rule in mine}
    places = [place for place, rule in enumerate(theirs) if rule.identity in declared]
    front: list[Rule] = []
    behind: list[Rule] = []
    for place, rule in enumerate(theirs):
        if rule.identity in declared or not purge.stays(rule):
            continue
        ahead = place < places[0] if places else purge.pinned(rule)
        # A ban behind the rule that opens the port would be none.
        if ahead and (purge.pinned(rule) or not any(shadow.overlaps(rule, other) for other in (*mine, *behind))):
            front.append(rule)
        else:
            behind.append(rule)
    return (*front, *mine, *behind)


def _is_word(tag: str) -> bool:
    return tag.isprintable() and not any(character.isspace() or character in "'\"`" for character in tag)


def has_tag(comment: str, tag: str) -> bool:
    return comment == tag or comment.startswith(f"{tag}: ")


def mark(comment: str, tag: str, where: str) -> str:
    """The comment of a declared rule as it is written."""
    if has_tag(comment, tag):
        raise InputError(
            f"{where}.comment: {comment!r} begins with the tag, which is put in front of every comment. "
            f"Leave out `{tag}`, or choose another `tag`."
        )
    return f"{tag}: {comment}" if comment else tag


def refuse_to_lose(purge: Purge, strange: Sequence[str]) -> None:
    """Refuse lines that no rule can be made of, where rules are to stay."""
    if strange and purge.mode != "all":
        raise InputError(
            f"purge: `{purge.mode}` cannot keep what is no rule of ufw ({'; '.join(strange)}). Nothing was changed. "
            "Say it as an entry of `rules` or in /etc/ufw/before.rules, and remove the line; or set `purge: all` to "
            "drop it."
        )
