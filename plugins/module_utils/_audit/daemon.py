# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""How dockerd is set up: its configuration file and its command line, now and after the next start."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine import items, mapping
from ansible_collections.daffathan.platform.plugins.module_utils._audit.engine_client import EngineError

FILE = "/etc/docker/daemon.json"
# Flags of dockerd that bear on what can be reached. Those of the first list take no value of their own.
_SWITCHES = frozenset(
    ("tls", "tlsverify", "iptables", "ip6tables", "userland-proxy", "allow-direct-routing", "ip-forward", "icc")
)
_VALUES = frozenset(("host", "ip", "default-network-opt", "firewall-backend", "config-file", "metrics-addr", "bridge"))
_SHORT_SWITCHES = "Dv"
_SHORT_VALUES = {"H": "host", "b": "bridge"}
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
# The file names two flags in the plural.
_PLURAL = {"hosts": "host"}
_BOM = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
NO_RAW = "DOCKER_INSECURE_NO_IPTABLES_RAW"

Options = Mapping[str, "tuple[str, ...]"]


@dataclass(frozen=True)
class Configuration:
    """One way in which dockerd runs, or will run after its next start."""

    source: str
    running: bool
    options: Options = field(default_factory=dict)

    def on(self, name: str, default: bool) -> bool:
        values = self.options.get(name)
        return values[-1] in _TRUE if values else default

    def value(self, name: str) -> str:
        return (self.options.get(name) or ("",))[-1]

    @property
    def hosts(self) -> tuple[str, ...]:
        return self.options.get("host", ())

    @property
    def default_bindings(self) -> tuple[str, str]:
        """The address ports are published on: on the default bridge, and on bridge networks made from now on."""
        option = "bridge=com.docker.network.bridge.host_binding_ipv4="
        found = [text[len(option) :] for text in self.options.get("default-network-opt", ()) if text.startswith(option)]
        return self.value("ip"), found[-1] if found else ""


@dataclass(frozen=True)
class Daemon:
    """Every configuration of an engine; `newer` names a file that was changed after the engine was started."""

    configurations: tuple[Configuration, ...] = ()
    newer: str = ""

    def where(self, holds: Any) -> tuple[list[Configuration], bool]:
        """The configurations for which something holds, and whether one of them is at work now."""
        found = [item for item in self.configurations if holds(item)]
        return found, any(item.running for item in found)


def decoded(data: bytes) -> str:
    """The text of the file; dockerd takes a byte order mark. :raises EngineError: it is not UTF-8."""
    encoding = next((name for mark, name in _BOM if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise EngineError(f"byte {error.start + 1} is not {encoding} ({error.reason})") from None


def _word(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def parse_file(text: str) -> dict[str, tuple[str, ...]]:
    """The options in daemon.json; an empty text is a file without any."""
    try:
        config = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise EngineError(f"not JSON ({error})") from None
    found: dict[str, tuple[str, ...]] = {}
    for key, value in mapping(config, "the file").items():
        name = _PLURAL.get(key, key)
        if name in _SWITCHES:
            # dockerd does not start with another type here.
            if not isinstance(value, bool):
                raise EngineError(f"{key} is {json.dumps(value)[:40]}, not true or false")
            found[name] = (_word(value),)
        elif name == "host":
            found[name] = tuple(str(host) for host in items(value, key))
        elif key == "default-network-opts":
            found["default-network-opt"] = tuple(
                f"{driver}={option}={_word(setting)}"
                for driver, options in mapping(value, key).items()
                for option, setting in mapping(options, f"{key}.{driver}").items()
            )
        elif name in _VALUES:
            found[name] = (_word(value),)
    return found


def _flags(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Long names of flags with their values, as pflag reads them."""
    waiting = iter(words)
    for word in waiting:
        if word == "--":
            return
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if name in _VALUES and not equals:
                value = next(waiting, "")
            yield name, value if equals or name in _VALUES else "true"
        elif word.startswith("-"):
            letters = word[1:]
            while letters and letters[0] in _SHORT_SWITCHES:
                letters = letters[1:]
            if letters and letters[0] in _SHORT_VALUES:
                value = letters[1:]
                value = value[1:] if value.startswith("=") else value
                yield _SHORT_VALUES[letters[0]], value or next(waiting, "")


def parse_arguments(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The options on a command line of dockerd, its own name left out."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in _flags(words):
        if name in _SWITCHES | _VALUES:
            found[name] = (*found.get(name, ()), value)
    return found


def configuration(source: str, running: bool, arguments: Options, file: Options) -> Configuration:
    """What a command line and the file make together; dockerd refuses an option that both have."""
    return Configuration(source, running, {**file, **arguments})


def listened(streams: Iterable[str]) -> tuple[str, ...]:
    """ListenStream= of docker.socket as addresses of dockerd; systemd.socket(5)."""
    found = []
    for stream in streams:
        if stream.isdigit():
            found.append(f"tcp://[::]:{stream}")
        elif not stream.startswith(("/", "@", "%", "vsock:")):
            found.append(f"tcp://{stream}")
    return tuple(found)
