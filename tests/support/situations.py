# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The situations of the truth test: what is set up on a VPS, on which engines it can be, and where a neighbour looks.

`setup` is bash. The functions of PRELUDE are there for it, and so are `$address`, `$address6` and `$link` (the VPS, and
its link-local address), `$attacker` and `$second` (the neighbour and another address of it), and `$image`.
"""

from __future__ import annotations

from dataclasses import dataclass

ENGINES = {"20.10": "bookworm", "26": "trixie", "28": "trixie"}
LOOPBACK = "127.0.0.1"
LINK = "link"
# Another address that only situations use, on the VPS or on a container of it.
OWN = "10.231.0.251"
BRIDGE = "172.17.0.1"

PRELUDE = r"""
cd /usr/local/lib/truth

# serve UNIT SPEC...: listeners on the VPS
serve() { unit=$1; shift; systemd-run -q --unit="test-$unit" --collect -p Type=notify python3 "$PWD/serve.py" "$@"; }

# container NAME [OPTION...]: listens on the ports of $specs, or on 3000 and 3001
container() {
  name=$1; shift
  docker run -d --name "$name" --user 0 -v /usr/local/lib/truth:/truth -e READY="/truth/ready-$name" "$@" "$image" \
    python3 /truth/serve.py ${specs:-tcp,::,3000 udp,::,3000 tcp,::,3001 udp,::,3001} >/dev/null
  ready "$name"
}
ready() { for _ in $(seq 100); do test -e "ready-$1" && return; sleep 0.1; done; docker logs "$1"; exit 1; }
address_of() { docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$1"; }

# firewall RULE...: UFW, with SSH and these rules
firewall() { for rule in "allow 22/tcp" "$@" "--force enable"; do ufw $rule >/dev/null; done; }
guard() { nft -f /usr/local/lib/truth/guard.nft; }
daemon() { echo "$1" >/etc/docker/daemon.json; systemctl reset-failed docker; systemctl restart docker; }
"""

# Everything that a situation may have changed, back as it was when the file system was prepared.
RESTORE = r"""
cd /usr/local/lib/truth
docker ps -aq | xargs -r docker rm -f >/dev/null
docker network prune -f >/dev/null
systemctl stop 'test-*' 2>/dev/null || true
rm -f ready-*
if test -e /etc/docker/daemon.json; then
  rm /etc/docker/daemon.json; systemctl reset-failed docker; systemctl restart docker
fi
if grep -q '^ENABLED=yes' /etc/ufw/ufw.conf; then
  rm -f /etc/ufw/*.rules.2*; ufw --force reset >/dev/null
  sed -i 's/^IPV6=.*/IPV6=yes/; s/^DEFAULT_INPUT_POLICY=.*/DEFAULT_INPUT_POLICY="DROP"/' /etc/default/ufw
fi
nft list tables | grep -vxFf before.tables | while read -r _ family table; do nft delete table "$family" "$table"; done
for command in iptables ip6tables; do $command-restore <before.$command; done
conntrack -F 2>/dev/null
"""


@dataclass(frozen=True)
class Situation:
    """What is set up, and where a neighbour looks besides at the two addresses of the VPS."""

    name: str
    setup: str
    # Engines it cannot be on, with the reason.
    without: tuple[tuple[str, str], ...] = ()
    # Further addresses; `=NAME` is that of a container.
    also: tuple[str, ...] = ()
    # Whether another address of the neighbour looks as well.
    second: bool = False
    # UDP ports of services that speak to their peers only: there it counts that a packet gets past all rules.
    silent: tuple[int, ...] = ()
    teardown: str = ""

    @property
    def engines(self) -> tuple[str, ...]:
        return tuple(engine for engine in ENGINES if engine not in dict(self.without))


ONLY_28 = (("20.10", "from Docker 28 on"), ("26", "from Docker 28 on"))
BOTH = "serve both tcp,::,9001 udp,::,9001\n"

_HOST = (
    Situation("bare", BOTH),
    Situation("ufw", f"{BOTH} firewall"),
    Situation(
        "ufw-rules",
        "serve all $(for port in $(seq 9001 9014); do echo tcp,::,$port udp,::,$port; done)\n"
        "firewall 'allow 9001/tcp' 'limit 9002/tcp' 'deny 9003/tcp' 'reject 9004' 'allow 9005/udp' 'allow 9006' "
        "'allow 9007:9009/tcp' 'allow in on eth0 to any port 9010' 'allow in on lo to any port 9011' "
        '"allow to $address port 9012" "deny to $address6 port 9013" "allow 9013" "deny 9013"',
    ),
    Situation(
        "ufw-sources",
        "serve all $(for port in $(seq 9001 9004); do echo tcp,::,$port udp,::,$port; done)\n"
        'firewall "allow from $second to any port 9001" "deny from $attacker to any port 9002" "allow 9002" '
        '"allow from fd00:231::/64 to any port 9003" "deny from any to any port 9004" "allow from $second"',
        second=True,
    ),
    Situation("ufw-without-ipv6", f"{BOTH} sed -i 's/^IPV6=.*/IPV6=no/' /etc/default/ufw; firewall 'allow 9001'"),
    Situation("ufw-incoming-allowed", f"{BOTH} ufw default allow incoming; firewall 'deny 9001/udp'"),
    Situation("ufw-flushed", f"{BOTH} firewall; for t in iptables ip6tables; do $t -P INPUT ACCEPT; $t -F INPUT; done"),
    Situation("ufw-flushed-ipv6", f"{BOTH} firewall; ip6tables -P INPUT ACCEPT; ip6tables -F INPUT"),
    Situation(
        "sockets",
        "serve kinds tcp,::,9001,v6only udp,::,9001,v6only tcp,::,9002 udp,::,9002 tcp,0.0.0.0,9003,device=lo "
        "tcp,::,9004,device=eth0 udp,0.0.0.0,9004,device=eth0 tcp,127.0.0.1,9005 udp,127.0.0.1,9005 "
        "tcp,127.0.0.2,9006 tcp,::1,9007 udp,::1,9007 tcp,$address,9008 udp,$address,9008 tcp,$address6,9009 "
        "udp,$address6,9009 tcp,::ffff:127.0.0.1,9010 tcp,::ffff:$address,9011",
    ),
    Situation("link-local", "serve link tcp,$link%eth0,9001 udp,$link%eth0,9001 tcp,::,9002", also=(LINK,)),
    Situation(
        "second-address",
        f"ip address add {OWN}/32 dev eth0\nserve own tcp,{OWN},9001 udp,{OWN},9001 tcp,$address,9002 tcp,::,9003\n"
        f"container shop -p {OWN}:8080:3000 -p $address:8081:3000",
        also=(OWN,),
        teardown=f"ip address del {OWN}/32 dev eth0",
    ),
    Situation("address-of-the-bridge", f"serve bridge tcp,{BRIDGE},9001 udp,{BRIDGE},9001 tcp,::,9002", also=(BRIDGE,)),
    Situation(
        "address-of-the-bridge-behind-ufw",
        f"serve bridge tcp,{BRIDGE},9001 tcp,::,9002; firewall 'allow 9002/tcp'",
        also=(BRIDGE,),
    ),
    Situation(
        "loopback-routed",
        "serve inside tcp,127.0.0.1,9001 udp,127.0.0.1,9001 tcp,127.0.0.2,9002 tcp,::1,9003\n"
        "sysctl -q net.ipv4.conf.eth0.route_localnet=1",
        also=(LOOPBACK,),
        teardown="sysctl -q net.ipv4.conf.eth0.route_localnet=0",
    ),
)

_RULES = (
    Situation(
        "nft-accept-before-ufw",
        f"{BOTH} firewall; nft add table inet early; "
        "nft 'add chain inet early input { type filter hook input priority -50; }'; "
        "nft add rule inet early input tcp dport 9001 accept",
    ),
    Situation(
        "nft-drop-before-all",
        f"{BOTH} nft add table inet early; "
        "nft 'add chain inet early input { type filter hook input priority -50; }'; "
        "nft add rule inet early input tcp dport 9001 drop",
    ),
    Situation(
        "nft-sets",
        "serve all $(for port in $(seq 9001 9012); do echo tcp,::,$port udp,::,$port; done)\n"
        "nft -f - <<'END'\n"
        "table inet own {\n"
        "  set open { type inet_service; flags interval; elements = { 9001, 9003-9005 } }\n"
        "  set pairs { type inet_proto . inet_service; elements = { tcp . 9007, udp . 9008 } }\n"
        "  map ways { type inet_service : verdict; elements = { 9009 : accept, 9010 : drop } }\n"
        "  chain later { udp dport != 9011 drop; accept; }\n"
        "  chain input {\n"
        "    type filter hook input priority 10; policy drop;\n"
        "    ct state vmap { established : accept, related : accept, invalid : drop }\n"
        "    iif lo accept; meta l4proto { icmp, ipv6-icmp } accept; tcp dport 22 accept\n"
        "    th dport @open accept\n"
        "    meta l4proto . th dport @pairs accept\n"
        "    tcp dport vmap @ways\n"
        "    meta l4proto udp th dport >= 9011 goto later\n"
        "  }\n"
        "}\n"
        "END",
    ),
    Situation(
        "nft-ingress-drop",
        f"{BOTH} nft -f - <<'END'\n"
        "table netdev early {\n"
        "  chain in { type filter hook ingress device eth0 priority 0; policy accept; tcp dport 9001 drop; }\n"
        "}\n"
        "END",
    ),
    Situation(
        "raw-and-mangle-drop",
        f"{BOTH} serve more tcp,::,9002 udp,::,9002\n"
        "iptables -t raw -A PREROUTING -i eth0 -p tcp --dport 9001 -j DROP\n"
        "ip6tables -t mangle -A PREROUTING -p udp -m multiport --dports 9001,9002 -j DROP",
    ),
    Situation(
        "legacy-tables",
        f"{BOTH} serve more tcp,::,9002 udp,::,9002; iptables-legacy -A INPUT -p tcp --dport 9001 -j DROP\n"
        "iptables-legacy -t nat -A PREROUTING -p tcp --dport 9100 -j REDIRECT --to-ports 9002",
        teardown="iptables-legacy -F INPUT; iptables-legacy -t nat -F PREROUTING",
    ),
    Situation(
        "redirect",
        f"{BOTH} firewall 'allow 9001'\n"
        "nft add table ip own; nft 'add chain ip own pre { type nat hook prerouting priority -150; }'\n"
        "nft add rule ip own pre tcp dport 9100 redirect to :9001\n"
        "iptables -t nat -A PREROUTING -i eth0 -p udp --dport 9101 -j REDIRECT --to-ports 9001\n"
        "ip6tables -t nat -A PREROUTING -p tcp --dport 9102:9103 -j REDIRECT --to-ports 9001\n"
        "iptables -t nat -A OUTPUT -p tcp --dport 9104 -j REDIRECT --to-ports 9001",
    ),
    Situation(
        "redirect-to-loopback",
        "serve inside tcp,127.0.0.1,9001\n"
        "iptables -t nat -A PREROUTING -p tcp --dport 9100 -j DNAT --to-destination 127.0.0.1:9001\n"
        "serve inner tcp,::1,9002\n"
        "ip6tables -t nat -A PREROUTING -p tcp --dport 9101 -j DNAT --to-destination [::1]:9002",
    ),
    Situation(
        "dnat-to-container",
        "container shop; container mute\n"
        "iptables -t nat -A PREROUTING -i eth0 -p tcp --dport 9100 -j DNAT --to-destination $(address_of shop):3000\n"
        "iptables -t nat -A PREROUTING -i eth0 -p tcp --dport 9101 -j DNAT --to-destination $(address_of mute):3000\n"
        "iptables -I DOCKER-USER -d $(address_of shop) -p tcp --dport 3000 -j ACCEPT",
    ),
    Situation(
        "dnat-to-another-host",
        "iptables -t nat -A PREROUTING -p tcp --dport 9100 -j DNAT --to-destination $registry:5000\n"
        "iptables -t nat -A POSTROUTING -d $registry -j MASQUERADE\n"
        "iptables -I DOCKER-USER -d $registry -j ACCEPT",
    ),
    Situation(
        "docker-user-drop",
        "container shop -p 8080:3000 -p 8081:3000\n"
        "iptables -I DOCKER-USER -i eth0 -p tcp -m conntrack --ctorigdstport 8080 --ctdir ORIGINAL -j DROP",
        also=("=shop",),
    ),
    Situation(
        "docker-user-accept",
        "container shop -p 127.0.0.1:8080:3000; iptables -I DOCKER-USER -p tcp --dport 3001 -j ACCEPT",
        also=("=shop",),
    ),
    Situation(
        "forward-policy-accept",
        "container shop; container closed --network none; iptables -P FORWARD ACCEPT",
        also=("=shop",),
    ),
    Situation("ufw-route-allow", "container shop; firewall 'route allow in on eth0 out on docker0'", also=("=shop",)),
)

_PUBLISHED = (
    Situation("publish-all-addresses", "container shop -p 8080:3000", also=("=shop",)),
    Situation("publish-ipv4", "container shop -p 0.0.0.0:8080:3000; firewall 'deny 8080/tcp'"),
    Situation("publish-ipv6", "container shop -p '[::]:8080:3000'"),
    Situation(
        "publish-loopback", "container shop -p 127.0.0.1:8080:3000 -p 127.0.0.1:8080:3000/udp", also=(LOOPBACK, "=shop")
    ),
    Situation("publish-loopback-ipv6", "container shop -p '[::1]:8080:3000'"),
    Situation(
        "publish-address",
        'container shop -p "$address:8080:3000" -p "[$address6]:8081:3000" -p "$address:8082:3000/udp"',
    ),
    Situation(
        "publish-range",
        "specs=$(for port in $(seq 3000 3009); do echo tcp,::,$port; done)\n"
        "container shop -p 8080-8089:3000-3009; firewall",
    ),
    Situation(
        "publish-ephemeral", "container one -p 3000 -p 3000/udp; container all -P --expose 3000 --expose 3001/udp"
    ),
    Situation(
        "publish-tcp-and-udp", "container shop -p 8080:3000 -p 8080:3001/udp -p 8081:3000/udp; firewall 'allow 8081'"
    ),
    Situation(
        "two-containers-one-port",
        "container inner -p 127.0.0.1:8080:3000; container outer -p $address:8080:3001",
        also=(LOOPBACK,),
    ),
    Situation(
        "ipv6-network",
        "docker network create --ipv6 --subnet fd00:99::/64 six >/dev/null\n"
        "container shop --network six -p 8080:3000 -p 8080:3000/udp; firewall",
    ),
    Situation(
        "network-of-loopback",
        "docker network create -o com.docker.network.bridge.host_binding_ipv4=127.0.0.1 near >/dev/null\n"
        "container shop --network near -p 8080:3000; container more --network near -p 0.0.0.0:8081:3000",
    ),
    Situation("daemon-on-loopback", 'daemon \'{"ip": "127.0.0.1"}\'; container shop -p 8080:3000 -p 0.0.0.0:8081:3000'),
    Situation(
        "internal-network",
        "docker network create --internal closed >/dev/null; container shop --network closed -p 8080:3000",
        also=("=shop",),
    ),
    Situation("network-host", "container shop --network host; firewall 'allow 3000'"),
    Situation(
        "network-of-container",
        "container shop -p 8080:3000 -p 8081:4000\n"
        "specs='tcp,::,4000 udp,::,4000' container guest --network container:shop",
    ),
    Situation(
        "paused-and-stopped",
        "container frozen -p 8080:3000; container gone -p 8081:3000; docker pause frozen; docker stop -t 0 gone",
    ),
)

_DAEMON = (
    Situation(
        "userland-proxy-off",
        "daemon '{\"userland-proxy\": false}'; container shop -p 8080:3000 -p 127.0.0.1:8081:3000",
        also=(LOOPBACK, "=shop"),
    ),
    Situation(
        "iptables-off",
        'daemon \'{"iptables": false, "ip6tables": false}\'; container shop -p 8080:3000',
        also=("=shop",),
    ),
    Situation(
        "iptables-off-behind-ufw",
        'daemon \'{"iptables": false, "ip6tables": false}\'; container shop -p 8080:3000; firewall',
        also=("=shop",),
    ),
    Situation(
        "ip6tables-off",
        "daemon '{\"ip6tables\": false}'; docker network create --ipv6 --subnet fd00:99::/64 six >/dev/null\n"
        "container shop --network six -p 8080:3000; firewall",
    ),
    Situation(
        "ip6tables-on",
        'daemon \'{"ip6tables": true, "experimental": true}\'\n'
        "docker network create --ipv6 --subnet fd00:99::/64 six >/dev/null\n"
        "container shop --network six -p 8080:3000 -p '[::1]:8081:3000'; firewall",
    ),
    Situation(
        "gateway-unprotected",
        "docker network create -o com.docker.network.bridge.gateway_mode_ipv4=nat-unprotected bare >/dev/null\n"
        "container shop --network bare -p 8080:3000",
        without=ONLY_28,
        also=("=shop",),
    ),
    Situation(
        "gateway-routed",
        "docker network create -o com.docker.network.bridge.gateway_mode_ipv4=routed bare >/dev/null\n"
        "container shop --network bare -p 8080:3000",
        without=ONLY_28,
        also=("=shop",),
    ),
    Situation(
        "trusted-interfaces",
        "docker network create -o com.docker.network.bridge.trusted_host_interfaces=eth0 near >/dev/null\n"
        "container shop --network near -p 127.0.0.1:8080:3000",
        without=ONLY_28,
        also=("=shop", LOOPBACK),
    ),
    Situation(
        "direct-routing-allowed",
        "daemon '{\"allow-direct-routing\": true}'; container shop -p 127.0.0.1:8080:3000",
        without=ONLY_28,
        also=("=shop", LOOPBACK),
    ),
    Situation(
        "raw-rules-flushed",
        "container shop -p 127.0.0.1:8080:3000; iptables -t raw -F",
        without=(("20.10", "has no raw rules"), ("26", "has no raw rules")),
        also=("=shop", LOOPBACK),
    ),
    Situation(
        "macvlan",
        "docker network create -d macvlan -o parent=eth0 --subnet 10.231.0.0/24 flat >/dev/null\n"
        f"container shop --network flat --ip {OWN}; firewall",
        also=(OWN,),
    ),
    Situation(
        "swarm",
        "docker swarm init --advertise-addr $address >/dev/null\n"
        "docker service create -d --user 0 --name mesh -p 8080:3000 --mount type=bind,src=$PWD,dst=/truth "
        "-e READY=/truth/ready-mesh $image python3 /truth/serve.py tcp,::,3000 >/dev/null\n"
        "docker service create -d --user 0 --name host -p mode=host,published=8081,target=3000 "
        "--mount type=bind,src=$PWD,dst=/truth -e READY=/truth/ready-host $image python3 /truth/serve.py tcp,::,3000 "
        ">/dev/null\nready mesh; ready host",
        silent=(4789, 7946),
        teardown="docker swarm leave --force; docker network rm docker_gwbridge; systemctl restart docker",
    ),
)


def _guarded() -> tuple[Situation, ...]:
    """A published port, a loopback publish and a listener: with and without the guard table, with and without UFW."""
    found = []
    for table in (False, True):
        for ufw in (False, True):
            name = f"guard-{'on' if table else 'off'}-ufw-{'on' if ufw else 'off'}"
            setup = f"{BOTH} container shop -p 8080:3000 -p 127.0.0.1:8081:3001"
            setup += ("\nguard" if table else "") + ("\nfirewall" if ufw else "")
            found.append(Situation(name, setup, also=("=shop", LOOPBACK)))
    return tuple(found)


SITUATIONS = (*_HOST, *_RULES, *_PUBLISHED, *_DAEMON, *_guarded())
