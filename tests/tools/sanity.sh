#!/bin/sh
# Runs ansible-test sanity on the staged collection.
# Usage: sanity.sh VENV STAGE_DIRECTORY
#
# ansible-test bootstraps its environments with a get-pip script from the network. Where that host cannot be reached, the same
# version of pip from the package index serves as well: it is put where ansible-test caches the script.
set -eu
venv=$(cd "$1" && pwd) stage=$2
version=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
pip=$("$venv/bin/python" - <<'PYTHON'
import pathlib
import re

import ansible_test

# ansible-test has no option that prints the version of pip it wants.
source = pathlib.Path(ansible_test.__path__[0], "_internal", "python_requirements.py").read_text()
print(re.search(r"\bpip='([0-9.]+)'", source)[1])
PYTHON
)
cache=${HOME}/.ansible/test/cache
script=$cache/get_pip_$(echo "$pip" | tr . _).py
mkdir -p "$cache"
if [ ! -f "$script" ] && ! curl -fsS --max-time 10 -o "$script" "https://ci-files.testing.ansible.com/ansible-test/get-pip-$pip.py" 2>/dev/null; then
    "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$cache" "pip==$pip"
    cat > "$script" <<PYTHON
import os, runpy, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "pip-$pip-py3-none-any.whl"))
sys.argv = ["pip", "install", "--upgrade", "--force-reinstall"] + [a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel")]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
PYTHON
fi
cd "$stage/ansible_collections/daffathan/platform"
echo "ansible-test sanity: $("$venv/bin/ansible-test" --version), Python $version" >&2
PATH=$venv/bin:$PATH ANSIBLE_COLLECTIONS_PATH=$stage exec "$venv/bin/ansible-test" sanity --local --python "$version" --color no
