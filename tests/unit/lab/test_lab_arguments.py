# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import yaml
from vpslab import network, services
from vpslab.config import Address, from_environment
from vpslab.hosts import Vps, create_argv, inventory, known_hosts

LAB = from_environment({})
ONE = Vps("one", LAB.address(20), "trixie", "", "created")
TWO = Vps("two", LAB.address(21), "bookworm", "snap", "created")


def _argv(privileged: bool = False, modules: bool = False) -> list[str]:
    return create_argv(LAB, ONE, "image", privileged=privileged, nameservers=["192.0.2.53"], modules=modules)


def _values(argv: list[str], option: str) -> list[str]:
    return [argv[index + 1] for index, word in enumerate(argv) if word == option]


def test_a_vps_has_its_fixed_addresses_and_storage_that_is_no_overlay() -> None:
    argv = _argv()
    assert _values(argv, "--ip") == ["10.231.0.20"]
    assert _values(argv, "--ip6") == ["fd00:231::20"]
    assert _values(argv, "--add-host") == ["registry.lab:10.231.0.5"]
    assert "daffathan-lab-one-docker:/var/lib/docker" in _values(argv, "--volume")
    assert "daffathan-lab-one-containerd:/var/lib/containerd" in _values(argv, "--volume")
    assert _values(argv, "--label") == ["daffathan.lab=1"]
    assert argv[0] == "create"
    assert argv[-1] == "image"


def test_full_privileges_replace_the_list_of_single_ones() -> None:
    assert "--privileged" in _argv(privileged=True)
    assert "--cap-add=ALL" not in _argv(privileged=True)
    assert "--privileged" not in _argv()
    assert "--cap-drop=SYS_RESOURCE" in _argv()


def test_kernel_modules_are_mounted_read_only_where_there_are_any() -> None:
    assert "/lib/modules:/lib/modules:ro" in _argv(modules=True)
    assert not any("/lib/modules" in word for word in _argv())


def test_the_inventory_is_yaml_with_one_group() -> None:
    tree = yaml.safe_load(inventory(LAB, [ONE, TWO]))
    group = tree["all"]["children"]["vps"]
    assert list(tree["all"]["children"]) == ["vps"]
    assert group["hosts"]["one"] == {"ansible_host": "10.231.0.20", "lab_ipv6": "fd00:231::20"}
    assert list(group["hosts"]) == ["one", "two"]
    assert group["vars"]["ansible_user"] == "admin"
    assert group["vars"]["ansible_ssh_private_key_file"] == "/var/lib/daffathan-lab/ssh/id_ed25519"
    assert f"UserKnownHostsFile={LAB.known_hosts}" in group["vars"]["ansible_ssh_common_args"]
    assert "StrictHostKeyChecking=yes" in group["vars"]["ansible_ssh_common_args"]


def test_known_hosts_replaces_the_keys_of_one_vps_only() -> None:
    both = known_hosts(known_hosts("", ONE, ["ssh-ed25519 AAA root@one"]), TWO, ["ssh-ed25519 BBB"])
    assert both.splitlines() == [
        "one,10.231.0.20,fd00:231::20 ssh-ed25519 AAA",
        "two,10.231.0.21,fd00:231::21 ssh-ed25519 BBB",
    ]
    renewed = known_hosts(both, ONE, ["ssh-ed25519 CCC", "ssh-rsa DDD"])
    assert "AAA" not in renewed
    assert "BBB" in renewed
    assert known_hosts(renewed, ONE, []) == "two,10.231.0.21,fd00:231::21 ssh-ed25519 BBB\n"


def test_known_hosts_does_not_take_an_address_for_the_one_it_is_a_prefix_of() -> None:
    neighbour = Vps("x", Address("10.231.0.2", "fd00:231::2"), "trixie", "", "")
    assert "AAA" in known_hosts("one,10.231.0.20,fd00:231::20 ssh-ed25519 AAA\n", neighbour, [])


def test_the_network_has_both_families_and_the_mtu_of_the_way_out() -> None:
    argv = network.create_argv(LAB, 1400)
    assert _values(argv, "--subnet") == ["10.231.0.0/24", "fd00:231::/64"]
    assert "com.docker.network.driver.mtu=1400" in _values(argv, "--opt")
    assert "--ipv6" in argv


def test_the_registry_is_published_on_loopback_only() -> None:
    argv = services.service_argv(LAB, "registry", "image", services.registry_options(LAB))
    assert _values(argv, "--publish") == ["127.0.0.1::5000"]
    assert _values(argv, "--ip") == ["10.231.0.5"]
    assert "--publish" not in services.service_argv(LAB, "attacker", "image", services.attacker_options(LAB))
