# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The outcome of an audit in each of its formats, and in files."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.daffathan.platform.plugins.module_utils._audit import deliver, report, sarif
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    SEVERITIES,
    Finding,
    InputError,
    Outcome,
    finding,
    ordered,
)
from ansible_collections.daffathan.platform.plugins.module_utils._common import prometheus
from hypothesis import given
from hypothesis import strategies as st

CLOCK = deliver.Clock(finished=1_780_000_000.4, duration=0.25)
REACHABLE = [
    {"proto": "tcp", "port": 22, "family": "ipv4", "path": "input", "why": "sshd", "limits": []},
    {"proto": "tcp", "port": 22, "family": "ipv6", "path": "input", "why": "sshd", "limits": []},
    {"proto": "udp", "port": 443, "family": "ipv4", "path": "input", "why": "caddy", "limits": []},
]
FINDINGS = ordered(
    [
        finding("published-port", "critical", "8080/tcp is open.", "Close it.", proto="tcp", port=8080, container="a"),
        finding("published-port", "high", "8081/tcp is open.", "Close it.", proto="tcp", port=8081, container="b"),
        finding("compose-published-port", "medium", "It publishes.", "Do not.", file="app/compose.yml", line=7, port=1),
        finding("compose-not-examined", "unknown", "Not YAML.", "Correct it.", file="/srv/x y.yml"),
        finding("listener-behind-firewall", "low", "It listens.", "Bind it.", proto="tcp", port=9, owner="nc"),
        finding("guard-missing", "medium", "No table.", "Load it."),
    ]
)
LIVE = Outcome("live", FINDINGS, REACHABLE, [{"proto": "tcp", "port": 22}])
texts = st.text(
    alphabet=st.one_of(st.characters(exclude_categories=("Cs",)), st.sampled_from('\\"\n{},=')), max_size=40
)
any_finding = st.builds(
    Finding,
    id=st.from_regex(r"[a-z]{1,8}(-[a-z]{1,8}){0,2}", fullmatch=True),
    severity=st.sampled_from(SEVERITIES),
    evidence=texts,
    remediation=texts,
    proto=st.sampled_from(["", "tcp", "udp"]),
    port=st.integers(0, 65535),
    owner=texts,
    container=texts,
    # No path holds a NUL.
    file=texts.map(lambda text: text.replace("\0", "")),
    line=st.integers(0, 10_000),
)

# What the specification asks of the properties that are written, with nothing else allowed. The schema of OASIS,
# against which the output was checked as well, has no licence that would let it stand here.
TEXT = {"type": "string", "minLength": 1}
MESSAGE = {"type": "object", "properties": {"text": {"type": "string"}, "markdown": {"type": "string"}}}


def closed(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


LEVEL = {"enum": ["none", "note", "warning", "error"]}
RULE = closed(
    {
        **{"id": TEXT, "shortDescription": MESSAGE, "fullDescription": MESSAGE, "help": MESSAGE, "helpUri": TEXT},
        "defaultConfiguration": closed({"level": LEVEL}),
        # GitHub reads the score as a number in a string.
        "properties": closed(
            {"security-severity": {"type": "string", "pattern": r"^\d+\.\d$"}, "tags": {"type": "array"}}
        ),
    }
)
URI = closed({"uri": {**TEXT, "pattern": r"^[A-Za-z0-9%/._~:@!$&'()*+,;=?#-]+$"}, "uriBaseId": TEXT}, "uriBaseId")
REGION = closed({"startLine": {"type": "integer", "minimum": 1}})
LOGICAL = closed({"name": TEXT, "fullyQualifiedName": TEXT, "kind": {"enum": ["resource"]}})
LOCATION = {
    "oneOf": [
        closed({"physicalLocation": closed({"artifactLocation": URI, "region": REGION})}),
        closed({"logicalLocations": {"type": "array", "minItems": 1, "items": LOGICAL}}),
    ]
}
RESULT = closed(
    {
        **{"ruleId": TEXT, "ruleIndex": {"type": "integer", "minimum": 0}, "level": LEVEL, "message": MESSAGE},
        "locations": {"type": "array", "minItems": 1, "items": LOCATION},
        "partialFingerprints": {"type": "object", "minProperties": 1, "additionalProperties": TEXT},
        "properties": closed({"severity": {"enum": list(SEVERITIES)}}),
    }
)
DRIVER = closed({"name": TEXT, "informationUri": TEXT, "rules": {"type": "array", "items": RULE}})
RUN = closed({"tool": closed({"driver": DRIVER}), "results": {"type": "array", "items": RESULT}})
SARIF = closed({"$schema": TEXT, "version": {"const": "2.1.0"}, "runs": {"type": "array", "items": RUN, "minItems": 1}})


def run_of(findings: list[Finding], base: str = "/srv") -> dict[str, Any]:
    log = json.loads(sarif.render(findings, base))
    jsonschema.validate(log, SARIF)
    return log["runs"][0]


def test_sarif_has_one_rule_for_each_kind_as_severe_as_its_worst_finding() -> None:
    run = run_of(FINDINGS)
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == sorted({item.id for item in FINDINGS})
    published = next(rule for rule in rules if rule["id"] == "published-port")
    assert published["properties"]["security-severity"] == "9.5"
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == [item.id for item in FINDINGS]


def test_sarif_names_file_and_line_or_the_part_of_the_host() -> None:
    results = {result["ruleId"]: result for result in run_of(FINDINGS)["results"]}
    place = results["compose-published-port"]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "app/compose.yml", "uriBaseId": "%SRCROOT%"}
    assert place["region"] == {"startLine": 7}
    spaced = results["compose-not-examined"]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert spaced["uri"] == "x%20y.yml", "a file below the base is named from there"
    logical = results["listener-behind-firewall"]["locations"][0]["logicalLocations"][0]
    assert (logical["name"], logical["fullyQualifiedName"]) == ("9/tcp nc", "host/tcp/9/nc")


def test_sarif_names_a_file_elsewhere_by_its_whole_path() -> None:
    (result,) = run_of([finding("daemon-file-not-read", "unknown", "x", "y", file="/etc/docker/daemon.json")])[
        "results"
    ]
    place = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place == {"uri": "file:///etc/docker/daemon.json"}


@pytest.mark.parametrize(
    ("severity", "level"),
    [("critical", "error"), ("high", "error"), ("unknown", "error"), ("medium", "warning"), ("low", "note")],
)
def test_sarif_levels(severity: str, level: str) -> None:
    (result,) = run_of([finding("x", severity, "e", "r")])["results"]
    assert result["level"] == level


def test_sarif_of_a_clean_audit_is_a_run_without_results() -> None:
    assert run_of([])["results"] == []


def test_sarif_fingerprint_is_the_findings_own() -> None:
    (result,) = run_of(FINDINGS[:1])["results"]
    assert list(result["partialFingerprints"].values()) == [FINDINGS[0].fingerprint]


@given(st.lists(any_finding, max_size=5))
def test_sarif_holds_whatever_the_host_put_into_a_finding(findings: list[Finding]) -> None:
    run = run_of(findings)
    said = [f"{item.evidence} {item.remediation}" for item in findings]
    assert [result["message"]["text"] for result in run["results"]] == said


SAMPLE = re.compile(
    r'^(?P<name>[a-z_]+)(?:\{(?P<labels>(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (?P<value>-?[0-9.e+-]+)$'
)
UNESCAPED = {"n": "\n", "\\": "\\", '"': '"'}
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """An independent reading of the exposition format: every line is a comment or a sample."""
    found = {}
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith(("# HELP ", "# TYPE ")):
            continue
        match = SAMPLE.match(line)
        assert match, line
        labels = tuple(
            (name, re.sub(r"\\(.)", lambda escaped: UNESCAPED[escaped[1]], value))
            for name, value in LABEL.findall(match["labels"] or "")
        )
        assert (match["name"], labels) not in found, "a series occurs once"
        found[match["name"], labels] = float(match["value"])
    return found


def exposition(outcome: Outcome, threshold: str = "high") -> str:
    return deliver.render("metrics", outcome, threshold, CLOCK)


def test_metrics_tell_what_was_found() -> None:
    found = samples(exposition(LIVE))
    prefix = "daffathan_port_audit"
    assert found[f"{prefix}_findings", (("severity", "critical"),)] == 1
    assert found[f"{prefix}_findings", (("severity", "unknown"),)] == 1
    assert found[f"{prefix}_findings_by_id", (("id", "published-port"), ("severity", "high"))] == 1
    assert found[f"{prefix}_reachable_port", (("port", "443"), ("proto", "udp"), ("family", "ipv4"))] == 1
    assert sum(name == f"{prefix}_reachable_port" for name, labels in found) == 3
    assert found[f"{prefix}_success", ()] == 0
    assert found[f"{prefix}_last_run_timestamp_seconds", ()] == 1_780_000_000
    assert found[f"{prefix}_duration_seconds", ()] == 0.25


def test_metrics_of_a_clean_audit_name_every_severity_with_zero() -> None:
    found = samples(exposition(Outcome("live", [], REACHABLE)))
    zeros = {labels[0][1] for (name, labels), value in found.items() if name.endswith("_findings") and value == 0}
    assert zeros == set(SEVERITIES)
    assert found["daffathan_port_audit_success", ()] == 1


def test_success_follows_the_threshold() -> None:
    low = Outcome("live", [finding("x", "medium", "e", "r")], [])
    assert samples(exposition(low, "high"))["daffathan_port_audit_success", ()] == 1
    assert samples(exposition(low, "medium"))["daffathan_port_audit_success", ()] == 0


@given(texts)
def test_a_label_reads_back_as_it_was(text: str) -> None:
    line = f'name{{label="{prometheus.escape(text)}"}} 1'
    assert "\n" not in line
    ((_, labels),) = samples(line)
    assert labels == (("label", text),)


def test_text_shows_what_is_open_and_each_finding_with_its_remedy() -> None:
    text = report.text(LIVE)
    assert text.startswith("reachable: 22/tcp 443/udp (ipv4 only); 1 critical")
    for item in FINDINGS:
        assert f"  {item.evidence}\n  Remedy: {item.remediation}\n" in text


def test_json_is_what_the_module_returns() -> None:
    content = json.loads(report.as_json(LIVE))
    assert content["findings"] == [item.as_dict() for item in FINDINGS]
    assert (content["reachable"], content["candidates"]) == (REACHABLE, LIVE.candidates)
    assert "reachable" not in json.loads(report.as_json(Outcome("static", [])))


def every_report(directory: Path) -> list[deliver.Report]:
    return [deliver.Report(kind, str(directory / kind), "report") for kind in deliver.FORMATS]


def test_files_are_written_once_and_readable_by_all(tmp_path: Path) -> None:
    reports = every_report(tmp_path)
    assert deliver.write(reports, LIVE, "high", CLOCK, dry=False) == [entry.path for entry in reports]
    assert {os.stat(entry.path).st_mode & 0o777 for entry in reports} == {0o644}
    assert sorted(os.listdir(tmp_path)) == sorted(deliver.FORMATS), "nothing temporary stays"
    later = deliver.Clock(CLOCK.finished + 3600, 1.5)
    assert deliver.write(reports, LIVE, "high", later, dry=False) == []
    assert "1780003600" in (tmp_path / "metrics").read_text(), "the time of the last run is always written"
    assert deliver.write(reports, Outcome("live", [], []), "high", later, dry=False) == [
        entry.path for entry in reports
    ]


def test_a_dry_run_says_what_would_change_and_writes_nothing(tmp_path: Path) -> None:
    reports = every_report(tmp_path)
    assert len(deliver.write(reports, LIVE, "high", CLOCK, dry=True)) == len(reports)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["missing/report.json", "."])
def test_a_report_that_cannot_be_written_is_refused_before_the_audit(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match=r"report: .*Name a file"):
        deliver.check([deliver.Report("json", str(tmp_path / path), "report")])
