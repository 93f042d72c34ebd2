# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever a compose file says, the audit neither breaks nor drops a port."""

from __future__ import annotations

import contextlib
import datetime
import json
from dataclasses import dataclass, field
from typing import Any, Union

import yaml
from ansible_collections.daffathan.platform.plugins.module_utils._audit.compose import judge_compose
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeaudit import Auditor
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeenv import (
    VariableError,
    interpolate,
    parse_env,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composemerge import merge
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeports import PortError
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeyaml import ComposeError, documents
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Finding
from hypothesis import given
from hypothesis import strategies as st

TODAY = datetime.date(2026, 6, 1)
DIRECTORY = "/nowhere"


def audit(files: dict[str, str], env: dict[str, str] | None = None) -> list[Finding]:
    """The findings of compose.yml among files that are not on any disk."""

    def read(path: str) -> str:
        if path not in held:
            raise ComposeError(path, "no such file")
        return held[path]

    held = {f"{DIRECTORY}/{name}": text for name, text in files.items()}
    return Auditor(env or {}, read=read).audit([f"{DIRECTORY}/compose.yml"], TODAY)


def all_clean(findings: list[Finding]) -> bool:
    texts = [value for item in findings for value in item.as_dict().values() if isinstance(value, str)]
    return all(text.isprintable() and len(text) <= 1000 for text in texts)


# Pieces that mean something to YAML or Compose, in any order.
PIECES = st.sampled_from(
    ["services:", "a:", "ports:", "- ", "80:80", "{", "}", "[", "]", "<<: ", "&x ", "*x", "!reset ", "!override ", "${"]
    + [
        "}",
        "$",
        ":-",
        "extends: ",
        "include: ",
        "network_mode: ",
        "host",
        "networks: ",
        "volumes: ",
        "\n",
        "\n  ",
        "\n    ",
    ]
    + [
        "'",
        '"',
        "? ",
        "|-\n",
        "---\n",
        "!!binary ",
        "!!python/object:os.system ",
        "#",
        ",",
        "\t",
        "\x00",
        "\ufeff",
        "compose.yml",
    ]
)


@given(st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join))
def test_no_text_breaks_the_audit(text: str) -> None:
    assert all_clean(audit({"compose.yml": text}))


@given(st.text(max_size=200))
def test_no_env_file_breaks_the_audit(text: str) -> None:
    with contextlib.suppress(VariableError):
        parse_env(text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["host", "default"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = ("ports", "networks", "network_mode", "volumes", "volumes_from", "secrets", "configs", "cap_add", "privileged")
SERVICE = st.fixed_dictionaries({}, optional={**dict.fromkeys((*KEYS, "use_api_socket", "container_name"), JSON)})
DEFINITION = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("driver", "driver_opts", "external", "internal", "name"), JSON)
)
MODEL = st.fixed_dictionaries(
    {"services": st.dictionaries(st.sampled_from(["a", "b", "c\n\x1b[31m"]), SERVICE | JSON, max_size=3)},
    optional={
        key: st.dictionaries(st.sampled_from(["default", "n"]), DEFINITION | JSON) for key in ("networks", "volumes")
    },
)


@given(MODEL)
def test_no_model_breaks_the_judgement(model: dict[str, Any]) -> None:
    try:
        assert all_clean(judge_compose(model, today=TODAY))
    except PortError:
        assert not all(value is None or isinstance(value, dict) for value in model["services"].values())
    assert all_clean(audit({"compose.yml": json.dumps(model)}))


# Ports.

ADDRESSES = {"": True, "0.0.0.0": True, "[::]": True, "10.1.2.3": True, "127.0.0.1": False, "[::1]": False}


@dataclass(frozen=True)
class Port:
    """A published port, and whether it is open."""

    number: int
    proto: str
    address: str
    long: bool

    @property
    def open(self) -> bool:
        return ADDRESSES[self.address]

    @property
    def shown(self) -> str:
        return f"{self.address or '0.0.0.0'}:{self.number}->80/{self.proto}"

    @property
    def entry(self) -> Any:
        if self.long:
            entry: dict[str, Any] = {"target": 80, "published": str(self.number), "protocol": self.proto}
            return {**entry, "host_ip": self.address.strip("[]")} if self.address else entry
        return f"{self.address}{':' if self.address else ''}{self.number}:80/{self.proto}"


PORTS = st.lists(
    st.builds(
        Port,
        number=st.integers(1, 65535),
        proto=st.sampled_from(["tcp", "udp", "sctp"]),
        address=st.sampled_from(sorted(ADDRESSES)),
        long=st.booleans(),
    ),
    max_size=4,
)


def missing(findings: list[Finding], service: str, ports: list[Port]) -> list[Port]:
    """The open ports of a service that no finding tells, if nothing about it is unknown."""
    own = [item for item in findings if item.service == service]
    if any(item.severity == "unknown" for item in own):
        return []
    return [port for port in ports if port.open and not any(port.shown in item.evidence for item in own)]


@given(own=PORTS, merged=PORTS, base=PORTS, included=PORTS, flow=st.sampled_from([True, False, None]))
def test_every_open_port_is_found_wherever_it_is_written(
    own: list[Port], merged: list[Port], base: list[Port], included: list[Port], flow: bool | None
) -> None:
    def text(document: dict[str, Any]) -> str:
        return yaml.safe_dump(document, default_flow_style=flow, sort_keys=False)

    def service(ports: list[Port], **more: Any) -> dict[str, Any]:
        return {"image": "app", "ports": [port.entry for port in ports], **more}

    files = {
        "compose.yml": text(
            {
                "include": ["included.yml"],
                "services": {
                    "own": service(own),
                    "merged": {"image": "app", "<<": {"ports": [port.entry for port in merged]}},
                    "extended": service(own, extends={"file": "base.yml", "service": "base"}),
                },
            }
        ).replace("'<<'", "<<"),
        "base.yml": text({"services": {"base": service(base)}}),
        "included.yml": text({"services": {"included": service(included)}}),
    }
    found = audit(files)
    for name, ports in {"own": own, "merged": merged, "extended": own + base, "included": included}.items():
        assert missing(found, name, ports) == []
    closed = [port.shown for port in own + merged + base + included if not port.open]
    assert not [item for item in found if any(shown in item.evidence for shown in closed)]


@given(base=PORTS, over=PORTS)
def test_merging_adds_and_does_so_once(base: list[Port], over: list[Port]) -> None:
    def model(ports: list[Port]) -> Any:
        entries = json.dumps({"ports": [port.entry for port in ports], "cap_add": []})
        return documents(entries, "x", "")[0].root

    path = ("services", "a")
    merged = merge(model(base), model(over), path)
    assert merge(merged, model(over), path) == merged
    assert merge(merged, merged, path) == merged
    shown = {(port.shown, port.open) for port in base + over}
    found = judge_compose({"services": {"a": merged}}, today=TODAY)
    assert {item.evidence.split()[3].rstrip(";") for item in found} == {text for text, is_open in shown if is_open}


# Variables: a tree is written down as text, and worked out without reading that.

NAMES = ("A", "B", "EMPTY", "gone", "_x1")


@dataclass(frozen=True)
class Plain:
    text: str


@dataclass(frozen=True)
class Variable:
    name: str
    operator: str = ""
    other: tuple[Node, ...] = ()


Node = Union[Plain, Variable]


@dataclass
class Reference:
    """What a tree comes to."""

    env: dict[str, str]
    unset: list[str] = field(default_factory=list)

    def value(self, nodes: tuple[Node, ...]) -> str | None:
        parts = [self.one(node) for node in nodes]
        return None if None in parts else "".join(map(str, parts))

    def one(self, node: Node) -> str | None:
        if isinstance(node, Plain):
            return node.text
        held = self.env.get(node.name)
        if not node.operator:
            return held or ""
        there = held is not None and (held != "" or ":" not in node.operator)
        if "-" in node.operator:
            return held if there else self.value(node.other)
        if "+" in node.operator:
            return self.value(node.other) if there else held or ""
        return held if there else None


def written(nodes: tuple[Node, ...]) -> str:
    texts = []
    for node in nodes:
        if isinstance(node, Plain):
            texts.append(node.text.replace("$", "$$"))
        else:
            texts.append(f"${{{node.name}{node.operator}{written(node.other)}}}")
    return "".join(texts)


PLAIN = st.text(alphabet="ab.:-0$ ?+", max_size=4).map(Plain)
OPERATORS = (":-", "-", ":+", "+", ":?", "?")
NODES: st.SearchStrategy[tuple[Node, ...]] = st.recursive(
    st.lists(PLAIN | st.builds(Variable, name=st.sampled_from(NAMES)), max_size=3).map(tuple),
    lambda inner: st.lists(
        PLAIN | st.builds(Variable, name=st.sampled_from(NAMES), operator=st.sampled_from(OPERATORS), other=inner),
        max_size=3,
    ).map(tuple),
    max_leaves=6,
)


@given(NODES, st.dictionaries(st.sampled_from(["A", "B", "_x1"]), st.sampled_from(["", "127.0.0.1", "$A", "0"])))
def test_variables_come_to_what_a_second_way_says(nodes: tuple[Node, ...], given_env: dict[str, str]) -> None:
    env = {**given_env, "EMPTY": ""}
    expected = Reference(env).value(nodes)
    unset: list[str] = []
    try:
        value: str | None = interpolate(written(nodes), env, unset.append)
    except VariableError:
        value = None
    assert value == expected
    assert set(unset) <= set(NAMES) - set(env)


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,8}", fullmatch=True), st.text(max_size=20)))
def test_an_env_file_in_single_quotes_says_what_was_written(env: dict[str, str]) -> None:
    writable = {name: value for name, value in env.items() if not set(value) & set("'\\")}
    text = "".join(f"export {name} = '{value}' # note\n".replace("' # note", "'") for name, value in writable.items())
    assert parse_env(text) == writable
