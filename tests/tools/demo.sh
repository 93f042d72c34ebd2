#!/bin/sh
# The main job on a lab VPS: bare host -> running reference system -> answered over HTTPS from outside.
# Usage: demo.sh BIN_DIRECTORY
set -eu
bin=$(cd "$1" && pwd)
lab=tests/lab/lab.py
started=$(date +%s)

python3 "$lab" up demo
PATH=$bin:$PATH "$bin/ansible-playbook" --inventory inventories/demo playbooks/site.yml

address=10.231.0.10
site=labs.example.test
authority=/var/lib/daffathan-lab/demo-root.crt
python3 "$lab" exec demo -- cat /var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt > "$authority"
for path in / /api/version /ai/version; do
    printf 'https://%s%s -> ' "$site" "$path"
    curl --fail --silent --show-error --retry 5 --retry-connrefused --max-time 10 --output /dev/null --write-out '%{http_code}\n' \
        --cacert "$authority" --resolve "$site:443:$address" "https://$site$path"
done
echo
echo "Done in $(($(date +%s) - started)) s. From this machine:"
echo "  curl --cacert $authority --resolve $site:443:$address https://$site/"
