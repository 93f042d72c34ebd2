#!/bin/sh
# Unpacks, into a directory, what the tests of the examples run as plain processes: PostgreSQL, Redis and RabbitMQ with the Python
# libraries of the services, of this machine's Debian, and Compose of Debian 13. Nothing is installed, and nothing is started.
# Usage: stores.sh DIRECTORY; does nothing when that was done already.
set -eu
directory=$1
if ! grep -q '^ID=debian' /etc/os-release; then
    echo "This is no Debian, whose packages the tests of the examples' services need: they are skipped." >&2
    exit 0
fi
packages="postgresql redis-server rabbitmq-server python3-aiohttp python3-asyncpg python3-redis python3-aio-pika"
wanted="$(cksum < "$0") $packages"
if [ "$(cat "$directory/stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
echo "Unpacking $packages into $directory ..." >&2
rm -rf "$directory"
mkdir -p "$directory/root" "$directory/compose" "$directory/cache/archives/partial" "$directory/state/lists/partial"
directory=$(cd "$directory" && pwd)

# Lists and packages of its own: those of the system stay as they are. What is installed already is not fetched.
own="-o Dir::Cache=$directory/cache -o Dir::State::lists=$directory/state/lists -o APT::Sandbox::User=root"
# shellcheck disable=SC2086 # lists of words
{
    apt-get -qq $own update
    apt-get -qqy $own --no-install-recommends --download-only -o Debug::NoLocking=1 install $packages >/dev/null
}
for package in "$directory"/cache/archives/*.deb; do
    # Of nothing that is to be fetched the pattern itself is left.
    [ -e "$package" ] || continue
    dpkg-deb --extract "$package" "$directory/root"
done
# Erlang has the place it is installed at in its scripts.
if [ -d "$directory/root/usr/lib/erlang" ]; then
    sed -i "s#ROOTDIR=/usr/lib/erlang#ROOTDIR=$directory/root/usr/lib/erlang#" "$directory"/root/usr/lib/erlang/bin/erl \
        "$directory"/root/usr/lib/erlang/erts-*/bin/erl
fi

# The version that the platform has on Debian 13; Debian 12 has none.
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/$')
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive trixie main" > "$directory/sources.list"
own="$own -o Dir::Etc::sourcelist=$directory/sources.list -o Dir::Etc::sourceparts=-"
# shellcheck disable=SC2086 # a list of words
(
    apt-get -qq $own update
    cd "$directory/compose"
    apt-get -qq $own download docker-compose
    dpkg-deb --extract docker-compose_*.deb .
)
rm -rf "$directory/cache" "$directory/state" "$directory"/compose/*.deb
echo "$wanted" > "$directory/stamp"
