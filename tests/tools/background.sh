#!/bin/sh
# Runs a command that gives way to everything else, and ends with it.
# Usage: background.sh COMMAND [ARGUMENT...]
#
# Its session is nice as a whole: where the kernel groups processes by session (sched(7), autogroup), a nice value counts within
# the group alone, and processes of the lab that share two cores with a busy group were seen to wait for minutes.
set -eu
# shellcheck disable=SC2016
setsid sh -c 'echo 19 2>/dev/null >/proc/self/autogroup || true; exec nice -n 19 "$@"' background "$@" &
child=$!
trap 'kill -s TERM -- "-$child" 2>/dev/null || true; wait "$child" || true; exit 130' INT TERM HUP
wait "$child"
