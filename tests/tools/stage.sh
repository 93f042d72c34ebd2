#!/bin/sh
# Copies the collection, without its tests, to where ansible-test and the builders insist that it lies:
# .../ansible_collections/daffathan/platform.
# Usage: stage.sh DIRECTORY; prints the path of the staged collection.
set -eu
staged=$1/ansible_collections/daffathan/platform
rm -rf "$staged"
mkdir -p "$staged"
{
    git ls-files -z --cached --others --exclude-standard | grep -zvE '^(\.collections|\.ci|molecule|packaging|tests)/'
    git ls-files -z --cached --others --exclude-standard -- tests/sanity
} |
    xargs -0 sh -c 'for f; do [ ! -f "$f" ] || printf "%s\0" "$f"; done' sh |
    tar --null -T - -cf - | tar -xf - -C "$staged"
# ansible-test looks for the files of a collection with git, and must not find the checkout around the staged copy.
git -C "$staged" init -q
git -C "$staged" add -A
echo "$staged"
