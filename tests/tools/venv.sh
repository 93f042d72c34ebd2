#!/bin/sh
# Makes a virtual environment and installs a requirements file into it; does nothing when that was done already.
# Usage: venv.sh DIRECTORY REQUIREMENTS [PYTHON]
set -eu
directory=$1 requirements=$2 python=${3:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "The controller needs Python 3.11 or later; $python is $("$python" --version)." >&2
    exit 1
fi
wanted=$(cat requirements*.txt | cksum)
stamp=$directory/.$(basename "$requirements").cksum
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
echo "Installing $requirements into $directory ..." >&2
[ -x "$directory/bin/python" ] || "$python" -m venv "$directory"
"$directory/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" >&2
echo "$wanted" > "$stamp"
