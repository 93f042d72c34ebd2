#!/bin/sh
# Runs molecule with the shared configuration, from the root of the collection, with a lab that is up.
# Usage: molecule.sh BIN_DIRECTORY ARGUMENT...
#
# The state of a scenario belongs to this checkout: in the home directory, where molecule keeps it by the name of the project's
# folder, a second checkout would take its hosts for made.
#
# Without the shared configuration molecule matches no host and still reports success, so it is always named here.
set -eu
bin=$(cd "$1" && pwd)
shift
ANSIBLE_HOME=$PWD/.ansible PATH=$bin:$PATH exec "$bin/molecule" --base-config .config/molecule/config.yml "$@"
