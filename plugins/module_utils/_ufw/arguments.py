# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The options of ufw_policy, as AnsibleModule takes them."""

from __future__ import annotations

from typing import Any


def argument_spec() -> dict[str, Any]:
    policies = {"type": "str", "choices": ["allow", "deny", "reject"]}
    rule = {
        "action": {"type": "str", "choices": ["allow", "deny", "reject", "limit"], "required": True},
        "port": {"type": "str"},
        "proto": {
            "type": "str",
            "choices": ["any", "tcp", "udp", "ah", "esp", "gre", "igmp", "ipv6", "vrrp"],
            "default": "any",
        },
        "from": {"type": "str"},
        "from_port": {"type": "str"},
        "to": {"type": "str"},
        "app": {"type": "str"},
        "from_app": {"type": "str"},
        "direction": {"type": "str", "choices": ["in", "out"], "default": "in"},
        "route": {"type": "bool", "default": False},
        "interface_in": {"type": "str"},
        "interface_out": {"type": "str"},
        "log": {"type": "str", "choices": ["none", "new", "all"], "default": "none"},
        "comment": {"type": "str"},
        "family": {"type": "str", "choices": ["auto", "v4", "v6"], "default": "auto"},
    }
    return {
        "state": {"type": "str", "choices": ["enabled", "disabled"], "default": "enabled"},
        "defaults": {
            "type": "dict",
            "default": {},
            "options": {
                "incoming": {**policies, "default": "deny"},
                "outgoing": {**policies, "default": "allow"},
                "routed": {**policies, "default": "deny"},
            },
        },
        "logging": {"type": "str", "choices": ["off", "low", "medium", "high", "full"], "default": "low"},
        "rules": {"type": "list", "elements": "dict", "default": [], "options": rule},
        "purge": {"type": "str", "choices": ["all", "tagged", "none"], "default": "all"},
        "purge_keep": {"type": "list", "elements": "str", "default": []},
        "tag": {"type": "str"},
        "allow_empty": {"type": "bool", "default": False},
        "ipv6": {"type": "bool", "default": True},
        "ssh_guard": {"type": "bool", "default": True},
        "rollback_timeout": {"type": "int", "default": 60},
        "lock_timeout": {"type": "int", "default": 30},
    }
