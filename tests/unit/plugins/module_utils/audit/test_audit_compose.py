# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import composeyaml
from ansible_collections.daffathan.platform.plugins.module_utils._audit.compose import (
    judge_compose,
    published_beyond_loopback,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeaudit import Auditor
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composemounts import reaches_engine_socket
from ansible_collections.daffathan.platform.plugins.module_utils._audit.composeports import PortError
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import Finding, InputError, parse_expected
from hypothesis import given
from hypothesis import strategies as st

TODAY = datetime.date(2026, 6, 1)
CORPUS = Path(__file__).parent / "corpus"


def severities(ports: list[Any]) -> list[str]:
    return [item.severity for item in published_beyond_loopback({"services": {"api": {"ports": ports}}})]


@pytest.mark.parametrize(
    ("port", "severity"),
    [
        ("127.0.0.1:8080:80", None),
        ("127.0.0.2:8080:80", None),
        ("[::1]:8080:80", None),
        ("127.0.0.1::80", None),
        ("127.0.0.1:5000-5010:5000-5010/udp", None),
        ({"target": 80, "published": "8080", "host_ip": "127.0.0.1"}, None),
        ({"target": 80, "published": 8080, "host_ip": "::1"}, None),
        ("80", "critical"),
        (80, "critical"),
        ("8080:80", "critical"),
        (":8080:80", "critical"),
        ("0.0.0.0:8080:80", "critical"),
        ("[::]:8080:80", "critical"),
        ("[::ffff:8.8.8.8]:8080:80", "critical"),
        ("8.8.8.8:8080:80", "critical"),
        ("22:22", "critical"),
        ("3000-3005", "critical"),
        ("9090-9091:8080-8081/udp", "critical"),
        ("10.0.0.1:8080:80", "high"),
        ("192.168.1.1:8080:80", "high"),
        ("100.64.1.1:8080:80", "high"),
        ("[fd00::1]:8080:80", "high"),
        ("::1:8080:80", None),
        ({"target": 80}, "critical"),
        ({"target": 80, "published": "8080", "host_ip": "::"}, "critical"),
        ({"target": 80, "published": "8080", "protocol": "udp", "mode": "ingress"}, "critical"),
        ({"target": 80, "published": "8080", "host_ip": "localhost"}, "critical"),
        ({"target": 80, "published": "8080", "host_ip": "[::1]"}, "critical"),
        ({"target": 80, "published": "8080", "host_ip": "::1%lo"}, "critical"),
        ({"target": 80, "published": "8080", "host_ip": " 127.0.0.1"}, "critical"),
        ("localhost:8080:80", "unknown"),
        ("[::1%lo]:8080:80", "unknown"),
        (" 127.0.0.1:8080:80", "unknown"),
        ("8080:80/icmp", "unknown"),
        ("9000-9005:80-81", "unknown"),
        ("9001-9000:80", "unknown"),
        (8080.5, "unknown"),
        ({"target": 80, "published": ["8080"]}, "unknown"),
        ({"target": 80, "published": "8080", "protocol": "icmp"}, "unknown"),
        ("http:80", "unknown"),
        ("", "unknown"),
        (True, "unknown"),
        (None, "unknown"),
        ("99999:80", "unknown"),
        ({"published": "8080"}, "unknown"),
        ({"target": "a"}, "unknown"),
        ({"target": 80, "published": "8080-"}, "unknown"),
        ([], "unknown"),
    ],
)
def test_one_port(port: Any, severity: str | None) -> None:
    assert severities([port]) == ([severity] if severity else [])


def test_the_message_names_service_port_and_remedy() -> None:
    item = published_beyond_loopback({"services": {"db": {"ports": [{"target": 5432, "published": "15432"}]}}})[0]
    assert "service db" in item.evidence and "0.0.0.0:15432->5432/tcp" in item.evidence
    assert '"127.0.0.1:15432:5432"' in item.remediation
    assert (item.service, item.port, item.proto) == ("db", 15432, "tcp")


@pytest.mark.parametrize(
    ("source", "reaches"),
    [
        ("/var/run/docker.sock", True),
        ("/run/docker.sock", True),
        ("/run", True),
        ("/var/run/", True),
        ("/", True),
        ("//run/../run/docker.sock", True),
        ("/run/podman/podman.sock", True),
        ("/run/daffathan/gateway", False),
        ("/run/user/1000/docker.sock", True),
        ("/proc/1/root/var/run/docker.sock", True),
        ("/proc/self/root", True),
        ("/proc/1/rootless", False),
        ("/run/docker.sock.d", False),
        ("/var", False),
        ("data", False),
        ("", False),
    ],
)
def test_engine_sockets(source: str, reaches: bool) -> None:
    assert reaches_engine_socket(source) is reaches


def test_declared_ports_of_a_compose_file() -> None:
    model = {"services": {"proxy": {"ports": ["443:443", "8000-8002:80-82"]}}}
    expected = parse_expected([{"port": 443}, {"port": 8000}, {"port": 8001}])
    found = judge_compose(model, expected, today=TODAY)
    assert [item.port for item in found] == [8000]
    only = parse_expected([{"port": 443, "container": "other"}])
    assert {item.port for item in judge_compose(model, only, today=TODAY)} == {443, 8000}


@pytest.mark.parametrize("model", [{}, {"services": None}, {"services": {}}, {"services": {"a": None}}])
def test_models_without_ports(model: dict[str, Any]) -> None:
    assert judge_compose(model, today=TODAY) == []


@pytest.mark.parametrize("model", [{"services": []}, {"services": {"a": []}}, {"services": "x"}])
def test_models_that_are_none(model: dict[str, Any]) -> None:
    with pytest.raises(PortError):
        judge_compose(model, today=TODAY)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_no_port_entry_is_dropped_silently(entry: Any) -> None:
    found = severities([entry])
    text = str(entry)
    assert found or "127." in text or "::1" in text or "localhost" in text or "::ffff:7f" in text


def audit(
    tmp_path: Path, text: str, env: dict[str, str] | None = None, files: dict[str, str] | None = None
) -> list[Finding]:
    for name, content in (files or {}).items():
        (tmp_path / name).write_text(content)
    path = tmp_path / "stack.yml"
    path.write_text(text)
    return Auditor(env or {}).audit([str(path)], TODAY)


def judged(findings: list[Finding]) -> list[tuple[str, str, int]]:
    return sorted(((item.id, item.service, item.line) for item in findings), key=lambda item: item[2])


def test_lines_merge_keys_and_yaml_1_2_scalars(tmp_path: Path) -> None:
    text = """\
x-base: &base
  ports:
    - 22:22
services:
  a:
    <<: *base
  b:
    ports: ["127.0.0.1:80:80",
            "8080:80"]
  c:
    network_mode: host
    volumes:
      - data:/data
      - /var/run/docker.sock:/var/run/docker.sock:ro
"""
    assert judged(audit(tmp_path, text)) == [
        ("compose-published-port", "a", 3),
        ("compose-published-port", "b", 9),
        ("compose-host-network", "c", 11),
        ("compose-engine-socket", "c", 14),
    ]


@pytest.mark.parametrize(
    ("port", "env", "count"),
    [
        ("${BIND:-127.0.0.1}:80:80", {}, 0),
        ("${BIND:-127.0.0.1}:80:80", {"BIND": "0.0.0.0"}, 1),
        ("${BIND-127.0.0.1}:80:80", {"BIND": ""}, 1),
        ("${BIND:-127.0.0.1}:80:80", {"BIND": ""}, 0),
        ("${BIND}:80:80", {}, 1),
        ("$BIND:80:80", {"BIND": "127.0.0.1"}, 0),
        ("${A:-${B:-127.0.0.1}}:80:80", {}, 0),
        ("127.0.0.1:${PORT:?needed}:80", {"PORT": "1"}, 0),
        ("${X:+0.0.0.0}${X-127.0.0.1}:80:80", {}, 0),
    ],
)
def test_variables(tmp_path: Path, port: str, env: dict[str, str], count: int) -> None:
    assert len(judged(audit(tmp_path, f'services: {{a: {{ports: ["{port}"]}}}}', env))) == count


def test_variables_of_the_env_file_and_which_wins(tmp_path: Path) -> None:
    text = 'services: {a: {ports: ["${BIND}:80:80"]}}'
    assert judged(audit(tmp_path, text, files={".env": "BIND='127.0.0.1'  \n"})) == []
    assert len(judged(audit(tmp_path, text, {"BIND": "0.0.0.0"}, {".env": "BIND=127.0.0.1\n"}))) == 1


def test_extends_and_include(tmp_path: Path) -> None:
    base = 'services:\n  base:\n    ports: ["8080:80"]\n'
    other = 'services:\n  other:\n    profiles: [debug]\n    ports: ["9090:90"]\n'
    text = "include: [other.yml]\nservices:\n  a:\n    extends: {file: base.yml, service: base}\n"
    found = audit(tmp_path, text, files={"base.yml": base, "other.yml": other})
    assert [(item.service, Path(item.file).name, item.line) for item in found] == [
        ("a", "base.yml", 3),
        ("other", "other.yml", 4),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- 1",
        "services: []",
        "services: {a: []}",
        "include: [stack.yml]",
        "include: [missing.yml]",
        "services: {a: {extends: {service: a}}}",
        "services: {a: {extends: {service: b}}}",
        'services: {a: {ports: ["${"]}}',
        'services: {a: {ports: ["$-:80"]}}',
        'services: {a: {ports: ["${NEEDED:?}:80:80"]}}',
        "a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n"
        "e: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f]\n",
        "x: &x [*x]",
        "[" * 5000,
    ],
)
def test_files_that_cannot_be_examined(tmp_path: Path, text: str) -> None:
    found = audit(tmp_path, text)
    assert {item.severity for item in found} == {"unknown"}
    assert all(item.file and item.remediation for item in found)


def test_a_normalised_model_needs_no_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composeyaml, "yaml", None)
    model = {"services": {"a": {"ports": [{"target": 80, "published": "8080"}]}}}
    assert [item[:2] for item in judged(audit(tmp_path, json.dumps(model)))] == [("compose-published-port", "a")]
    found = audit(tmp_path, "services: {}")
    assert [(item.id, item.severity) for item in found] == [("compose-not-examined", "unknown")]
    assert "python3-yaml" in found[0].remediation


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"port": 0}, ["expected[0].port", "0", "1 to 65535"]),
        ({"port": 70000}, ["70000"]),
        ({"port": "x"}, ["x"]),
        ({"port": True}, ["True"]),
        ({}, ["expected[0].port"]),
        ({"port": 22, "proto": "icmp"}, ["expected[0].proto", "icmp", "tcp"]),
        ({"port": 22, "expires": "tomorrow"}, ["expected[0].expires", "tomorrow", "YYYY-MM-DD"]),
        ({"port": 22, "prot": "tcp"}, ["expected[0].prot", "Known"]),
        ("22", ["expected[0]", "22"]),
    ],
)
def test_bad_declarations(entry: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_expected([entry])
    assert all(word in str(caught.value) for word in words)


def place(item: Finding) -> tuple[str, int]:
    return Path(item.file).name, item.line


def test_micro_sayur_as_its_document_has_it_is_refused_at_every_line() -> None:
    found = Auditor({}).audit([str(CORPUS / "micro-sayur")], TODAY)
    assert {item.severity for item in found} == {"critical"}
    told = {item.line: (item.service, item.remediation.split(",")[0]) for item in found}
    assert told == {
        6: ("user-service", 'Write - "127.0.0.1:8080:8080"'),
        19: ("notification-service", 'Write - "127.0.0.1:8081:8081"'),
        32: ("postgres", 'Write - "127.0.0.1:5432:5432"'),
        39: ("redis", 'Write - "127.0.0.1:6379:6379"'),
        44: ("rabbitmq", 'Write - "127.0.0.1:5672:5672"'),
        45: ("rabbitmq", 'Write - "127.0.0.1:15672:15672"'),
    }
    text = (CORPUS / "micro-sayur" / "compose.yaml").read_text().splitlines()
    assert all(text[line - 1].strip().startswith('- "') for line in told)


def test_micro_sayur_corrected_passes(tmp_path: Path) -> None:
    assert Auditor({}).audit([str(CORPUS / "micro-sayur-corrected")], TODAY) == []
    # So does the document's text with every remedy put in its place.
    found = Auditor({}).audit([str(CORPUS / "micro-sayur")], TODAY)
    lines = (CORPUS / "micro-sayur" / "compose.yaml").read_text().splitlines()
    for item in found:
        entry = item.remediation.removeprefix("Write ").split(",")[0]
        lines[item.line - 1] = f"      {entry}"
    assert audit(tmp_path, "\n".join(lines)) == []


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("services: {a: {<<: {ports: [\n'80:80']}}}", ("stack.yml", 2)),
        ("x: &x\n- 80:80\nservices: {a: {ports: *x}}", ("stack.yml", 2)),
        ("services:\n  a:\n    extends:\n      file: other.yml\n      service: b", ("other.yml", 3)),
        ("include:\n- other.yml", ("other.yml", 3)),
        ("services: {a: {ports: [\n\n  {target: 80}]}}", ("stack.yml", 3)),
        ("services: {a: {ports: [\n${X:?}]}}", ("stack.yml", 2)),
        ("services:\n  a:\n    ports: no list", ("stack.yml", 3)),
        ("services:\n  a:\n    ports: [\n  nonsense]", ("stack.yml", 4)),
        ("services:\n  a: {network_mode: host}", ("stack.yml", 2)),
        ("services:\n  a: {}\nnetworks:\n  default:\n    driver: macvlan", ("stack.yml", 5)),
        ("services:\n  a:\n    networks:\n    - nowhere", ("stack.yml", 4)),
        ("services:\n  a:\n    extends: b", ("stack.yml", 3)),
        ("include:\n- other.yml\n- nowhere.yml\nservices: {b: {ports: !reset []}}", ("stack.yml", 3)),
        ("services:\n  a: nonsense", ("stack.yml", 2)),
        ("services:\n  a:\n    b: 1\n    b: 2", ("stack.yml", 4)),
    ],
)
def test_a_finding_names_the_line_that_has_to_change(tmp_path: Path, text: str, where: tuple[str, int]) -> None:
    found = audit(tmp_path, text, files={"other.yml": 'services:\n  b:\n    ports: ["80:80"]\n'})
    assert [place(item) for item in found] == [where]


def test_an_override_file_is_named_where_it_opens_something(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text('services: {a: {ports: ["127.0.0.1:80:80"]}}\n')
    (tmp_path / "compose.override.yml").write_text('services:\n  a:\n    ports: ["81:80"]\n')
    for path in (tmp_path, tmp_path / "compose.yml"):
        assert [place(item) for item in Auditor({}).audit([str(path)], TODAY)] == [("compose.override.yml", 3)]


def test_what_an_override_file_closes_is_open_in_the_file_alone(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text('services: {a: {ports: ["80:80"]}}\n')
    (tmp_path / "compose.override.yml").write_text("services: {a: {ports: !reset []}}\n")
    assert Auditor({}).audit([str(tmp_path)], TODAY) == []
    assert len(Auditor({}).audit([str(tmp_path / "compose.yml")], TODAY)) == 1


def test_a_directory_without_a_compose_file_cannot_be_examined(tmp_path: Path) -> None:
    found = Auditor({}).audit([str(tmp_path), str(tmp_path / "nowhere.yml")], TODAY)
    assert [item.severity for item in found] == ["unknown", "unknown"]
    assert any("compose.yaml" in item.evidence for item in found)


def test_a_fingerprint_stays_when_lines_move(tmp_path: Path) -> None:
    text = 'services: {a: {ports: ["80:80"]}}\n'
    before, after = audit(tmp_path, text), audit(tmp_path, f"# a comment\n{text}")
    assert [item.line for item in (*before, *after)] == [1, 2]
    assert before[0].fingerprint == after[0].fingerprint


def test_the_variable_that_opens_a_port_is_named(tmp_path: Path) -> None:
    found = audit(tmp_path, 'services: {a: {ports: ["${BIND}:80:80"]}, b: {ports: [{target: 80, host_ip: "$HOST"}]}}')
    evidence = {item.service: item.evidence for item in found}
    assert "BIND is not set" in evidence["a"] and "HOST is not set" in evidence["b"]


def test_a_remedy_keeps_the_syntax(tmp_path: Path) -> None:
    text = """\
services:
  short: {ports: ["[::]:8080:80/udp"]}
  long: {ports: [{target: 80, published: 8080, host_ip: "::", protocol: udp}]}
  random: {ports: [{target: 80}]}
"""
    found = {item.service: item.remediation for item in audit(tmp_path, text)}
    assert '"[::1]:8080:80/udp"' in found["short"]
    assert '{target: 80, published: "8080", host_ip: "::1", protocol: udp}' in found["long"]
    assert "{target: 80, host_ip: 127.0.0.1}" in found["random"]


def test_a_declaration_counts_for_its_service_and_its_time(tmp_path: Path) -> None:
    text = 'services: {web: {ports: ["443:443", "443:443/udp"]}}'
    path = tmp_path / "stack.yml"
    path.write_text(text)

    def left(**declared: Any) -> list[str]:
        expected = parse_expected([{"port": 443, **declared}])
        return [item.proto for item in Auditor({}, expected).audit([str(path)], TODAY)]

    assert left() == left(container="web") == left(expires=TODAY.isoformat()) == ["udp"]
    assert left(proto="udp") == ["tcp"]
    assert left(container="db") == left(expires="2026-05-31") == ["tcp", "udp"]


@pytest.mark.parametrize(
    "content",
    [
        b'services: {a: {ports: ["80:80"], labels: {x: "\xff"}}}',
        'services: {a: {ports: ["80:80"]}}'.encode("utf-16"),
        b"#" * (5 << 20),
        b"services:\n  a:\n    ports:\n" + b"    - 80:80\n" * 100_001,
        b"",
        b"# nothing\n",
        b"{" * 100_000,
        b'{"services": {"a": {"ports": ["80:80"]}, "a": {}}}',
        b"services: {a: {ports: ['80:80']}}\n--- [\n",
    ],
    ids=["no-utf-8", "utf-16", "5-mib", "many-nodes", "empty", "comment", "deep", "json-twice", "second-document"],
)
def test_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "stack.yml"
    path.write_bytes(content)
    found = Auditor({}).audit([str(path)], TODAY)
    assert [item.severity for item in found] == ["unknown"]


def test_a_label_of_a_megabyte_hides_no_port(tmp_path: Path) -> None:
    text = json.dumps({"services": {"a": {"labels": {"x": "y" * (1 << 20)}, "ports": ["80:80"]}}})
    assert judged(audit(tmp_path, text)) == [("compose-published-port", "a", 1)]


def test_json_with_tabs_is_read_without_lines(tmp_path: Path) -> None:
    text = json.dumps({"services": {"a": {"ports": ["80:80"]}}}, indent="\t")
    assert judged(audit(tmp_path, text)) == [("compose-published-port", "a", 0)]


def test_control_characters_of_a_file_are_not_printed(tmp_path: Path) -> None:
    name = "a\x1b[31m\nb\u202e"
    text = json.dumps({"services": {name: {"ports": ["80:80", "\x1b[2J"], "network_mode": "service:\x07"}}})
    found = audit(tmp_path, text)
    assert {item.id for item in found} == {"compose-published-port", "compose-port", "compose-network"}
    for item in found:
        assert all(str(value).isprintable() for value in item.as_dict().values()), item


@pytest.mark.parametrize(
    "files",
    [
        {".env": "A0=xxxxxxxx\n" + "".join(f"A{n + 1}=$A{n}$A{n}\n" for n in range(60))},
        {f"{n}.yml": f"include: [{n + 1}.yml, {n + 1}.yml]" for n in range(60)} | {"60.yml": "services: {}"},
    ],
    ids=["variables", "include"],
)
def test_what_stands_for_more_than_memory_holds_is_not_unfolded(tmp_path: Path, files: dict[str, str]) -> None:
    found = audit(tmp_path, "include: [0.yml]\nservices: {}", files={"0.yml": "services: {}", **files})
    assert {item.severity for item in found} == {"unknown"}


def test_long_ways_through_services_end(tmp_path: Path) -> None:
    services: dict[str, Any] = {
        f"s{n}": {"network_mode": f"service:s{n + 1}", "volumes_from": [f"s{n + 1}", f"s{n + 2}"]} for n in range(200)
    }
    services["s200"] = services["s201"] = {"network_mode": "host", "volumes": ["/run/docker.sock:/x"]}
    found = [(item.id, item.service) for item in judge_compose({"services": services}, today=TODAY)]
    assert found.count(("compose-host-network", "s0")) == 1
    assert found.count(("compose-engine-socket", "s0")) > 0


@pytest.mark.parametrize("mode", ["service:b", "container:b"])
def test_services_that_join_each_other_cannot_be_examined(mode: str) -> None:
    services = {"a": {"network_mode": mode}, "b": {"network_mode": "service:a", "container_name": "b"}}
    found = judge_compose({"services": services}, today=TODAY)
    assert [(item.id, item.severity) for item in found] == [("compose-network", "unknown")] * 2


def test_a_file_is_given_up_where_it_becomes_too_large(tmp_path: Path) -> None:
    found = audit(tmp_path, "services:\n" + "- a\n" * 100_001 + "} what follows is not looked at")
    assert ["too large" in item.evidence for item in found] == [True]
