# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the gateway answers by itself, as nginx reads it. Answers of an app are never touched, whatever they say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ansible_collections.daffathan.platform.plugins.module_utils._rollout.limits import addresses, variable
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.model import App, Service

# Each in a form for people and in one for programs; the base configuration knows which a client takes. Of a client that
# is too slow (408) nginx cuts the connection, without an answer.
STATUSES = (404, 405, 413, 429, 502, 503, 504)
# A request that cannot be read. To a container nginx answers that by itself: where the path is what cannot be read, a
# server has no way to a page, and outside another server answers then, that of the base configuration.
OUTSIDE = (400, *STATUSES)
# Nothing that nginx reads at once is longer than 4096 bytes.
PIECE = 3000
_ESCAPED = {"\\": "\\\\", '"': '\\"', "$": "${gateway_dollar}", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def pages(headers: str = "", statuses: Iterable[int] = STATUSES) -> str:
    """The answers of a server. :param headers: directives, with an end of line, that its locations inherit"""
    inner = _inner(headers)
    text = f"    {_errors(statuses, '$gateway_error_page')}\n"
    # Headers that are too large: nginx has a number of its own for them.
    text += "    error_page 494 =431 $gateway_error_page;\n"
    for form, kind in (("html", "text/html"), ("json", "application/problem+json")):
        text += _page(f"@gateway_{form}", kind, inner, f"        return 500 $gateway_error_{form};\n")
    return text


def own_pages(app: App, headers: str) -> str:
    """Those that services under maintenance bring along, for a server of clients from outside."""
    found = _with_page(app)
    return "".join(_page(_place(app, service), "text/html", _inner(headers), _own(page)) for service, page in found)


def _inner(headers: str) -> str:
    return headers.replace("    add_header", "        add_header")


def maps(app: App) -> str:
    """Who is let in, and which page others get, for the http context."""
    text = ""
    for service in app.services:
        if service.routes and service.serving.maintenance is not None:
            text += addresses(variable("open", app, service), service.serving.maintenance.allow)
    for service, _own_page in _with_page(app):
        text += f"""map $gateway_error_page {variable("page", app, service)} {{
    default $gateway_error_page;
    @gateway_html {_place(app, service)};
}}
"""
    return text


def guard(app: App, service: Service) -> list[str]:
    """What a location of the service does before anything else of it is looked at."""
    maintenance = service.serving.maintenance
    if maintenance is None:
        return []
    lines = [f'if ({variable("open", app, service)} = "") {{']
    lines += [f"    set $gateway_retry {maintenance.retry_after};", "    return 503;", "}"]
    if maintenance.page is not None:
        # One of its own, and it would inherit none.
        rest = [status for status in OUTSIDE if status != 503]
        lines += [_errors((503,), variable("page", app, service)), _errors(rest, "$gateway_error_page")]
    return lines


def _errors(statuses: Iterable[int], page: str) -> str:
    return f"error_page {' '.join(map(str, statuses))} {page};"


def _page(place: str, kind: str, headers: str, answer: str) -> str:
    # Without `types` the path of the request would say what this is. The status is that of the error.
    return f"""    location {place} {{
        types {{}}
        default_type "{kind}; charset=utf-8";
{headers}        add_header Retry-After $gateway_retry_after always;
{answer}    }}
"""


def _with_page(app: App) -> list[tuple[Service, str]]:
    """The services under maintenance that have a page of their own."""
    closed = [(service, service.serving.maintenance) for service in app.services if service.routes]
    return [(service, of.page) for service, of in closed if of is not None and of.page is not None]


def _place(app: App, service: Service) -> str:
    return variable("@closed", app, service)[1:]


def _own(page: str) -> str:
    lines, before = "", ""
    for piece in _pieces(page):
        lines += f'        set $gateway_page "{before}{piece}";\n'
        before = "${gateway_page}"
    return f"{lines}        return 500 $gateway_page;\n"


def _pieces(text: str) -> Iterator[str]:
    """The text as nginx reads it between quotes. No piece has an end of line, so none can look like a directive."""
    piece = ""
    for sign in text:
        piece += _ESCAPED.get(sign, sign)
        if len(piece.encode()) > PIECE:
            yield piece
            piece = ""
    if piece:
        yield piece
