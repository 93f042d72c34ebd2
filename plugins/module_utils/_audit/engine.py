# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What a container engine says of itself: its answers as values. Whatever they hold, they are text of others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine_client import EngineError
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import host_ip_class

# States in which a container has its published ports; between two attempts to start it has none.
_RUNNING = ("running", "paused")
_NEVER = "0001-01-01"
BRIDGE_OPTION = "com.docker.network.bridge."
SWARM_STATES = ("active", "locked", "pending", "error")


@dataclass(frozen=True)
class Binding:
    """A published port of a container; with `last`, one port out of a range."""

    host_ip: str
    port: int
    proto: str
    target: int
    last: int = 0

    @property
    def ports(self) -> range:
        return range(self.port, max(self.last, self.port) + 1)

    @property
    def text(self) -> str:
        return f"{self.port}-{self.last}" if self.last > self.port else str(self.port or "random")


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
    state: str = ""
    pid: int = 0
    # The container whose network namespace this one is in.
    joined: str = ""
    engine: str = "docker"
    rootless: bool = False


@dataclass(frozen=True)
class Network:
    name: str
    driver: str
    bridge: str = ""
    host_binding: str = ""
    gateway_modes: tuple[str, ...] = ()
    trusted: str = ""
    internal: bool = False
    scope: str = "local"
    parent: str = ""
    mode: str = ""
    engine: str = "docker"

    @property
    def publishes(self) -> bool:
        """Whether a port published here is opened by the default address of this network."""
        swarm = self.scope == "swarm" or self.name in ("ingress", "docker_gwbridge")
        return self.driver == "bridge" and not self.internal and not swarm and self.engine == "docker"


@dataclass(frozen=True)
class Service:
    """A service of a swarm and its published ports; mode is ingress (on every node) or host."""

    name: str
    ports: tuple[tuple[Binding, str], ...]


@dataclass
class Engine:
    """What the engines say of themselves; `problems` is what they did not answer."""

    containers: list[Container] = field(default_factory=list)
    networks: dict[str, Network] = field(default_factory=dict)
    swarm: bool = False
    warnings: tuple[str, ...] = ()
    version: str = ""
    backend: str = ""
    root: str = ""
    rootless: bool = False
    manager: bool = False
    services: list[Service] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def bridges(self) -> frozenset[str]:
        return frozenset(network.bridge for network in self.networks.values() if network.bridge)

    def named(self, identifier: str) -> str:
        """The name of a container; what the engine does not know keeps its short id."""
        return next((item.name for item in self.containers if item.id == identifier), identifier[:12])

    def service_at(self, proto: str, port: int) -> str:
        """The service of a swarm that publishes a port."""
        for service in self.services:
            if any(binding.proto == proto and port in binding.ports for binding, _mode in service.ports):
                return service.name
        return ""

    def joined(self, other: Engine, label: str) -> Engine:
        """This engine with the containers and networks of another one, whose networks keep apart by its name."""
        containers = [
            replace(item, networks=tuple(f"{label}/{name}" for name in item.networks)) for item in other.containers
        ]
        networks = {f"{label}/{name}": network for name, network in other.networks.items()}
        return replace(
            self,
            containers=self.containers + containers,
            networks={**self.networks, **networks},
            problems=self.problems + other.problems,
        )


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """An object of the answer; null counts as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise EngineError(f"{what} is not an object")
    return value


def items(value: Any, what: str) -> Iterable[Any]:
    """A list of the answer; null counts as an empty one."""
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


def _mounts(body: Mapping[str, Any], devices: Mapping[str, str]) -> Iterator[str]:
    """Paths of the host in a container; those of a volume that binds a path are that path."""
    for mount in items(body.get("Mounts"), "Mounts"):
        mount = mapping(mount, "a mount")
        yield devices.get(str(mount.get("Name") or ""), str(mount.get("Source") or ""))


def parse_container(item: Any, devices: Mapping[str, str] | None = None) -> Container:
    """One element of /containers/json.

    :param devices: what parse_volumes found.
    """
    body = mapping(item, "a container")
    identifier = str(body.get("Id") or "")
    if not identifier:
        raise EngineError("a container has no Id")
    names = [str(name).lstrip("/") for name in items(body.get("Names"), "Names")]
    attached = mapping(mapping(body.get("NetworkSettings"), "NetworkSettings").get("Networks"), "Networks")
    addresses = []
    for endpoint in attached.values():
        endpoint = mapping(endpoint, "an endpoint")
        addresses += [str(endpoint[key]) for key in ("IPAddress", "GlobalIPv6Address") if endpoint.get(key)]
    bindings = []
    for port in items(body.get("Ports"), "Ports"):
        port = mapping(port, "a port")
        if port.get("PublicPort"):
            number, target = _number(port["PublicPort"]), _number(port.get("PrivatePort"))
            bindings.append(Binding(str(port.get("IP") or ""), number, str(port.get("Type") or "tcp"), target))
    state = str(body.get("State") or "")
    mode = str(mapping(body.get("HostConfig"), "HostConfig").get("NetworkMode") or "")
    return Container(
        id=identifier,
        name=names[0] if names else identifier[:12],
        running=state in _RUNNING,
        host_network=mode == "host" or "host" in attached,
        networks=tuple(str(name) for name in attached),
        addresses=tuple(addresses),
        bindings=tuple(bindings),
        mounts=tuple(_mounts(body, devices or {})),
        state=state,
        joined=mode.partition(":")[2] if mode.startswith("container:") else "",
    )


def default_binding(names: Iterable[str], networks: Mapping[str, Network]) -> str:
    """The address a port without one is published on: the worst of the networks that may become the gateway's."""
    known = [networks[name] for name in names if name in networks]
    found = [network.host_binding for network in known if network.driver == "bridge" and not network.internal]
    return next((text for text in found if host_ip_class(text) != "loopback"), found[0] if found else "")


def starts_at_boot(body: Mapping[str, Any], by_hand: bool) -> str:
    """The restart policy that starts a stopped container with the engine; empty if none does.

    As the engine decides it: moby, daemon/daemon.go (restore) and restartmanager.ShouldRestart.
    """
    state = mapping(body.get("State"), "State")
    if state.get("Restarting"):
        return "restarting"
    policy = mapping(mapping(body.get("HostConfig"), "HostConfig").get("RestartPolicy"), "RestartPolicy")
    name = str(policy.get("Name") or "no")
    never_started = str(state.get("StartedAt") or _NEVER).startswith(_NEVER) and state.get("Status") == "created"
    if name == "no" or never_started or (name == "unless-stopped" and by_hand):
        return ""
    return "" if name == "on-failure" and not state.get("ExitCode", 1) else name


def parse_stopped(
    container: Container, inspected: Any, networks: Mapping[str, Network], by_hand: bool = False
) -> Container:
    """A stopped container with the ports it would publish, from /containers/{id}/json.

    :param by_hand: somebody stopped it, so that the policy unless-stopped does not start it.
    """
    body = mapping(inspected, "the container")
    config = mapping(body.get("HostConfig"), "HostConfig")
    mode = str(config.get("NetworkMode") or "default")
    default = default_binding({"bridge" if mode == "default" else mode, *container.networks}, networks)
    bindings = []
    for key, values in mapping(config.get("PortBindings"), "PortBindings").items():
        target, dummy, proto = str(key).partition("/")
        for value in items(values, "a port binding"):
            value = mapping(value, "a port binding")
            first, dummy, last = str(value.get("HostPort") or "0").partition("-")
            address = str(value.get("HostIp") or default)
            port, inside = _number(first), _number(target.partition("-")[0])
            bindings.append(Binding(address, port, proto or "tcp", inside, _number(last)))
    if config.get("PublishAllPorts"):
        exposed = mapping(mapping(body.get("Config"), "Config").get("ExposedPorts"), "ExposedPorts")
        taken = {(binding.target, binding.proto) for binding in bindings}
        for key in exposed:
            target, dummy, proto = str(key).partition("/")
            inside = _number(target.partition("-")[0])
            if (inside, proto or "tcp") not in taken:
                bindings.append(Binding(default, 0, proto or "tcp", inside))
    # On these networks the engine publishes nothing, whatever was asked for.
    bare = mode in ("host", "none") or mode.startswith("container:")
    return replace(
        container,
        running=False,
        host_network=mode == "host",
        bindings=() if bare else tuple(bindings),
        starts_at_boot=starts_at_boot(body, by_hand),
    )


def shared_networks(containers: Iterable[Container]) -> list[Container]:
    """Containers in the network namespace of another one have its network, that of the host too."""
    known = {container.id: container for container in containers}
    by_name = {container.name: container for container in known.values()}

    def owner(container: Container) -> Container:
        seen = set()
        while container.joined and container.id not in seen:
            seen.add(container.id)
            other = known.get(container.joined) or by_name.get(container.joined)
            if other is None:
                break
            container = other
        return container

    return [
        replace(item, host_network=owner(item).host_network, networks=owner(item).networks) if item.joined else item
        for item in known.values()
    ]


def parse_network(item: Any) -> Network:
    """One element of /networks."""
    body = mapping(item, "a network")
    options = mapping(body.get("Options"), "Options")
    driver, identifier = str(body.get("Driver") or ""), str(body.get("Id") or "")
    bridge = str(options.get(f"{BRIDGE_OPTION}name") or f"br-{identifier[:12]}") if driver == "bridge" else ""
    modes = (str(options.get(f"{BRIDGE_OPTION}gateway_mode_ipv{family}") or "") for family in (4, 6))
    return Network(
        name=str(body.get("Name") or identifier[:12]),
        driver=driver,
        bridge=bridge,
        host_binding=str(options.get(f"{BRIDGE_OPTION}host_binding_ipv4") or ""),
        gateway_modes=tuple(mode for mode in modes if mode),
        trusted=str(options.get(f"{BRIDGE_OPTION}trusted_host_interfaces") or ""),
        internal=body.get("Internal") is True,
        scope=str(body.get("Scope") or "local"),
        parent=str(options.get("parent") or ""),
        mode=str(options.get("macvlan_mode") or options.get("ipvlan_mode") or ""),
    )


def parse_volumes(answer: Any) -> dict[str, str]:
    """Volumes that are a path of the host, from /volumes: name -> path."""
    devices = {}
    for volume in items(mapping(answer, "/volumes").get("Volumes"), "Volumes"):
        options = mapping(mapping(volume, "a volume").get("Options"), "Options")
        if str(options.get("device") or "").startswith("/"):
            devices[str(volume.get("Name") or "")] = str(options["device"])
    return devices


def parse_services(answer: Any) -> list[Service]:
    """/services of a manager of a swarm."""
    found = []
    for item in items(answer, "/services"):
        body = mapping(item, "a service")
        ports = []
        for port in items(mapping(body.get("Endpoint"), "Endpoint").get("Ports"), "Ports"):
            port = mapping(port, "a port")
            number, target = _number(port.get("PublishedPort")), _number(port.get("TargetPort"))
            binding = Binding("0.0.0.0", number, str(port.get("Protocol") or "tcp"), target)
            ports.append((binding, str(port.get("PublishMode") or "ingress")))
        name = str(mapping(body.get("Spec"), "Spec").get("Name") or body.get("ID") or "")
        found.append(Service(name, tuple(ports)))
    return found


def apply_info(engine: Engine, answer: Any) -> None:
    """What /info tells."""
    info = mapping(answer, "/info")
    swarm = mapping(info.get("Swarm"), "Swarm")
    engine.swarm = swarm.get("LocalNodeState") in SWARM_STATES
    engine.manager = swarm.get("ControlAvailable") is True
    engine.warnings = tuple(str(warning) for warning in items(info.get("Warnings"), "Warnings"))
    engine.version = str(info.get("ServerVersion") or "")
    engine.backend = str(mapping(info.get("FirewallBackend"), "FirewallBackend").get("Driver") or "")
    engine.root = str(info.get("DockerRootDir") or "")
    engine.rootless = any("rootless" in str(option) for option in items(info.get("SecurityOptions"), "SecurityOptions"))
