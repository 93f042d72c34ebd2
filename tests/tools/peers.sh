#!/bin/sh
# Unpacks the collections that benchmarks compare with into a directory; does nothing when that was done already.
# Usage: peers.sh BIN_DIRECTORY DIRECTORY REQUIREMENTS
set -eu
bin=$1 directory=$2 requirements=$3
stamp=$directory/.requirements
if cmp -s "$requirements" "$stamp"; then
    exit 0
fi
echo "Unpacking the collections of $requirements into $directory ..." >&2
rm -rf "$directory"
# The package wants a newer Python than a controller needs; that is for the ansible-core it comes with, not for its collections.
"$bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary :all: --ignore-requires-python \
    --target "$directory" -r "$requirements" >&2
cp "$requirements" "$stamp"
