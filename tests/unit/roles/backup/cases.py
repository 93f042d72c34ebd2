# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A valid configuration of the host command."""

from __future__ import annotations

from typing import Any

DATABASE = {"service": "db", "engine": "postgresql", "name": "labs", "user": "labs"}
CONFIG: dict[str, Any] = {
    "host": "vps1",
    "restic": "/usr/bin/restic",
    "repository": "/var/lib/daffathan/backup/repository",
    "password_file": "/var/lib/daffathan/backup/password",
    "credentials_file": "/etc/daffathan/backup-credentials.json",
    "state_directory": "/var/lib/daffathan/backup",
    "cache_directory": "/var/lib/daffathan/backup/cache",
    "retention": {"daily": 7, "weekly": 4, "monthly": 6},
    "prune": True,
    "check_interval_days": 7,
    "check_read_percent": 5,
    "timer": {"event": "*-*-* 03:00:00", "jitter": "30m", "timeout": "12h"},
    "metrics_file": "/var/lib/prometheus/node-exporter/daffathan_backup.prom",
    "apps": [{"name": "labs", "backup": {"database": DATABASE, "volumes": ["uploads", "media"]}}],
}
