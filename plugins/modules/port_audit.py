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
  - With O(mode=verify), knocks from where it runs at the ports of another host, and compares what answers with what
    a live audit of that host returned. Run it with C(delegate_to) on the controller or on another host.
  - What cannot be examined is a finding of severity V(unknown), never a pass.
  - The module changes nothing on the host but the files of O(report).
extends_documentation_fragment:
  - daffathan.platform._attributes.info
attributes:
  check_mode:
    details: Writes no files; the result is C(changed) when a file of O(report) would say something else.
  diff_mode:
    details: This module changes nothing but the files of O(report).
  idempotent:
    details: A file of O(report) that would say the same is no change.
options:
  mode:
    description:
      - V(live) examines the running host. It needs root.
      - V(static) examines O(compose_files).
      - V(verify) compares the result of a live audit with what answers to the host that the module runs on.
    type: str
    choices: [live, static, verify]
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
  expected_file:
    description:
      - File on the host with more declared ports, as JSON with the key C(expected). The role
        P(daffathan.platform.hardening#role) writes C(/etc/daffathan/port_audit.json).
      - Where O(expected) names the same port and protocol, the entry of the file does not count.
    type: path
  compose_files:
    description:
      - Compose files to examine with O(mode=static), in YAML, or in JSON as C(docker compose config --format json)
        writes it. They are read as Compose reads them, with the files that they include or extend, and with every
        profile.
      - A directory stands for the files that Compose reads there, C(COMPOSE_FILE) of the C(.env) file included.
      - A file of a default name, such as C(compose.yml), is examined alone and with the override file beside it,
        because Compose reads that unasked.
      - YAML needs PyYAML for the Python that runs the module. Variables come from a C(.env) file beside the file.
    type: list
    elements: path
    default: []
  env:
    description:
      - Variables for O(compose_files) that win over those of the C(.env) file. The environment of the process is not
        looked at.
      - C(COMPOSE_FILE), C(COMPOSE_PATH_SEPARATOR), C(COMPOSE_ENV_FILES) and C(COMPOSE_DISABLE_ENV_FILE) decide what is
        read, as they do for Compose.
    type: dict
    default: {}
  fail_on:
    description:
      - The module fails when a finding has at least this severity. V(unknown) findings count as V(high).
      - With V(none) it never fails because of a finding.
    type: str
    choices: [critical, high, medium, low, none]
    default: high
  report:
    description:
      - Files to write the outcome to, also when the module fails for a finding. They have the mode C(0644), and are
        replaced as a whole. The result is C(changed) when a file says something else than before.
    type: list
    elements: dict
    default: []
    suboptions:
      format:
        description:
          - V(table) is for people, V(json) is what the module returns, V(sarif) is SARIF 2.1.0 for code scanning.
          - V(metrics) is for the textfile collector of Prometheus' node exporter. It is written in every run, because
            it tells when that was; the time alone does not count as a change.
        type: str
        choices: [table, json, sarif, metrics]
        required: true
      path:
        description: The file. Its directory has to exist.
        type: path
        required: true
  verify:
    description:
      - What to compare with O(mode=verify).
      - TCP ports are connected to, UDP ports get one datagram. A UDP port that keeps silent tells nothing.
    type: dict
    suboptions:
      addresses:
        description: Addresses or names by which the host that runs the module reaches the audited one.
        type: list
        elements: str
        required: true
      reachable:
        description: What the audit with O(mode=live) returned as RV(reachable).
        type: list
        elements: dict
        required: true
      candidates:
        description: What the audit with O(mode=live) returned as RV(candidates).
        type: list
        elements: dict
        required: true
      timeout:
        description: Seconds to wait for the answer of a port.
        type: float
        default: 3.0
  engine_socket:
    description:
      - Unix socket of Docker's engine. The environment variable E(DOCKER_HOST) is not looked at, so that no remote
        engine is examined by mistake; where it names one, a finding says so.
      - The sockets of Podman and of engines that users run (below C(/run/user)), and those that a running C(dockerd)
        names, are asked as well. An engine that is installed and does not run is not started by the question.
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

- name: Audit the host, and write metrics
  daffathan.platform.port_audit:
    expected_file: /etc/daffathan/port_audit.json
    report:
      - {format: metrics, path: /var/lib/prometheus/node-exporter/daffathan_port_audit.prom}
    fail_on: none
  become: true
  register: audited

- name: Compare with what answers to the controller
  daffathan.platform.port_audit:
    mode: verify
    verify:
      addresses: ["{{ ansible_host }}"]
      reachable: "{{ audited.reachable }}"
      candidates: "{{ audited.candidates }}"
  delegate_to: localhost

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
        V(latent) once it is started, V(verify) asked from another host.
      type: str
      sample: nat
    service: {description: Service of a compose file., type: str, sample: api}
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
    path:
      description: "V(input), V(nat), or V(l2) at an address that a container has beside the firewall of the host."
      type: str
      sample: input
    why: {description: Who serves it., type: str, sample: "caddy (pid 941) listens on :::443"}
    limits:
      description: What a packet must be besides, such as its source, where it is not open to all.
      type: list
      elements: str
      sample: ["from 192.0.2.0/24"]
adjacent:
  description:
    - What answers besides to machines on the same network, which can send this host packets for any destination. It is
      at addresses that nobody else has a route to, such as those of containers, bridges and links, and 127.0.0.1.
    - The entries are those of RV(reachable), with V(l2) as the path.
  returned: with O(mode=live)
  type: list
  elements: dict
  sample: [{proto: tcp, port: 3000, family: ipv4, path: l2, address: 172.17.0.2, limits: []}]
candidates:
  description: Every port that is open, or that one rule less would open. What O(mode=verify) knocks at.
  returned: with O(mode=live)
  type: list
  elements: dict
  contains:
    proto: {description: Transport protocol., type: str, sample: tcp}
    port: {description: Port of the host., type: int, sample: 8080}
reports:
  description: The files of O(report) whose content says something else than before.
  returned: when O(report) is not empty
  type: list
  elements: str
  sample: [/var/lib/prometheus/node-exporter/daffathan_port_audit.prom]
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

import socket
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.daffathan.platform.plugins.module_utils._audit import deliver, examine, report, verify
from ansible_collections.daffathan.platform.plugins.module_utils._audit.model import (
    PROTOCOLS,
    THRESHOLDS,
    Expected,
    InputError,
    Outcome,
    failing,
)

# The options that belong to one mode alone.
_OF_MODE = {"compose_files": "static", "verify": "verify"}


def reports(params: dict[str, Any]) -> list[deliver.Report]:
    """The files to write."""
    return [
        deliver.Report(entry["format"], entry["path"], f"report[{index}].path")
        for index, entry in enumerate(params["report"])
    ]


def check_input(params: dict[str, Any]) -> tuple[Expected, ...]:
    """The declared ports, once all options were found usable."""
    mode = params["mode"]
    for name, owner in _OF_MODE.items():
        if params[name] and mode != owner:
            raise InputError(f"{name}: not used with mode: {mode}. Write mode: {owner}, in a task of its own.")
    if mode == "static" and not params["compose_files"]:
        raise InputError(
            "compose_files: empty, so there is nothing to examine. Name at least one file with mode: static."
        )
    if mode == "verify" and not params["verify"]:
        raise InputError("verify: missing. Write its addresses, and reachable and candidates of a live audit.")
    timeouts = {
        "engine_timeout": params["engine_timeout"],
        "verify.timeout": (params["verify"] or {}).get("timeout", 1),
    }
    for name, value in timeouts.items():
        if not 0 < value <= 60:
            raise InputError(f"{name}: {value} is out of range. Write seconds from 1 to 60.")
    deliver.check(reports(params))
    return examine.declared(params["expected_file"] or "", "expected_file", params["expected"])


def audit(params: dict[str, Any], expected: tuple[Expected, ...]) -> Outcome:
    """The outcome in the mode that is asked for."""
    if params["mode"] == "static":
        return examine.static(params["compose_files"], params["env"], expected)
    if params["mode"] == "verify":
        wanted = params["verify"]
        return verify.run(wanted, wanted["addresses"], socket.gethostname(), wanted["timeout"])
    return examine.live(params["engine_socket"], params["engine_timeout"], expected)


def main() -> None:
    expected_options: dict[str, Any] = {
        "port": {"type": "int", "required": True},
        "proto": {"type": "str", "choices": list(PROTOCOLS), "default": "tcp"},
        "process": {"type": "str"},
        "container": {"type": "str"},
        "reason": {"type": "str"},
        "expires": {"type": "str"},
    }
    report_options: dict[str, Any] = {
        "format": {"type": "str", "choices": list(deliver.FORMATS), "required": True},
        "path": {"type": "path", "required": True},
    }
    verify_options: dict[str, Any] = {
        "addresses": {"type": "list", "elements": "str", "required": True},
        "reachable": {"type": "list", "elements": "dict", "required": True},
        "candidates": {"type": "list", "elements": "dict", "required": True},
        "timeout": {"type": "float", "default": 3.0},
    }
    module = AnsibleModule(
        argument_spec={
            "mode": {"type": "str", "choices": ["live", "static", "verify"], "default": "live"},
            "expected": {"type": "list", "elements": "dict", "default": [], "options": expected_options},
            "expected_file": {"type": "path"},
            "compose_files": {"type": "list", "elements": "path", "default": []},
            "env": {"type": "dict", "default": {}},
            "fail_on": {"type": "str", "choices": list(THRESHOLDS), "default": "high"},
            "report": {"type": "list", "elements": "dict", "default": [], "options": report_options},
            "verify": {"type": "dict", "options": verify_options},
            "engine_socket": {"type": "path", "default": "/run/docker.sock"},
            "engine_timeout": {"type": "float", "default": 5.0},
        },
        supports_check_mode=True,
    )
    params = module.params
    result: dict[str, Any] = {"changed": False}
    try:
        started = time.monotonic()
        outcome = audit(params, check_input(params))
        clock = deliver.Clock(time.time(), time.monotonic() - started)
        if params["report"]:
            result["reports"] = deliver.write(reports(params), outcome, params["fail_on"], clock, dry=module.check_mode)
            result["changed"] = bool(result["reports"])
    except InputError as error:
        module.fail_json(msg=str(error))
    if outcome.reachable is not None:
        result.update(reachable=outcome.reachable, adjacent=outcome.adjacent, candidates=outcome.candidates)
    result["findings"] = [item.as_dict() for item in outcome.findings]
    result["summary"] = report.summary(outcome.findings, outcome.reachable)
    result["table"] = report.table(outcome.findings)
    bad = failing(outcome.findings, params["fail_on"])
    if bad:
        module.fail_json(msg=report.message(bad, params["fail_on"]), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
