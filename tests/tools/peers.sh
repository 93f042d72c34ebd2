#!/bin/sh
# Unpacks what benchmarks compare with into a directory; does nothing when that was done already.
# Usage: peers.sh BIN_DIRECTORY DIRECTORY REQUIREMENTS PACKAGE_JSON
set -eu
bin=$1 directory=$2 requirements=$3 package=$4
stamp=$directory/.requirements
if cat "$requirements" "$package" | cmp -s - "$stamp"; then
    exit 0
fi
echo "Unpacking what $requirements and $package name into $directory ..." >&2
rm -rf "$directory"
# The package wants a newer Python than a controller needs; that is for the ansible-core it comes with, not for its collections.
"$bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary :all: --ignore-requires-python \
    --target "$directory" -r "$requirements" >&2
if command -v npm >/dev/null; then
    mkdir -p "$directory/npm"
    cp "$package" "$directory/npm/package.json"
    npm install --prefix "$directory/npm" --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel error >&2
else
    echo "Without npm the comparison of port_audit cannot run; install npm and do this again." >&2
    exit 0
fi
cat "$requirements" "$package" >"$stamp"
