#!/bin/sh
# Unpacks nginx of Debian 13 with its libraries into a directory: DIRECTORY/nginx starts it, nothing is installed.
# Usage: nginx.sh DIRECTORY
set -eu
directory=$1
echo "Unpacking nginx into $directory ..." >&2
rm -rf "$directory"
mkdir -p "$directory/lists/partial" "$directory/cache/archives/partial" "$directory/root"
cd "$directory"
here=$PWD
{
    echo 'Types: deb'
    echo 'URIs: http://deb.debian.org/debian'
    echo 'Suites: trixie'
    echo 'Components: main'
    echo 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg'
} >trixie.sources
apt() {
    apt-get -q -o Dir::Etc::sourcelist="$here/trixie.sources" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$here/lists" \
        -o Dir::Cache="$here/cache" -o APT::Sandbox::User="$(id -un)" "$@" >&2
}
apt update
apt download nginx libnginx-mod-stream libc6 libcrypt1 libpcre2-8-0 libssl3t64 libzstd1 zlib1g
for package in *.deb; do
    dpkg-deb --extract "$package" root
done
rm -rf ./*.deb cache lists
libraries=$(dirname "$(find "$here/root/usr/lib" -name libpcre2-8.so.0)")
loader=$(find "$libraries" -name 'ld-linux*.so*')
printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' "$loader" "$libraries" "$here/root/usr/sbin/nginx" >nginx.new
chmod +x nginx.new
mv nginx.new nginx
