# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""Judge a compose model: what it would publish or open once it runs."""

from __future__ import annotations

import datetime
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    PUBLISHED_SEVERITY,
    Expected,
    Finding,
    finding,
    host_ip_class,
    unknown,
)

# (service, key of the service, index in its list) -> (file, line)
Locate = Callable[[str, str, int], "tuple[str, int]"]

ENGINE_SOCKETS = (
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/docker/containerd/containerd.sock",
)
_SHORT = re.compile(
    r"^(?:(?P<ip>\[[^\]]*\]|[^:]*):)??(?:(?P<published>[0-9]*(?:-[0-9]+)?):)?(?P<target>[0-9]+(?:-[0-9]+)?)"
    r"(?:/(?P<protocol>[a-zA-Z]+))?$"
)


class PortError(Exception):
    """A port entry that cannot be understood."""


@dataclass(frozen=True)
class Published:
    """One port entry: where on the host, which ports (0 to 0: the engine chooses), which port of the container."""

    host_ip: str
    first: int
    last: int
    target: str
    proto: str

    @property
    def _ports(self) -> str:
        if not self.first:
            return ""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def text(self) -> str:
        host = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip or "0.0.0.0"
        return f"{host}:{self._ports or 'random'}->{self.target}/{self.proto}"

    @property
    def remedy(self) -> str:
        loopback = "[::1]" if ":" in self.host_ip else "127.0.0.1"
        suffix = "" if self.proto == "tcp" else f"/{self.proto}"
        return f'"{loopback}:{self._ports}:{self.target}{suffix}"'


def _range(text: str) -> tuple[int, int]:
    first, dummy, last = text.partition("-")
    low, high = int(first), int(last or first)
    if not 0 <= low <= high <= 65535:
        raise PortError(f"{text} is not a port or a range of ports")
    return low, high


def parse_port(entry: object) -> Published:
    """A port in the short or the long syntax of a compose file."""
    if isinstance(entry, Mapping):
        target = str(entry.get("target") or "")
        published = str(entry.get("published") or "")
        if not re.fullmatch(r"[0-9]+(-[0-9]+)?", target) or not re.fullmatch(r"([0-9]+(-[0-9]+)?)?", published):
            raise PortError(f"target {target!r}, published {published!r}")
        host_ip = str(entry.get("host_ip") or "")
        protocol = str(entry.get("protocol") or "tcp")
    else:
        match = _SHORT.match(str(entry).strip())
        if isinstance(entry, bool) or match is None:
            raise PortError(repr(entry))
        target, published = match["target"], match["published"] or ""
        host_ip, protocol = (match["ip"] or "").strip("[]"), match["protocol"] or "tcp"
    _range(target)
    first, last = _range(published) if published else (0, 0)
    return Published(host_ip, first, last, target, protocol.lower())


def _nowhere(service: str, key: str, index: int) -> tuple[str, int]:
    return "", 0


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


def _list(service: Mapping[str, Any], key: str) -> list[Any]:
    value = service.get(key) or []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def published_beyond_loopback(model: Mapping[str, Any], locate: Locate = _nowhere) -> list[Finding]:
    """Every port of a compose model that would be published to more than this host; [] means none.

    Services on the host network are not part of the answer: judge_compose reports them.
    """
    found = []
    for name, service in _services(model):
        for index, entry in enumerate(_list(service, "ports")):
            file, line = locate(name, "ports", index)
            place: dict[str, Any] = {"service": name, "file": file, "line": line, "path": "latent"}
            try:
                port = parse_port(entry)
            except PortError as error:
                remedy = 'Write it as "127.0.0.1:<host port>:<container port>".'
                found.append(unknown("compose-port", f"service {name}: port {error} cannot be read.", remedy, **place))
                continue
            kind = host_ip_class(port.host_ip)
            if kind == "loopback":
                continue
            evidence = f"service {name} publishes {port.text}; Docker opens such a port past the firewall."
            remedy = f"Write {port.remedy}, or leave the port out: the gateway reaches the service without it."
            place.update(proto=port.proto, host_ip=port.host_ip or "0.0.0.0", port=port.first)
            found.append(finding("compose-published-port", PUBLISHED_SEVERITY[kind], evidence, remedy, **place))
    return found


def _bind_source(entry: object) -> str:
    if isinstance(entry, Mapping):
        return str(entry.get("source") or "") if entry.get("type") in (None, "bind") else ""
    source = str(entry).partition(":")[0]
    return source if source.startswith(("/", ".", "~")) else ""


def reaches_engine_socket(source: str) -> bool:
    """Whether a bind mount of this path hands out the socket of a container engine."""
    if not source.startswith("/"):
        return False
    path = "/" + posixpath.normpath(source).lstrip("/")
    if path == "/var/run" or path.startswith("/var/run/"):
        path = path[len("/var") :]
    parent = path if path.endswith("/") else path + "/"
    return any(socket == path or socket.startswith(parent) for socket in ENGINE_SOCKETS)


def _on_host_network(service: Mapping[str, Any]) -> bool:
    networks = service.get("networks") or {}
    names = networks if isinstance(networks, (list, Mapping)) else [networks]
    return service.get("network_mode") == "host" or "host" in names


def _opened(model: Mapping[str, Any], locate: Locate) -> Iterator[Finding]:
    for name, service in _services(model):
        if _on_host_network(service):
            file, line = locate(name, "network_mode", 0)
            yield finding(
                "compose-host-network",
                "high",
                f"service {name} uses the network of the host: every port it opens is a port of the host.",
                "Remove network_mode: host and let the gateway reach the service.",
                **{"service": name, "file": file, "line": line, "path": "latent"},
            )
        for index, entry in enumerate(_list(service, "volumes")):
            source = _bind_source(entry)
            if reaches_engine_socket(source):
                file, line = locate(name, "volumes", index)
                yield finding(
                    "compose-engine-socket",
                    "high",
                    f"service {name} mounts {source}: whoever takes over the container is root on the host.",
                    "Remove the mount, or put a socket proxy that filters requests in between.",
                    **{"service": name, "file": file, "line": line, "path": "latent"},
                )
        if service.get("use_api_socket") in (True, "true"):
            file, line = locate(name, "use_api_socket", 0)
            yield finding(
                "compose-engine-socket",
                "high",
                f"service {name} has use_api_socket: whoever takes over the container is root on the host.",
                "Remove use_api_socket.",
                **{"service": name, "file": file, "line": line, "path": "latent"},
            )
    networks = model.get("networks") or {}
    for name, network in sorted(networks.items()) if isinstance(networks, Mapping) else []:
        driver = str((network or {}).get("driver") or "") if isinstance(network, Mapping) else ""
        if driver in ("macvlan", "ipvlan"):
            file, line = locate(str(name), "networks", 0)
            yield finding(
                "compose-l2-network",
                "critical",
                f"network {name} ({driver}): its containers have addresses of their own, beside the host's firewall.",
                "Use a bridge network.",
                **{"service": str(name), "file": file, "line": line, "path": "l2"},
            )


def _declared(item: Finding, model: Mapping[str, Any], expected: Iterable[Expected], today: datetime.date) -> bool:
    if item.id != "compose-published-port" or not item.port:
        return False
    ports = [parse_port(entry) for entry in _list((model.get("services") or {})[item.service], "ports")]
    last = max(port.last for port in ports if port.first == item.port)
    names = {
        (entry.proto, entry.port)
        for entry in expected
        if not entry.expired(today) and entry.container in ("", item.service)
    }
    return all((item.proto, number) in names for number in range(item.port, last + 1))


def judge_compose(
    model: Mapping[str, Any], expected: Iterable[Expected] = (), *, locate: Locate = _nowhere, today: datetime.date
) -> list[Finding]:
    """Everything in a compose model that would open the host; declared ports are left out."""
    declared = tuple(expected)
    published = published_beyond_loopback(model, locate)
    return [item for item in published if not _declared(item, model, declared, today)] + list(_opened(model, locate))
