# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A VPS in a situation: what a neighbour reaches there, and what the audit says he reaches."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import sid
from tests.support.audited import GUARD, IMAGE, audit, shell
from tests.support.lab import Host, LabError, attacker, lab, up, wait_until
from tests.support.situations import ENGINES, LINK, LOOPBACK, PRELUDE, RESTORE, Situation

Port = tuple[str, str, int]

REMOTE = Path(__file__).parent / "remote"
ATTACKER, REGISTRY = "10.231.0.6", "10.231.0.5"
# Other addresses of the neighbour; they are deprecated, so that nothing else is sent from them.
SECOND = {4: "10.231.0.252", 6: "fd00:231::252"}
DIRECTORY = "/usr/local/lib/truth"
INSTALL = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
get="apt-get install -qq --no-install-recommends"
if test -e /etc/apt/sources.list.d/sid.list; then $get -t sid docker.io docker-cli; else $get docker.io; fi >/dev/null
$get docker-cli >/dev/null 2>&1 || true
$get iptables nftables conntrack >/dev/null
docker pull -q {IMAGE}
"""


def prepared(engine: str) -> Host:
    """A VPS with this engine, and all that situations need; from a snapshot, which the first call makes."""
    name = f"it-truth-{engine.partition('.')[0]}"
    install = f"{sid.SOURCES if engine == '28' else ''}{INSTALL}"
    snapshot = f"truth-{engine}-{hashlib.sha256(install.encode()).hexdigest()[:8]}"
    if snapshot not in (entry["name"] for entry in json.loads(lab("status", "--json").stdout)["snapshots"]):
        host = up(name, suite=ENGINES[engine])
        shell(host, install)
        lab("snapshot", name, snapshot)
    host = up(name, suite=ENGINES[engine], snapshot=snapshot)
    # Until it is known that nobody else has a link-local address, nothing can listen there.
    if not wait_until(lambda: not host.run("ip", "-6", "address", "show", "tentative"), seconds=30):
        raise LabError(f"{name}: its addresses are still tentative after 30 s")
    version = host.run("docker", "version", "--format", "{{.Server.Version}}")
    assert version.startswith(f"{engine}."), f"{name} runs Docker {version}, not {engine}"
    files = {
        "serve.py": (REMOTE / "serve.py").read_text(),
        "guard.nft": GUARD,
        "prelude.sh": PRELUDE,
        "restore.sh": RESTORE,
    }
    for file, text in files.items():
        shell(host, f"mkdir -p {DIRECTORY}; cat >{DIRECTORY}/{file} <<'END-OF-FILE'\n{text}\nEND-OF-FILE")
    shell(
        host,
        f"cd {DIRECTORY}; for t in iptables ip6tables; do $t-save >before.$t; done; nft list tables >before.tables",
    )
    return host


def restore(host: Host, teardown: str = "") -> None:
    """What a situation set up is gone."""
    shell(host, f"{teardown}\n. {DIRECTORY}/restore.sh")


def set_up(host: Host, situation: Situation) -> None:
    link = host.run("sh", "-c", "ip -6 -o address show dev eth0 scope link").split()[3].partition("/")[0]
    variables = {"address": host.address, "address6": host.address6, "link": link, "image": IMAGE}
    variables.update(attacker=ATTACKER, second=SECOND[4], registry=REGISTRY)
    assignments = "".join(f"{key}={value}\n" for key, value in variables.items())
    shell(host, f"{assignments}. {DIRECTORY}/prelude.sh\n{situation.setup}")


def addresses(host: Host, situation: Situation) -> list[str]:
    """Where the neighbour looks."""
    found = [host.address, host.address6]
    for text in situation.also:
        if text == LINK:
            words = host.run("sh", "-c", "ip -6 -o address show dev eth0 scope link").split()
            found.append(f"{words[3].partition('/')[0]}%eth0")
        elif text.startswith("="):
            inspect = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}} {{end}}"
            found += host.run("docker", "inspect", "--format", inspect, text[1:]).split()
        else:
            found.append(text)
    return found


@contextmanager
def routed(host: Host, wanted: list[str]) -> Iterator[None]:
    """The VPS is the neighbour's way to addresses that are not of the lab's network."""
    network = (ipaddress.ip_network("10.231.0.0/24"), ipaddress.ip_network("fd00:231::/64"))
    outside = [
        text
        for text in wanted
        if text != LOOPBACK and "%" not in text and not any(ipaddress.ip_address(text) in each for each in network)
    ]
    near = {text.partition("%")[0] for text in set(wanted) - {*outside, LOOPBACK}}
    own = near & set(host.run("sh", "-c", "ip -o address show dev eth0 | awk '{print $4}' | cut -d/ -f1").split())
    hardware = host.run("cat", "/sys/class/net/eth0/address").strip()
    try:
        for text in outside:
            attacker("ip", "route", "replace", text, "via", host.address6 if ":" in text else host.address)
        # Another host may have had one of the addresses a minute ago.
        for text in near:
            attacker("ip", "neighbour", "flush", "to", text, "dev", "eth0")
        # A neighbour who knows the hardware address needs no answer of the host to find it, and a firewall that lets no
        # neighbour discovery through keeps nobody out. It would keep each packet of the sweep waiting, though.
        for text in own:
            attacker("ip", "neighbour", "replace", text, "lladdr", hardware, "nud", "permanent", "dev", "eth0")
        yield
    finally:
        for text in outside:
            attacker("ip", "route", "del", text, check=False)
        for text in own:
            attacker("ip", "neighbour", "del", text, "dev", "eth0", check=False)


@contextmanager
def second_address() -> Iterator[None]:
    """The neighbour has other addresses as well."""
    words = {SECOND[4]: f"{SECOND[4]}/24", SECOND[6]: f"{SECOND[6]}/64"}
    for address in words.values():
        attacker("ip", "address", "replace", address, "dev", "eth0", "preferred_lft", "0", "nodad")
    try:
        yield
    finally:
        for address in words.values():
            attacker("ip", "address", "del", address, "dev", "eth0", check=False)


def sweep(host: Host, wanted: list[str], *, second: bool = False) -> set[Port]:
    """Every (address, protocol, port) that answers the neighbour; see remote/sweep.py."""
    targets = [("", text) for text in wanted]
    if second:
        targets += [(SECOND[6 if ":" in text else 4], text) for text in wanted]
    script = (REMOTE / "sweep.py").read_text()
    answer = json.loads(attacker("python3", "-c", script, json.dumps({"alive": host.address, "targets": targets})))
    return {
        (address.partition("%")[0], proto, port)
        for (_source, address), found in zip(targets, answer)
        for proto, ports in found.items()
        for port in ports
    }


def count(host: Host, wanted: list[str], ports: tuple[int, ...]) -> None:
    """Have the kernel count what is left of the packets to these UDP ports behind all other rules."""
    rules = [
        f'ip{"6" if ":" in text else ""} daddr {text} udp dport {port} counter comment "{text} {port}"'
        for text in wanted
        for port in ports
    ]
    chain = "type filter hook input priority 1000; policy accept;"
    text = "\n".join(["table inet counted {", "chain input {", chain, *rules, "}", "}"])
    shell(host, f"nft -f - <<'END'\n{text}\nEND")


def counted(host: Host) -> set[Port]:
    """The ports whose packets got past all rules, to a socket that is there."""
    sockets = host.run("ss", "-Huln")
    items = json.loads(host.run("nft", "-j", "list", "table", "inet", "counted"))["nftables"]
    found = set()
    for rule in (item["rule"] for item in items if "rule" in item):
        address, port = rule["comment"].split()
        packets = next(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)
        # `*` is a socket of both families.
        listening = (f" *:{port} ", f" [::]:{port} " if ":" in address else f" 0.0.0.0:{port} ")
        if packets and any(text in sockets for text in listening):
            found.add((address, "udp", int(port)))
    return found


def told(result: dict[str, Any], wanted: list[str]) -> set[Port]:
    """The same by the word of the audit."""
    plain = {text.partition("%")[0] for text in wanted}
    every = {(item["address"], item["proto"], item["port"]) for item in result["reachable"] + result["adjacent"]}
    return {entry for entry in every if entry[0] in plain}


def compared(host: Host, situation: Situation) -> tuple[set[Port], set[Port], dict[str, Any]]:
    """What is reached, and what the audit says is reached, while the host is in a situation; and its whole answer."""
    try:
        set_up(host, situation)
        wanted = addresses(host, situation)
        if situation.silent:
            count(host, wanted, situation.silent)
        with routed(host, wanted), ThreadPoolExecutor() as pool:
            audited = pool.submit(audit, host, fail_on="none")
            reached = sweep(host, wanted, second=situation.second)
            result = audited.result()
            if situation.silent:
                reached |= counted(host)
            if told(result, wanted) - reached:
                # A packet may have been lost, and so a port that is open taken for a closed one; never the reverse.
                reached |= sweep(host, wanted, second=situation.second)
    finally:
        restore(host, situation.teardown)
    return reached, told(result, wanted), result
