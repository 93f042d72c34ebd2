#!/bin/sh
# Installs what the Makefile needs of this system's packages, where it is missing.
set -eu
missing=
python3 -c 'import ensurepip' 2>/dev/null || missing="python3-venv"
command -v curl >/dev/null || missing="$missing curl"
# Unit tests ask systemd for the events of timers, on the days on which clocks change.
command -v systemd-analyze >/dev/null || missing="$missing systemd"
[ -e /usr/share/zoneinfo/Europe/Berlin ] || missing="$missing tzdata"
if [ -n "$missing" ]; then
    echo "Installing $missing ..." >&2
    apt-get -q update >&2
    # shellcheck disable=SC2086 # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends $missing >&2
fi
