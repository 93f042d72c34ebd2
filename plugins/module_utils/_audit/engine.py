# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Docker's engine, asked over its Unix socket with nothing but the standard library, and what its answers mean."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# An answer is cut off here rather than filling the memory of the host.
_ANSWER_LIMIT = 64 << 20


class EngineError(Exception):
    """The engine gave no usable answer."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def get(path: str, resource: str, timeout: float) -> Any:
    """A GET without an API version, which every engine from 20.10 on answers in its own version."""
    connection = _UnixConnection(path, timeout)
    deadline = time.monotonic() + timeout
    try:
        connection.request("GET", resource)
        response = connection.getresponse()
        body = b""
        # An engine that sends one byte now and then would never run into the socket's timeout.
        while chunk := response.read1(1 << 20):
            body += chunk
            if len(body) > _ANSWER_LIMIT:
                raise EngineError(f"{resource}: the answer is longer than {_ANSWER_LIMIT >> 20} MiB")
            if time.monotonic() > deadline:
                raise EngineError(f"{resource}: no complete answer within {timeout:g} s")
        if response.length:
            raise EngineError(f"{resource}: the answer is cut, {response.length} bytes are missing")
        if response.status != 200:
            raise EngineError(f"{resource}: status {response.status} {body[:200].decode(errors='replace')}")
        return json.loads(body)
    except (OSError, http.client.HTTPException) as error:
        raise EngineError(f"{path}: {resource}: {error or type(error).__name__}") from None
    except ValueError as error:
        raise EngineError(f"{resource}: not JSON ({error})") from None
    finally:
        connection.close()


@dataclass(frozen=True)
class Binding:
    """A published port of a container."""

    host_ip: str
    port: int
    proto: str
    target: int


@dataclass(frozen=True)
class Container:
    id: str
    name: str
    running: bool
    host_network: bool = False
    networks: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    bindings: tuple[Binding, ...] = ()
    mounts: tuple[str, ...] = ()
    starts_at_boot: str = ""


@dataclass(frozen=True)
class Network:
    name: str
    driver: str
    bridge: str = ""
    host_binding: str = ""
    gateway_modes: tuple[str, ...] = ()
    trusted: str = ""


@dataclass
class Engine:
    """What the engine says of itself."""

    containers: list[Container] = field(default_factory=list)
    networks: dict[str, Network] = field(default_factory=dict)
    swarm: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def bridges(self) -> frozenset[str]:
        return frozenset(network.bridge for network in self.networks.values() if network.bridge)

    def named(self, identifier: str) -> str:
        """The name of a container; what the engine does not know keeps its short id."""
        return next((item.name for item in self.containers if item.id == identifier), identifier[:12])


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise EngineError(f"{what} is not an object")
    return value


def _items(value: Any, what: str) -> Iterable[Any]:
    if value is None:
        return ()
    if not isinstance(value, list) or None in value:
        raise EngineError(f"{what} is not a list, or has an empty element")
    return value


def _number(value: Any) -> int:
    try:
        number = int(value or 0)
    except (TypeError, ValueError):
        raise EngineError(f"{value!r} is not a port") from None
    if not 0 <= number <= 65535:
        raise EngineError(f"{number} is not a port")
    return number


def parse_container(item: Any) -> Container:
    """One element of /containers/json."""
    body = _mapping(item, "a container")
    identifier = str(body.get("Id") or "")
    if not identifier:
        raise EngineError("a container has no Id")
    names = [str(name).lstrip("/") for name in _items(body.get("Names"), "Names")]
    attached = _mapping(_mapping(body.get("NetworkSettings"), "NetworkSettings").get("Networks"), "Networks")
    addresses = []
    for endpoint in attached.values():
        endpoint = _mapping(endpoint, "an endpoint")
        addresses += [str(endpoint[key]) for key in ("IPAddress", "GlobalIPv6Address") if endpoint.get(key)]
    bindings = []
    for port in _items(body.get("Ports"), "Ports"):
        port = _mapping(port, "a port")
        if port.get("PublicPort"):
            number, target = _number(port["PublicPort"]), _number(port.get("PrivatePort"))
            bindings.append(Binding(str(port.get("IP") or ""), number, str(port.get("Type") or "tcp"), target))
    return Container(
        id=identifier,
        name=names[0] if names else identifier[:12],
        running=str(body.get("State")) in ("running", "paused", "restarting"),
        host_network=_mapping(body.get("HostConfig"), "HostConfig").get("NetworkMode") == "host" or "host" in attached,
        networks=tuple(str(name) for name in attached),
        addresses=tuple(addresses),
        bindings=tuple(bindings),
        mounts=tuple(
            str(_mapping(mount, "a mount").get("Source") or "") for mount in _items(body.get("Mounts"), "Mounts")
        ),
    )


def parse_stopped(container: Container, inspected: Any, networks: Mapping[str, Network]) -> Container:
    """A stopped container with the ports it would publish, from /containers/{id}/json."""
    config = _mapping(_mapping(inspected, "the container").get("HostConfig"), "HostConfig")
    policy = str(_mapping(config.get("RestartPolicy"), "RestartPolicy").get("Name") or "no")
    mode = str(config.get("NetworkMode") or "default")
    network = networks.get("bridge" if mode == "default" else mode)
    default = network.host_binding if network else ""
    bindings = []
    for key, values in _mapping(config.get("PortBindings"), "PortBindings").items():
        target, dummy, proto = str(key).partition("/")
        for value in _items(values, "a port binding"):
            value = _mapping(value, "a port binding")
            # The engine takes a range here; its first port stands for it.
            port = str(value.get("HostPort") or "0").partition("-")[0]
            host_ip = str(value.get("HostIp") or default)
            bindings.append(Binding(host_ip, _number(port), proto or "tcp", _number(target.partition("-")[0])))
    return Container(
        id=container.id,
        name=container.name,
        running=False,
        host_network=mode == "host",
        networks=container.networks,
        bindings=tuple(bindings),
        mounts=container.mounts,
        starts_at_boot="" if policy in ("no", "") else policy,
    )


def parse_network(item: Any) -> Network:
    """One element of /networks."""
    body = _mapping(item, "a network")
    options = _mapping(body.get("Options"), "Options")
    prefix = "com.docker.network.bridge."
    driver, identifier = str(body.get("Driver") or ""), str(body.get("Id") or "")
    bridge = str(options.get(f"{prefix}name") or f"br-{identifier[:12]}") if driver == "bridge" else ""
    modes = (str(options.get(f"{prefix}gateway_mode_ipv{family}") or "") for family in (4, 6))
    return Network(
        name=str(body.get("Name") or identifier[:12]),
        driver=driver,
        bridge=bridge,
        host_binding=str(options.get(f"{prefix}host_binding_ipv4") or ""),
        gateway_modes=tuple(mode for mode in modes if mode),
        trusted=str(options.get(f"{prefix}trusted_host_interfaces") or ""),
    )


def read(path: str, timeout: float) -> Engine:
    """Everything the audit wants to know of an engine."""
    engine = Engine()
    for item in _items(get(path, "/networks", timeout), "/networks"):
        network = parse_network(item)
        engine.networks[network.name] = network
    for item in _items(get(path, "/containers/json?all=1", timeout), "/containers/json"):
        container = parse_container(item)
        if not container.running:
            try:
                container = parse_stopped(
                    container, get(path, f"/containers/{container.id}/json", timeout), engine.networks
                )
            except EngineError as error:
                # Removed between the two questions.
                if "status 404" in str(error):
                    continue
                raise
        engine.containers.append(container)
    info = _mapping(get(path, "/info", timeout), "/info")
    engine.swarm = _mapping(info.get("Swarm"), "Swarm").get("LocalNodeState") in ("active", "locked", "pending")
    engine.warnings = tuple(str(warning) for warning in _items(info.get("Warnings"), "Warnings"))
    return engine


@dataclass(frozen=True)
class Daemon:
    """What daemon.json and the command line of dockerd say."""

    hosts: tuple[str, ...] = ()
    tls_verify: bool = False
    off: tuple[str, ...] = ()
    direct_routing: bool = False


def parse_daemon(text: str, arguments: Iterable[str] = ()) -> Daemon:
    """daemon.json (empty text: there is none) and the arguments of the running dockerd."""
    try:
        config = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise EngineError(f"not JSON ({error})") from None
    config = _mapping(config, "the file")
    words = list(arguments)
    hosts = [str(host) for host in _items(config.get("hosts"), "hosts")]
    for position, word in enumerate(words):
        if word in ("-H", "--host") and position + 1 < len(words):
            hosts.append(words[position + 1])
        elif word.startswith(("--host=", "-H=")):
            hosts.append(word.partition("=")[2])
    off = [key for key in ("iptables", "ip6tables") if config.get(key) is False or f"--{key}=false" in words]
    return Daemon(
        hosts=tuple(hosts),
        tls_verify=config.get("tlsverify") is True or "--tlsverify" in words or "--tlsverify=true" in words,
        off=tuple(off),
        direct_routing=config.get("allow-direct-routing") is True or "--allow-direct-routing" in words,
    )
