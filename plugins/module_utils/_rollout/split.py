# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Sharing out the users of an app between the live release and a canary, as nginx reads it.

A user's place is a hash of a key and of the canary's id. The canary takes the places from 0 to its weight, so a growing
weight moves users to the canary and never back, and the next canary meets other users.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.daffathan.platform.plugins.module_utils._rollout import selection
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import Release, RolloutError
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import Route, State
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.traffic import DRAWN

COOKIE = "daffathan_canary"
COOKIE_SECONDS = 7 * 24 * 3600
_KNOWN = "~^[0-9a-f]{32}$"


@dataclass(frozen=True)
class Split:
    """`services` are those that users meet in the new version; containers of the canary meet all of them."""

    candidate: Release
    weight: int
    services: frozenset[str]
    sticky: str = "cookie"
    header: str | None = "X-Canary"


def split_of(state: State) -> Split:
    """How the users are shared out in the step that a canary is in."""
    if state.trial is None or state.candidate is None or state.next_route is None:
        raise RolloutError(f"state.json of {state.app} has no canary.")
    canary = state.trial.canary
    both = {
        name
        for name, service in state.candidate.services.items()
        if state.live is None
        or name not in state.live.services
        or state.live.services[name].protocol == service.protocol
    }
    beside_live = selection.beside(state.candidate, workers=False).only(both)
    weight = canary.steps[state.trial.step].weight
    return Split(beside_live, weight, tried(state, state.next_route), canary.sticky, canary.header)


def tried(state: State, route: Route) -> frozenset[str]:
    """The services that a canary lets users meet: they are new only in their version."""
    if state.live is None or state.route is None:
        return frozenset()
    known = {name for name, service in state.route.services.items() if service["routes"]} & set(state.live.services)
    return frozenset(name for name in known if route.services.get(name, {}).get("strategy") == "canary")


def variable(app: str, what: str) -> str:
    """A variable of nginx for one app: its name has no hyphen, and that of an app no underscore."""
    return f"$canary_{app.replace('-', '_')}_{what}"


def group(app: str) -> str:
    """What the names of a canary's upstreams begin with. No app has such a name."""
    return f"{app}--canary"


def for_users(app: str, service: str) -> tuple[str, str]:
    """For a request of a user: what says which release it met and why, and the name of the upstream."""
    release, chosen = variable(app, "release"), variable(app, "chosen")
    return f"set $gateway_release {release};\nset $gateway_chosen {chosen};", _upstream(app, "group", service)


def for_containers(app: str, service: str) -> tuple[str, str]:
    """The same for a request from inside the app's network."""
    release = variable(app, "caller_release")
    return f"set $gateway_release {release};\nset $gateway_chosen caller;", _upstream(app, "caller", service)


def for_streams(app: str, service: str) -> tuple[str, str]:
    """The same for a connection from inside the app's network that is no HTTP."""
    return f"    set $gateway_release {variable(app, 'caller_release')};", _upstream(app, "caller", service)


def _upstream(app: str, what: str, service: str) -> str:
    return f"${{{variable(app, what)[1:]}}}.{service}"


def cookie_header(app: str, split: Split) -> str:
    """The directive that gives a user without a key one; nothing where no cookie is used."""
    return f"    add_header Set-Cookie {variable(app, 'cookie')} always;\n" if split.sticky == "cookie" else ""


def maps(app: str, live: Release, split: Split) -> str:
    """Who meets which release."""
    candidate = split.candidate.id

    def name(what: str) -> str:
        return variable(app, what)

    def choice(source: str, target: str, default: str, values: dict[str, str]) -> str:
        return _choice(app, source, target, default, values)

    text = ""
    key = {"client": "$remote_addr", "none": "$request_id"}.get(split.sticky)
    if key is None:
        key = name("key")
        cookie = f"$cookie_{COOKIE}"
        attributes = f"Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax{name('secure')}"
        text += choice(cookie, "key", "$request_id", {f'"{_KNOWN}"': cookie})
        text += choice("$gateway_proto", "secure", '""', {"https": '"; Secure"'})
        text += choice(cookie, "cookie", f'"{COOKIE}=$request_id; {attributes}"', {f'"{_KNOWN}"': '""'})
    text += f'split_clients "{candidate}{key}" {name("drawn")} {{\n    {split.weight}% canary;\n    * stable;\n}}\n'
    side, chosen = name("drawn"), DRAWN
    if split.header is not None:
        side, source = name("side"), f"$http_{split.header.lower().replace('-', '_')}"
        text += choice(source, "side", name("drawn"), {"always": "canary", "never": "stable"})
        text += choice(source, "chosen", chosen, {"always": "header", "never": "header"})
    else:
        text += choice("$host", "chosen", chosen, {})
    text += choice(side, "group", app, {"canary": group(app)})
    text += choice(side, "release", live.id, {"canary": candidate})
    return text + callers(app, live, split)


def callers(app: str, live: Release, split: Split) -> str:
    """Which release a container of the app meets."""
    text, addresses = "", sorted(split.candidate.addresses)
    text += _choice(app, "$remote_addr", "caller", app, dict.fromkeys(addresses, group(app)))
    text += _choice(app, "$remote_addr", "caller_release", live.id, dict.fromkeys(addresses, split.candidate.id))
    return text


def _choice(app: str, source: str, target: str, default: str, values: dict[str, str]) -> str:
    lines = "".join(f"    {key} {value};\n" for key, value in values.items())
    return f"map {source} {variable(app, target)} {{\n    default {default};\n{lines}}}\n"
