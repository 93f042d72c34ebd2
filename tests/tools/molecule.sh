#!/bin/sh
# Runs molecule with the shared configuration, from the root of the collection, with a lab that is up.
# Usage: molecule.sh BIN_DIRECTORY ARGUMENT...
#
# Without the shared configuration molecule matches no host and still reports success, so it is always named here.
set -eu
bin=$(cd "$1" && pwd)
shift
PATH=$bin:$PATH exec "$bin/molecule" --base-config .config/molecule/config.yml "$@"
