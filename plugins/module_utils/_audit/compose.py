# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Judge a compose model: what it would publish or open once it runs."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.composemounts import (
    MountError,
    engine_sockets,
    listed,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composenetworks import (
    Network,
    NetworkError,
    attached,
    effective_address,
    sharing,
    truth,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeports import (
    PortError,
    Published,
    is_address,
    parse_port,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeyaml import Place, place_of
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    PUBLISHED_SEVERITY,
    Expected,
    Finding,
    finding,
    host_ip_class,
    unknown,
)

_PORT_REMEDY = 'Write it as "127.0.0.1:<host port>:<container port>".'

Declared = Callable[[str, Published], bool]


def _at(place: Place, service: str, path: str = "latent") -> dict[str, Any]:
    return {"service": service, "file": place.file, "line": place.line, "path": path}


def _services(model: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    services = model.get("services")
    if services is None:
        return
    if not isinstance(services, Mapping):
        raise PortError("services is not a mapping")
    for name, service in sorted(services.items(), key=lambda item: str(item[0])):
        if service is None:
            service = {}
        if not isinstance(service, Mapping):
            raise PortError(f"service {name} is not a mapping")
        yield str(name), service


def published_beyond_loopback(model: Mapping[str, Any]) -> list[Finding]:
    """Every port entry of a compose model that is not bound to loopback by itself; [] means none.

    The networks of the model are not looked at, since a release runs on others.
    """
    return [item for name, service in _services(model) for item in _ports(name, service, [], lambda *dummy: False)]


def judge_compose(
    model: Mapping[str, Any], expected: Iterable[Expected] = (), *, today: datetime.date
) -> list[Finding]:
    """Everything in a compose model that would open the host; declared ports are left out."""
    counted = [entry for entry in expected if not entry.expired(today)]

    def declared(service: str, port: Published) -> bool:
        names = {(entry.proto, entry.port) for entry in counted if entry.container in ("", service)}
        return bool(port.first) and all((port.proto, number) in names for number in range(port.first, port.last + 1))

    return [item for name, service in _services(model) for item in _service(name, service, model, declared)]


def _service(name: str, service: Mapping[str, Any], model: Mapping[str, Any], declared: Declared) -> Iterator[Finding]:
    yield from _mounts(name, service, model)
    try:
        shared = sharing(name, model)
        networks = attached(service, model) if shared.kind == "own" and not service.get("network_mode") else []
    except NetworkError as error:
        remedy = "Correct it, or let the service use a network of its own."
        yield unknown("compose-network", f"service {name}: {error}.", remedy, **_at(error.place, name))
        # Whatever its networks are, a port on all addresses is one too many.
        yield from _ports(name, service, [], declared)
        return
    if shared.kind == "host":
        yield _host_network(name, service, shared.place)
    elif shared.kind == "joined":
        yield from _ports_of_joined(name, service)
    elif shared.kind == "named":
        yield _external(name, str(service["network_mode"]), shared.place)
        yield from _ports(name, service, [], declared)
    elif shared.kind == "own":
        for network in networks:
            yield from _network(name, service, network)
        yield from _ports(name, service, networks, declared)


def _ports(name: str, service: Mapping[str, Any], networks: list[Network], declared: Declared) -> Iterator[Finding]:
    entries = service.get("ports")
    if entries is not None and not isinstance(entries, (list, tuple)):
        evidence = f"service {name}: ports is not a list."
        yield unknown("compose-port", evidence, f"Write a list. {_PORT_REMEDY}", **_at(place_of(entries), name))
    for entry in listed(service, "ports"):
        place = place_of(entry) if place_of(entry).file else place_of(entries)
        try:
            port = parse_port(entry)
        except PortError as error:
            evidence = f"service {name}: port {error} cannot be read."
            yield unknown("compose-port", evidence, _PORT_REMEDY, **_at(place, name))
            continue
        address = effective_address(port.host_ip, networks)
        kind = "loopback" if address is None else host_ip_class(address)
        missing = _unset(entry)
        because = f" since {' and '.join(missing)} is not set" if missing else ""
        if address and not is_address(address):
            # The long syntax takes any text. Docker 26.1 was seen to do this.
            kind, because = "wildcard", f", on all addresses since {address} is none"
        if kind == "loopback" or declared(name, port):
            continue
        evidence = f"service {name} publishes {port.text}{because}; Docker opens such a port past the firewall."
        remedy = f"Write - {port.remedy}, or leave the port out: the gateway reaches the service without it."
        fields = {**_at(place, name), "proto": port.proto, "host_ip": address or "0.0.0.0", "port": port.first}
        yield finding("compose-published-port", PUBLISHED_SEVERITY[kind], evidence, remedy, **fields)


def _unset(entry: object) -> list[str]:
    values = [entry.get("host_ip"), entry.get("published")] if isinstance(entry, Mapping) else [entry]
    return sorted({name for value in values for name in getattr(value, "unset", ())})


def _ports_of_joined(name: str, service: Mapping[str, Any]) -> Iterator[Finding]:
    if service.get("ports"):
        evidence = f"service {name}: ports with network_mode: {service['network_mode']}, which Docker refuses."
        remedy = "Publish the port at the service whose network this is, or remove network_mode."
        yield unknown("compose-port", evidence, remedy, **_at(place_of(service["ports"]), name))


def _host_network(name: str, service: Mapping[str, Any], place: Place) -> Finding:
    added = {str(entry).upper().replace("CAP_", "", 1) for entry in listed(service, "cap_add")}
    administers = truth(service.get("privileged")) or bool(added & {"ALL", "NET_ADMIN"})
    more = ", and it may change the firewall" if administers else ""
    return finding(
        "compose-host-network",
        "critical" if administers else "high",
        f"service {name} uses the network of the host: every port it opens is a port of the host{more}.",
        "Remove network_mode: host and let the gateway reach the service.",
        **_at(place, name),
    )


def _external(name: str, network: str, place: Place) -> Finding:
    return finding(
        "compose-external-network",
        "low",
        f"service {name} is on the network {network}, which is made elsewhere: what it opens is not known here.",
        "Audit the host with mode: live as well.",
        **_at(place, name),
    )


def _network(name: str, service: Mapping[str, Any], network: Network) -> Iterator[Finding]:
    if not network.understood:
        evidence = (
            f"service {name} is on the network {network.name} of the driver {network.driver}, which is not known."
        )
        yield unknown("compose-network", evidence, "Use a bridge network.", **_at(network.place, name))
    elif network.own_address:
        yield finding(
            "compose-l2-network",
            "critical",
            f"service {name} is on the network {network.name} ({network.driver}): it has an address of its own there, "
            "beside the host's firewall.",
            "Use a bridge network.",
            **_at(network.place, name, "l2"),
        )
    elif network.external:
        yield _external(name, network.name, network.place)
    elif network.opened and (service.get("ports") or not network.opened_ports_only):
        what = "its published ports" if network.opened_ports_only else "all its ports"
        yield finding(
            "compose-open-gateway",
            "high" if network.opened_ports_only else "critical",
            f"service {name} is on the network {network.name} with {network.opened}: {what} can be reached at the "
            "address of the container, whatever they are bound to.",
            "Remove the option.",
            **_at(network.place, name, "l2"),
        )


def _mounts(name: str, service: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[Finding]:
    for key in ("volumes", "volumes_from", "secrets", "configs"):
        if service.get(key) is not None and not isinstance(service[key], (list, tuple)):
            evidence = f"service {name}: {key} is not a list."
            yield unknown("compose-mount", evidence, "Write a list.", **_at(place_of(service[key]), name))
    taken = "whoever takes over the container is root on the host"
    try:
        for source, entry in engine_sockets(name, model):
            yield finding(
                "compose-engine-socket",
                "high",
                f"service {name} mounts {source}: {taken}.",
                "Remove the mount, or put a socket proxy that filters requests in between.",
                **_at(place_of(entry), name),
            )
    except MountError as error:
        evidence = f"service {name}: the mount {error} cannot be read."
        yield unknown("compose-mount", evidence, "Write it as <source>:<target>.", **_at(place_of(service), name))
    if truth(service.get("use_api_socket")):
        yield finding(
            "compose-engine-socket",
            "high",
            f"service {name} has use_api_socket: {taken}.",
            "Remove use_api_socket.",
            **_at(place_of(service["use_api_socket"]), name),
        )
