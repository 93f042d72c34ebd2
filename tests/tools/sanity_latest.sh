#!/bin/sh
# Repeats the sanity tests on the newest ansible-core that another Python of this machine takes (ansible-core 2.20+ needs 3.12).
# Usage: sanity_latest.sh STAGE_DIRECTORY
set -eu
here=$(dirname "$0")
for version in 3.14 3.13 3.12; do
    python=$(command -v "python$version" || true)
    # A version manager's shim is on the path whether or not that version is selected.
    if [ -n "$python" ] && ! "$python" -c '' 2>/dev/null && command -v pyenv >/dev/null; then
        python=$(pyenv prefix "$(pyenv latest "$version" 2>/dev/null)" 2>/dev/null)/bin/python$version
    fi
    if [ -n "$python" ] && "$python" -c '' 2>/dev/null; then
        "$here/venv.sh" .venv-latest requirements-sanity-latest.txt "$python"
        exec "$here/sanity.sh" .venv-latest "$1"
    fi
done
echo "No Python 3.12 or later on this machine: sanity ran on the pinned ansible-core only."
