#!/usr/bin/python

# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: port_audit
short_description: Judge which ports of a host can be reached from outside
version_added: 0.1.0
author:
  - the daffathan.platform authors (@daffathan)
description:
  - With O(mode=live), finds every port of the host that answers to the outside, and judges it against O(expected).
    It looks at the listening sockets of the kernel, at the rules of the packet filter (both backends of iptables, and
    nftables), at Docker's engine, and follows a packet from outside through the rules. A port that Docker publishes is
    judged by the way its packets take, which does not pass the rules of UFW.
  - It also reports what waits to be opened, such as a stopped container that publishes at the next boot, and what goes
    around the firewall, such as macvlan networks or the engine on TCP.
  - With O(mode=static), judges compose files at rest. It needs neither Docker nor root, and can run on the controller.
  - What cannot be examined is a finding of severity V(unknown), never a pass.
  - The module changes nothing.
extends_documentation_fragment:
  - daffathan.platform._attributes.info
options:
  mode:
    description:
      - V(live) examines the running host. It needs root.
      - V(static) examines O(compose_files).
    type: str
    choices: [live, static]
    default: live
  expected:
    description:
      - The declared ports. A reachable port that is not declared is a finding.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port, from 1 to 65535.
        type: int
        required: true
      proto:
        description: The transport protocol.
        type: str
        choices: [tcp, udp, sctp]
        default: tcp
      process:
        description: Name of the only process that may serve the port, as in C(/proc/PID/comm). Any, if left out.
        type: str
      container:
        description: Name of the only container, or with O(mode=static) of the only service, that may serve the port.
        type: str
      reason:
        description: Why the port is open.
        type: str
      expires:
        description: Last day on which the declaration counts, as C(YYYY-MM-DD), in UTC.
        type: str
  compose_files:
    description:
      - Compose files to examine with O(mode=static), in YAML, or in JSON as C(docker compose config --format json)
        writes it.
      - A file C(compose.override.yml) or C(compose.override.yaml) beside a file is examined as well, because Compose
        reads it.
      - YAML needs PyYAML for the Python that runs the module. Variables come from a C(.env) file beside the file.
    type: list
    elements: path
    default: []
  env:
    description:
      - Variables for O(compose_files) that win over those of the C(.env) file.
    type: dict
    default: {}
  fail_on:
    description:
      - The module fails when a finding has at least this severity. V(unknown) findings count as V(high).
      - With V(none) it never fails because of a finding.
    type: str
    choices: [critical, high, medium, low, none]
    default: high
  engine_socket:
    description:
      - Unix socket of Docker's engine. The environment variable E(DOCKER_HOST) is not looked at, so that no remote
        engine is examined by mistake.
    type: path
    default: /run/docker.sock
  engine_timeout:
    description:
      - Seconds to wait for each answer of the engine.
    type: float
    default: 5.0
"""

EXAMPLES = r"""
- name: Fail where anything but SSH and the web can be reached
  daffathan.platform.port_audit:
    expected:
      - {port: 22, reason: administration}
      - {port: 80, process: caddy, reason: redirect to HTTPS}
      - {port: 443, process: caddy, reason: HTTPS}
      - {port: 443, proto: udp, process: caddy, reason: HTTP/3}
  become: true

- name: List what is reachable without failing
  daffathan.platform.port_audit:
    fail_on: none
  become: true
  register: ports

- name: Declare a port for a while
  daffathan.platform.port_audit:
    expected:
      - {port: 22, reason: administration}
      - {port: 5432, container: reporting-db, reason: migration to the new host, expires: "2026-12-31"}
  become: true

- name: Judge a compose file on the controller, before it is sent anywhere
  daffathan.platform.port_audit:
    mode: static
    compose_files: ["{{ playbook_dir }}/files/shop/compose.yml"]
    env: {TAG: 1.4.2}
  delegate_to: localhost
"""

RETURN = r"""
findings:
  description: What is wrong or could not be examined, worst first. Returned by a failing module as well.
  returned: when the options could be used
  type: list
  elements: dict
  contains:
    id: {description: Kind of the finding., type: str, sample: published-port}
    severity:
      description: One of V(critical), V(high), V(medium), V(low) and V(unknown).
      type: str
      sample: critical
    proto: {description: Transport protocol., type: str, sample: tcp}
    host_ip: {description: Address of the host., type: str, sample: 198.51.100.7}
    port: {description: "Port of the host, V(0) where it is about no single port.", type: int, sample: 8080}
    owner: {description: Name of the process that holds the socket., type: str, sample: docker-proxy}
    container: {description: Name of the container., type: str, sample: shop-api-1}
    path:
      description: >-
        The way of the packets: V(input) to a socket, V(nat) translated, V(l2) for neighbours on the same network,
        V(latent) once it is started.
      type: str
      sample: nat
    service: {description: Service or network of a compose file., type: str, sample: api}
    file: {description: File in which the finding was made., type: str, sample: /etc/daffathan/apps/shop/compose.yml}
    line: {description: "Line of the file, V(0) where it is not known.", type: int, sample: 12}
    evidence:
      description: What was seen.
      type: str
      sample: "8080/tcp is reachable over IPv4: published by container shop-api-1."
    remediation: {description: What to do., type: str, sample: Publish it on loopback and create the container again.}
    fingerprint: {description: Stays the same for the same problem., type: str, sample: 4f1f5bd9c1b6a2f0}
reachable:
  description: Every port that answers to the outside, one entry per address and path.
  returned: with O(mode=live)
  type: list
  elements: dict
  contains:
    proto: {description: Transport protocol., type: str, sample: tcp}
    port: {description: Port of the host., type: int, sample: 443}
    family: {description: "V(ipv4) or V(ipv6).", type: str, sample: ipv4}
    address:
      description: The address a packet from outside is sent to.
      type: str
      sample: 198.51.100.7
    path: {description: "V(input) or V(nat).", type: str, sample: input}
    why: {description: Who serves it., type: str, sample: "caddy (pid 941) listens on :::443"}
summary:
  description: One line for people.
  returned: when the options could be used
  type: str
  sample: "reachable: 22/tcp 80/tcp 443/tcp 443/udp; no findings"
table:
  description: The findings, one line each.
  returned: when the options could be used
  type: list
  elements: str
  sample: ["critical  published-port            8080/tcp shop-api-1"]
"""

import datetime
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.daffathan.platform.plugins.module_utils._audit import collect, composefile, judge, report
from ansible_collections.daffathan.platform.plugins.module_utils._audit.compose import PortError, judge_compose
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    Expected,
    Finding,
    InputError,
    failing,
    ordered,
    parse_expected,
    unknown,
)
from ansible_collections.daffathan.platform.plugins.module_utils._audit.packet import Loop


def audit_live(params: dict[str, Any], expected: tuple[Expected, ...]) -> judge.Report:
    """Read the host and judge it."""
    host = collect.host(params["engine_socket"], params["engine_timeout"])
    try:
        return judge.judge(host, expected)
    except Loop as error:
        remedy = "Look at the rules of the packet filter."
        return judge.Report(
            [unknown("rules-not-examined", f"the packet filter could not be evaluated: {error}.", remedy)], []
        )


def with_overrides(paths: list[str]) -> list[str]:
    """The files, and those that Compose reads with them unasked."""
    found = list(paths)
    for path in paths:
        for name in ("compose.override.yml", "compose.override.yaml", "docker-compose.override.yml"):
            beside = os.path.join(os.path.dirname(path), name)
            if beside not in found and os.path.exists(beside):
                found.append(beside)
    return found


def audit_file(
    loader: composefile.Loader, path: str, expected: tuple[Expected, ...], today: datetime.date
) -> list[Finding]:
    """Judge one compose file."""
    try:
        loaded = loader.load(path)
        return judge_compose(loaded.model, expected, locate=loaded.locate, today=today)
    except composefile.YamlMissing as error:
        remedy = (
            "Install python3-yaml on the host, run the module on the controller (delegate_to: localhost), or give it "
            "the output of `docker compose config --format json`."
        )
        return [unknown("compose-not-examined", f"{error}.", remedy, file=error.file)]
    except composefile.ComposeError as error:
        evidence = f"the compose file could not be examined: {error}."
        return [unknown("compose-not-examined", evidence, "Correct the file.", file=error.file, line=error.line)]
    except PortError as error:
        evidence = f"the compose file could not be examined: {error}."
        return [unknown("compose-not-examined", evidence, "Correct the file.", file=path)]


def audit_static(params: dict[str, Any], expected: tuple[Expected, ...]) -> list[Finding]:
    """Judge all compose files."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    loader = composefile.Loader({str(key): "" if value is None else str(value) for key, value in params["env"].items()})
    return ordered(
        item for path in with_overrides(params["compose_files"]) for item in audit_file(loader, path, expected, today)
    )


def check_input(params: dict[str, Any]) -> tuple[Expected, ...]:
    """The declared ports, once all options were found usable."""
    if params["mode"] == "static" and not params["compose_files"]:
        raise InputError(
            "compose_files: empty, so there is nothing to examine. Name at least one file with mode: static."
        )
    if params["mode"] == "live" and params["compose_files"]:
        raise InputError("compose_files: not used with mode: live. Write mode: static, in a task of its own.")
    if not 0 < params["engine_timeout"] <= 60:
        raise InputError(f"engine_timeout: {params['engine_timeout']} is out of range. Write seconds from 1 to 60.")
    return parse_expected(params["expected"])


def main() -> None:
    expected_options: dict[str, Any] = {
        "port": {"type": "int", "required": True},
        "proto": {"type": "str", "choices": ["tcp", "udp", "sctp"], "default": "tcp"},
        "process": {"type": "str"},
        "container": {"type": "str"},
        "reason": {"type": "str"},
        "expires": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "mode": {"type": "str", "choices": ["live", "static"], "default": "live"},
            "expected": {"type": "list", "elements": "dict", "default": [], "options": expected_options},
            "compose_files": {"type": "list", "elements": "path", "default": []},
            "env": {"type": "dict", "default": {}},
            "fail_on": {"type": "str", "choices": ["critical", "high", "medium", "low", "none"], "default": "high"},
            "engine_socket": {"type": "path", "default": "/run/docker.sock"},
            "engine_timeout": {"type": "float", "default": 5.0},
        },
        supports_check_mode=True,
    )
    try:
        expected = check_input(module.params)
    except InputError as error:
        module.fail_json(msg=str(error))
    result: dict[str, Any] = {"changed": False}
    reachable = None
    if module.params["mode"] == "live":
        audited = audit_live(module.params, expected)
        findings, reachable = audited.findings, audited.reachable
        result["reachable"] = reachable
    else:
        findings = audit_static(module.params, expected)
    result["findings"] = [item.as_dict() for item in findings]
    result["summary"] = report.summary(findings, reachable)
    result["table"] = report.table(findings)
    bad = failing(findings, module.params["fail_on"])
    if bad:
        module.fail_json(msg=report.message(bad, module.params["fail_on"]), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
