# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What the gateway answers by itself, as nginx reads it. Answers of an app are never touched, whatever they say."""

from __future__ import annotations

# Each in a form for people and in one for programs; the base configuration knows which a client takes.
STATUSES = (408, 413, 429, 502, 503, 504)


def pages(headers: str) -> str:
    """The answers of a server. :param headers: directives, with an end of line, that its locations inherit"""
    inner = headers.replace("    add_header", "        add_header")
    forms = (("html", "text/html"), ("json", "application/problem+json"))
    text = f"    error_page {' '.join(map(str, STATUSES))} $gateway_error_page;\n"
    for form, kind in forms:
        # Without `types` the path of the request would say what this is. The status is that of the error.
        text += f"""    location @gateway_{form} {{
        types {{}}
        default_type "{kind}; charset=utf-8";
{inner}        add_header Retry-After $gateway_retry_after always;
        return 500 $gateway_error_{form};
    }}
"""
    return text
