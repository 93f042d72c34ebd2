# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""The networks of a service in a compose file, as far as they decide who reaches its ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeyaml import Place, place_of
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import L2_DRIVERS, host_ip_class

_OPTION = "com.docker.network.bridge."
_BRIDGED = ("", "default", "bridge", "overlay", "none", "null")
# Docker has these two without a definition.
_BUILT_IN = ("bridge", "default", "none")


class NetworkError(Exception):
    """Networks that cannot be understood; `place` is where that was written."""

    def __init__(self, reason: str, place: Place) -> None:
        self.place = place
        super().__init__(reason)


def truth(value: object) -> bool:
    """A boolean as Compose reads it. A mapping is the old way to say `external`."""
    return isinstance(value, Mapping) or str(value).lower() in ("true", "yes", "on", "y", "1")


@dataclass(frozen=True)
class Network:
    """A network that a service is attached to."""

    name: str
    driver: str = ""
    external: bool = False
    internal: bool = False
    host: bool = False
    # The default address of a published port, "" for all addresses.
    binding: str = ""
    # The option that lets others reach the addresses of the containers.
    opened: str = ""
    # It opens the published ports only.
    opened_ports_only: bool = False
    place: Place = Place()

    @property
    def own_address(self) -> bool:
        return self.driver in L2_DRIVERS

    @property
    def understood(self) -> bool:
        return self.host or self.own_address or self.driver in _BRIDGED


def _network(name: str, definition: Any, place: Place) -> Network:
    if definition is None:
        return Network(name, place=place)
    if not isinstance(definition, Mapping):
        raise NetworkError(f"network {name} is not a mapping", place)
    place = place_of(definition) if place_of(definition).file else place
    driver = str(definition.get("driver") or "")
    external = truth(definition.get("external"))
    external_name = definition["external"].get("name") if isinstance(definition.get("external"), Mapping) else None
    real_name = str(external_name or definition.get("name") or "")
    options = definition.get("driver_opts")
    options = options if isinstance(options, Mapping) else {}
    opened, ports_only = _opened(options)
    internal = truth(definition.get("internal"))
    return Network(
        name,
        driver=driver,
        external=external,
        internal=internal,
        host=driver == "host" or real_name == "host",
        binding=str(options.get(f"{_OPTION}host_binding_ipv4") or ""),
        opened="" if internal else opened,
        opened_ports_only=ports_only,
        place=place_of(definition["driver"]) if driver and place_of(definition["driver"]).file else place,
    )


def _opened(options: Mapping[str, Any]) -> tuple[str, bool]:
    """The option of a bridge that opens its containers, and whether it opens their published ports only."""
    modes = {f"{_OPTION}gateway_mode_{family}": "" for family in ("ipv4", "ipv6")}
    modes = {key: str(options.get(key) or "") for key in modes}
    for key, mode in modes.items():
        if mode == "nat-unprotected":
            return f"{key}: {mode}", False
    for key, mode in modes.items():
        if mode == "routed":
            return f"{key}: {mode}", True
    trusted = options.get(f"{_OPTION}trusted_host_interfaces")
    return (f"{_OPTION}trusted_host_interfaces: {trusted}", True) if trusted else ("", False)


def attached(service: Mapping[str, Any], model: Mapping[str, Any]) -> list[Network]:
    """The networks of a service that has networks of its own. :raises NetworkError: they cannot be understood."""
    names = service.get("networks")
    if names is not None and not isinstance(names, (list, tuple, Mapping)):
        raise NetworkError("networks is neither a list nor a mapping", place_of(names))
    definitions = model.get("networks") or {}
    if not isinstance(definitions, Mapping):
        raise NetworkError("networks is not a mapping", place_of(definitions))
    found = []
    for name in names or ["default"]:
        if not isinstance(name, str):
            raise NetworkError(f"networks: {name!r} is not a name", place_of(name))
        at = place_of(name) if place_of(name).file else _key_place(names, name)
        if name in definitions:
            found.append(_network(name, definitions[name], _key_place(definitions, name)))
        elif name == "host":
            found.append(Network(name, host=True, place=at))
        elif name == "default":
            found.append(Network(name, place=at))
        else:
            raise NetworkError(f"network {name} is not defined", at)
    return found


def _key_place(fields: Any, key: str) -> Place:
    places = getattr(fields, "keys_at", None) or {}
    found = places.get(key)
    return found if isinstance(found, Place) else place_of(fields)


@dataclass(frozen=True)
class Sharing:
    """Whose network a service uses by its `network_mode`."""

    # own, host, none, joined (that of another container), or named (a network that is there already)
    kind: str
    place: Place = Place()


def sharing(name: str, model: Mapping[str, Any]) -> Sharing:
    """:raises NetworkError: the network of a container that is not known here."""
    services = model.get("services") or {}
    own = place_of(_mode(services.get(name)))
    seen = [name]
    while True:
        service = services.get(seen[-1])
        mode = _mode(service)
        joined = len(seen) > 1
        if mode is None or mode == "":
            if isinstance(service, Mapping) and any(network.host for network in attached(service, model)):
                return Sharing("host", own if joined else place_of(service.get("networks")))
            return Sharing("joined" if joined else "own", own)
        if not isinstance(mode, str):
            raise NetworkError(f"network_mode {mode!r} is not a text", place_of(mode))
        kind, dummy, other = mode.partition(":")
        if kind not in ("service", "container") or not other:
            if mode == "host":
                return Sharing("host", own)
            if joined:
                return Sharing("joined", own)
            return Sharing("none" if mode == "none" else "own" if mode in _BUILT_IN else "named", own)
        target = other if kind == "service" else _by_container_name(services, other)
        if target not in services:
            raise NetworkError(f"network_mode: {mode} names none of the services of this file", own)
        if target in seen:
            raise NetworkError(f"network_mode: {mode} leads back to itself", own)
        seen.append(target)


def _mode(service: object) -> object:
    return service.get("network_mode") if isinstance(service, Mapping) else None


def _by_container_name(services: Mapping[str, Any], container: str) -> str:
    for name, service in services.items():
        if isinstance(service, Mapping) and service.get("container_name") == container:
            return str(name)
    return ""


def effective_address(host_ip: str, networks: list[Network]) -> str | None:
    """The address that a port is published on; None where it is published on none.

    An internal network publishes nothing. A network may have a default address, but which of several networks publishes
    a port differs between engines, so it counts if all of them have one on loopback.
    """
    publishing = [network for network in networks if not network.internal]
    if networks and not publishing:
        return None
    if host_ip or not publishing:
        return host_ip
    bindings = {network.binding for network in publishing}
    if all(binding and host_ip_class(binding) == "loopback" for binding in bindings):
        return "127.0.0.1"
    return bindings.pop() if len(bindings) == 1 else ""
