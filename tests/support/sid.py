# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A VPS with Debian stable that has newer packages at hand: Docker 28 and Compose 2.40 are in Debian's sid alone."""

from __future__ import annotations

# The archive's Release file of sid may be past its date.
SOURCES = """
echo 'deb [check-valid-until=no] http://deb.debian.org/debian sid main' >/etc/apt/sources.list.d/sid.list
printf 'Package: *\\nPin: release a=unstable\\nPin-Priority: 100\\n' >/etc/apt/preferences.d/sid
"""
# Whoever installs Docker gets that of sid, as with a repository of its vendor.
DOCKER = """
packages='docker.io docker-cli docker-compose docker-buildx containerd runc'
printf 'Package: %s\\nPin: release a=unstable\\nPin-Priority: 990\\n' "$packages" >/etc/apt/preferences.d/sid-docker
"""
