# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host after role hardening alone, from inside. What a neighbour can do there is in test_from_outside.py."""

from __future__ import annotations

import json
import re

import pytest
from testinfra.host import Host as Inside

SSHD = {
    "permitrootlogin": {"without-password", "prohibit-password"},
    "passwordauthentication": {"no"},
    "kbdinteractiveauthentication": {"no"},
    "pubkeyauthentication": {"yes"},
    "permitemptypasswords": {"no"},
    "hostbasedauthentication": {"no"},
    "gssapiauthentication": {"no"},
    "ignorerhosts": {"yes"},
    "usepam": {"yes"},
    "permituserenvironment": {"no"},
    "maxauthtries": {"3"},
    "maxsessions": {"10"},
    "maxstartups": {"30:30:100"},
    "logingracetime": {"30"},
    "clientaliveinterval": {"300"},
    "clientalivecountmax": {"2"},
    "x11forwarding": {"no"},
    "allowagentforwarding": {"no"},
    "allowtcpforwarding": {"local"},
    "allowstreamlocalforwarding": {"local"},
    "gatewayports": {"no"},
    "permittunnel": {"no"},
    "compression": {"no"},
    "usedns": {"no"},
    "tcpkeepalive": {"no"},
    "loglevel": {"VERBOSE"},
}
WEAK = re.compile(r"cbc|3des|arcfour|sha1($|[^0-9])|md5|umac-64|group1-|group14-|nistp|ssh-rsa")
SYSCTL = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "1",
    "net.ipv4.conf.default.rp_filter": "1",
    "net.ipv4.conf.all.accept_redirects": "0",
    "net.ipv4.conf.default.accept_redirects": "0",
    "net.ipv4.conf.all.secure_redirects": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.all.accept_source_route": "0",
    "net.ipv4.conf.all.log_martians": "1",
    "net.ipv4.icmp_echo_ignore_broadcasts": "1",
    "net.ipv4.tcp_syncookies": "1",
    "net.ipv4.tcp_rfc1337": "1",
    "net.ipv6.conf.all.accept_redirects": "0",
    "net.ipv6.conf.all.accept_source_route": "0",
}
NETWORK = "^net[.]ipv[46][.](conf[.](all|default)|ip_f|tcp_|icmp_)"
BLOCKED = ("dccp", "sctp", "rds", "tipc", "cramfs", "hfsplus", "udf", "usb-storage", "firewire-core")
NEEDED = ("overlay", "bridge", "br_netfilter", "veth", "nf_tables", "nf_conntrack", "xt_conntrack")
# The judgement of the program itself, on names that are installed nowhere.
UPGRADE = """
import importlib.machinery, importlib.util, json, sys
loader = importlib.machinery.SourceFileLoader("upgrade", "/usr/bin/unattended-upgrade")
upgrade = importlib.util.module_from_spec(importlib.util.spec_from_loader("upgrade", loader))
loader.exec_module(upgrade)
"""
EXCLUDED = f"""{UPGRADE}
patterns = upgrade.apt_pkg.config.value_list("Unattended-Upgrade::Package-Blacklist")
print(json.dumps({{name: upgrade.is_pkgname_in_blacklist(name, patterns) for name in sys.argv[1:]}}))
"""
ORIGINS = f"{UPGRADE}print(json.dumps(upgrade.get_allowed_origins()))"


def test_sshd_acts_on_every_option(host: Inside) -> None:
    options = dict(line.split(" ", 1) for line in host.check_output("sshd -T").splitlines() if " " in line)
    assert {name: options[name] for name, wanted in SSHD.items() if options[name] not in wanted} == {}


@pytest.mark.parametrize("kind", ["kexalgorithms", "ciphers", "macs", "hostkeyalgorithms"])
def test_sshd_offers_no_weak_algorithm(host: Inside, kind: str) -> None:
    (line,) = (line for line in host.check_output("sshd -T").splitlines() if line.startswith(f"{kind} "))
    offered = line.split(" ", 1)[1].split(",")
    assert len(offered) >= 3
    assert [name for name in offered if WEAK.search(name)] == []


def test_the_file_of_the_package_is_as_it_was(host: Inside) -> None:
    assert host.run("cmp /usr/share/openssh/sshd_config /etc/ssh/sshd_config").rc == 0


def test_the_kernel_has_the_parameters(host: Inside) -> None:
    values = host.check_output(f"sysctl --values {' '.join(SYSCTL)}").splitlines()
    assert dict(zip(SYSCTL, values, strict=True)) == SYSCTL


def test_the_settings_are_those_of_the_next_boot(host: Inside) -> None:
    """Applied in the order of a boot, by systemd and then by UFW, the files leave the kernel as it is."""
    before = host.check_output("sysctl --pattern %s --all", NETWORK)
    assert "net.ipv4.conf.all.log_martians = 1" in before
    host.check_output("sysctl --write net.ipv4.conf.all.log_martians=0 net.ipv4.conf.all.accept_redirects=1")
    host.check_output("systemctl restart systemd-sysctl.service")
    host.check_output("ufw reload")
    assert host.check_output("sysctl --pattern %s --all", NETWORK) == before


def test_modules_are_blocked_and_those_of_docker_are_not(host: Inside) -> None:
    installs = dict(
        line.split()[1:3] for line in host.check_output("modprobe --showconfig").splitlines() if line[:8] == "install "
    )
    assert {name: installs.get(name.replace("-", "_"), installs.get(name)) for name in BLOCKED} == dict.fromkeys(
        BLOCKED, "/bin/false"
    )
    assert not set(NEEDED) & set(installs)


def test_loading_a_blocked_module_fails(host: Inside) -> None:
    assert host.run("modprobe sctp").rc != 0
    assert host.check_output("modprobe --dry-run --verbose sctp").strip() == "install /bin/false"


def test_automatic_upgrades_are_on(host: Inside) -> None:
    settings = host.check_output("apt-config dump")
    assert 'APT::Periodic::Update-Package-Lists "1"' in settings
    assert 'APT::Periodic::Unattended-Upgrade "1"' in settings
    assert 'Unattended-Upgrade::Automatic-Reboot "false"' in settings
    for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"):
        assert host.service(unit).is_enabled
        assert host.service(unit).is_running


def test_automatic_upgrades_leave_the_engine_alone(host: Inside) -> None:
    engine = ["docker.io", "docker-ce", "docker-ce-cli", "docker-compose-plugin", "containerd", "containerd.io", "runc"]
    others = ["openssl", "openssh-server", "linux-image-amd64", "caddy", "runcible"]
    answer = json.loads(host.check_output(f"python3 -c %s {' '.join(engine + others)}", EXCLUDED))
    assert answer == {**dict.fromkeys(engine, True), **dict.fromkeys(others, False)}


def test_automatic_upgrades_take_security_origins(host: Inside) -> None:
    origins = json.loads(host.check_output("python3 -c %s", ORIGINS))
    security = f"codename={host.system_info.codename}-security,label=Debian-Security"
    assert any(security in origin for origin in origins)
    assert not any("Docker" in origin for origin in origins)


def test_the_journal_is_kept_and_limited(host: Inside) -> None:
    said = host.check_output("journalctl --unit systemd-journald --output cat --no-pager").splitlines()
    last = [line for line in said if line.startswith("System Journal (/var/log/journal/")][-1]
    assert re.search(r"max 500([.]0)?M", last)
    settings = host.check_output("systemd-analyze cat-config systemd/journald.conf")
    for setting in ("Storage=persistent", "SystemMaxFileSize=50M", "MaxRetentionSec=3month"):
        assert setting in settings.splitlines()


def test_the_firewall_is_active_in_the_kernel_and_at_boot(host: Inside) -> None:
    assert "Status: active" in host.check_output("ufw status verbose")
    for save in ("iptables-save", "ip6tables-save"):
        rules = host.check_output(save)
        assert ":INPUT DROP" in rules
        assert ":FORWARD DROP" in rules
        assert "-A INPUT -j ufw" in rules
    assert host.service("ufw").is_enabled
    assert "ENABLED=yes" in host.file("/etc/ufw/ufw.conf").content_string


def test_the_guard_is_ordered_before_network_and_engine(host: Inside) -> None:
    guard = host.service("daffathan-guard.service")
    assert guard.is_enabled
    assert guard.is_running
    before = guard.systemd_properties["Before"].split()
    assert {"network-pre.target", "docker.service"} <= set(before)
    table = host.check_output("nft --stateless list table inet daffathan_guard")
    assert 'iifname "eth0" counter' in table


def test_declared_ports_are_those_of_the_firewall(host: Inside) -> None:
    declared = json.loads(host.file("/etc/daffathan/port_audit.json").content_string)["expected"]
    allowed = set(re.findall(r"^ufw allow (\d+)/(tcp|udp)", host.check_output("ufw show added"), re.MULTILINE))
    assert allowed == {(str(item["port"]), item["proto"]) for item in declared}
    assert allowed == {("22", "tcp"), ("80", "tcp"), ("443", "tcp"), ("443", "udp")}


def test_the_jail_of_sshd_reads_the_journal(host: Inside) -> None:
    service = host.service("fail2ban")
    assert service.is_enabled
    assert service.is_running
    told = host.check_output("fail2ban-client status sshd")
    assert "_COMM=sshd + _UID=0 _COMM=sshd-session" in told
    assert {
        kind: host.check_output(f"fail2ban-client get sshd {kind}") for kind in ("maxretry", "findtime", "bantime")
    } == {
        "maxretry": "5",
        "findtime": "600",
        "bantime": "3600",
    }
    assert "Jail 'sshd' started" in host.check_output("journalctl --output cat _COMM=fail2ban-server")
    assert host.file("/var/log/fail2ban.log").size == 0, "it would grow where nothing rotates it"


def test_one_service_keeps_the_clock(host: Inside) -> None:
    """A container has the clock of its machine: systemd passes the service over, which is no failure."""
    assert host.service("systemd-timesyncd").is_enabled
    assert not host.package("chrony").is_installed
    assert host.run("systemctl start systemd-timesyncd").rc == 0
    assert host.check_output("systemctl is-failed systemd-timesyncd || true") in ("inactive", "active")


def test_only_who_types_gets_the_strict_umask(host: Inside) -> None:
    """What a deployment installs with sudo, or copies, keeps the modes that it counts on."""
    shell = "setpriv --reuid admin --regid admin --init-groups env HOME=/home/admin"
    assert host.check_output(f"{shell} bash -lic umask 2>/dev/null") == "0027"
    assert host.check_output(f"{shell} bash -lc umask") == "0022"
    assert host.check_output(f"{shell} sh -c 'umask 077; sudo -n sh -c umask'") == "0022"


def test_nothing_leaves_a_core_dump(host: Inside) -> None:
    assert host.check_output("sudo -u admin sh -c 'ulimit -Hc'") == "0"
    assert host.check_output("systemd-run --quiet --pipe --wait sh -c 'ulimit -Hc'") == "0"
    settings = host.check_output("systemd-analyze cat-config systemd/coredump.conf").splitlines()
    assert {"Storage=none", "ProcessSizeMax=0"} <= set(settings)
    assert "DumpCore=no" in host.check_output("systemd-analyze cat-config systemd/system.conf").splitlines()


def test_nobody_but_root_reads_the_tables_of_cron_and_sshd(host: Inside) -> None:
    paths = "/etc/crontab /etc/cron.d /etc/cron.hourly /etc/cron.daily /etc/cron.weekly /etc/cron.monthly"
    found = host.check_output(
        f"find {paths} /etc/ssh/sshd_config -maxdepth 0 -printf '%m %u:%g %p\\n' 2>/dev/null || true"
    ).splitlines()
    assert "700 root:root /etc/cron.daily" in found
    assert "600 root:root /etc/ssh/sshd_config" in found
    assert [line for line in found if not re.match(r"[67]00 root:root ", line)] == []


def test_accounts_made_from_now_on_are_private(host: Inside) -> None:
    host.check_output("useradd --create-home newcomer")
    try:
        host.check_output("echo newcomer:lab-only-password | chpasswd")
        assert host.file("/home/newcomer").mode == 0o700
        assert host.check_output("getent shadow newcomer").split(":")[1].startswith("$y$")
        assert host.check_output("getent shadow newcomer").split(":")[4] == "99999", (
            "an expired password shuts out keys"
        )
    finally:
        host.check_output("userdel --remove newcomer 2>/dev/null")


def test_sudo_is_restricted_and_told(host: Inside) -> None:
    assert host.run("visudo --check --strict").rc == 0
    settings = host.check_output("sudo -V")
    for setting in (
        "Number of tries to enter a password: 3",
        "Syslog facility if syslog is being used for logging: authpriv",
    ):
        assert setting in settings
    marker = "told-to-the-journal"
    host.check_output(f"setpriv --reuid admin --regid admin --init-groups sudo -n true {marker}")
    assert marker in host.check_output("journalctl _COMM=sudo --output cat -n 50")
    # A terminal of its own: what it leaves behind cannot type into that of the caller.
    terminals = "script --quiet --command 'tty; sudo -n tty' /dev/null"
    said = host.check_output(f"setpriv --reuid admin --regid admin --init-groups {terminals}")
    # The terminal echoes what `script` ends its input with (^@), somewhere in between.
    own, given = re.findall(r"/dev/pts/\d+", said)
    assert own != given


def test_who_logs_in_is_warned(host: Inside) -> None:
    for path in ("/etc/issue", "/etc/issue.net"):
        assert host.file(path).content_string.startswith("Authorised users only.")


def test_a_container_has_no_apparmor_of_its_own(host: Inside) -> None:
    assert host.run("systemd-detect-virt --container").rc == 0
    assert not host.service("apparmor").is_running


def test_the_audit_by_timer_finds_nothing(host: Inside) -> None:
    assert host.service("daffathan-port-audit.timer").is_running
    assert host.service("daffathan-port-audit.timer").is_enabled
    run = host.run("systemctl start daffathan-port-audit.service")
    assert run.rc == 0, host.check_output("journalctl -u daffathan-port-audit.service -n 50")


def test_no_unit_has_failed(host: Inside) -> None:
    # The timer may have come while another test had opened a port.
    host.run("systemctl start daffathan-port-audit.service")
    assert host.check_output("systemctl --failed --no-legend --plain") == ""
