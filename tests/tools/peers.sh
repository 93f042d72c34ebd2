#!/bin/sh
# Unpacks what benchmarks compare with into a directory; does nothing when that was done already.
# Usage: peers.sh BIN_DIRECTORY DIRECTORY REQUIREMENTS PACKAGE_JSON
set -eu
bin=$1 directory=$2 requirements=$3 package=$4
stamp=$directory/.requirements
if cat "$requirements" "$package" "$0" | cmp -s - "$stamp"; then
    exit 0
fi
echo "Unpacking what $requirements and $package name into $directory ..." >&2
rm -rf "$directory"
# The package wants a newer Python than a controller needs; that is for the ansible-core it comes with, not for its collections.
"$bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary :all: --ignore-requires-python \
    --target "$directory" -r "$requirements" >&2
# The load of `edge`, with the libraries that this machine lacks: DIRECTORY/h2load starts it, nothing is installed.
if command -v apt-get >/dev/null; then
    mkdir -p "$directory/debian/root" "$directory/debian/cache/archives/partial" "$directory/debian/lists/partial"
    debian=$(cd "$directory/debian" && pwd)
    own="-o Dir::Cache=$debian/cache -o Dir::State::lists=$debian/lists -o APT::Sandbox::User=$(id -un)"
    # shellcheck disable=SC2086 # a list of words
    {
        apt-get -qq $own update >&2
        apt-get -qqy $own --no-install-recommends --download-only -o Debug::NoLocking=1 install nghttp2-client >/dev/null
    }
    for file in "$debian"/cache/archives/*.deb; do
        dpkg-deb --extract "$file" "$debian/root"
    done
    rm -rf "$debian/cache" "$debian/lists"
    libraries=$(find "$debian/root/usr/lib" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd :)
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$libraries" "$debian/root/usr/bin/h2load" >"$directory/h2load"
    chmod +x "$directory/h2load"
else
    echo "Without apt-get the comparison of edge cannot run." >&2
fi
if command -v npm >/dev/null; then
    mkdir -p "$directory/npm"
    cp "$package" "$directory/npm/package.json"
    npm install --prefix "$directory/npm" --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel error >&2
else
    echo "Without npm the comparison of port_audit cannot run; install npm and do this again." >&2
    exit 0
fi
cat "$requirements" "$package" "$0" >"$stamp"
