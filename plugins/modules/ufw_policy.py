#!/usr/bin/python
# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ufw_policy
short_description: The whole firewall of a host in one task
version_added: 0.1.0
author:
  - the daffathan.platform authors (@daffathan)
description:
  - States the complete policy of UFW, the Uncomplicated Firewall, with defaults, log level and an ordered list of rules
    for IPv4 and IPv6.
  - Compares UFW's files and the packet filter in the kernel with it, and changes only what differs.
    Drift of the files and of the kernel is reported apart.
  - Loads a candidate into a network namespace of its own first, so that a policy the kernel refuses is found before
    the host is touched.
  - Changes a running firewall by one atomic transaction per family. It is never stopped, so there is no moment in which
    a denied port is open or an allowed one closed. C(ufw reload) and C(ufw default) do stop it.
  - Refuses a policy that would shut out the SSH session it runs in, and warns of rules that can never match.
  - Before a change the former firewall is put aside. It comes back by itself unless a new connection from the
    controller confirms the changed one, also when the controller is gone or the host restarts meanwhile.
    See O(rollback_timeout).
  - Plain C(ufw) works on as before; the files are laid out as UFW 0.36 writes them.
extends_documentation_fragment:
  - daffathan.platform._attributes
options:
  state:
    description:
      - V(enabled) turns the firewall on, now and at boot.
      - V(disabled) turns it off. The rules are written all the same, so that it can be turned on with them.
    type: str
    choices: [enabled, disabled]
    default: enabled
  defaults:
    description: What happens to packets that no rule matches.
    type: dict
    default: {}
    suboptions:
      incoming:
        description: Packets to the host.
        type: str
        choices: [allow, deny, reject]
        default: deny
      outgoing:
        description: Packets of the host.
        type: str
        choices: [allow, deny, reject]
        default: allow
      routed:
        description: Packets through the host.
        type: str
        choices: [allow, deny, reject]
        default: deny
  logging:
    description: Log level of UFW.
    type: str
    choices: ["off", low, medium, high, full]
    default: low
  ipv6:
    description:
      - Whether IPv6 is filtered as IPv4 is.
      - V(false) closes IPv6 as UFW does when C(IPV6=no), to all but the loopback interface. The rules in C(user6.rules)
        stay in the file and have no effect; rules of others in the packet filter, those of Docker for example, stay in
        force until UFW itself is reloaded, which empties the table of IPv6.
      - V(false) is refused on a host that has an address of IPv6 beyond the link, V(true) on a kernel without IPv6.
    type: bool
    default: true
  rules:
    description:
      - Rules in order. The first one that matches a packet decides.
      - A rule that is there already and matches the same traffic is replaced, whoever made it and with whatever action
        and comment, since UFW has only one rule for it.
    type: list
    elements: dict
    default: []
    suboptions:
      action:
        description: What is done with a packet. V(limit) denies an address that connects six times in 30 seconds.
        type: str
        choices: [allow, deny, reject, limit]
        required: true
      port:
        description:
          - Port of the destination, as a number, a range V(8000:8010) or a list V(80,443).
          - Every port when not given.
        type: str
      proto:
        description: Protocol. V(any) with a port means TCP and UDP.
        type: str
        choices: [any, tcp, udp, ah, esp, gre, igmp, ipv6, vrrp]
        default: any
      from:
        description: Address or network of the source. Everybody when not given.
        type: str
      from_port:
        description: Port of the source, in the notation of O(rules[].port).
        type: str
      to:
        description: Address or network of the destination. Every address of the host when not given.
        type: str
      app:
        description: Application profile of the host instead of port and protocol, see C(ufw app list).
        type: str
      from_app:
        description:
          - Application profile instead of the port of the source and the protocol.
          - Together with O(rules[].app) the rule is for each pair of their ports with a protocol in common, and for
            the same ports on both ends where both are one profile.
        type: str
      direction:
        description: Packets to the host, or of the host.
        type: str
        choices: [in, out]
        default: in
      route:
        description: The rule is for packets through the host.
        type: bool
        default: false
      interface_in:
        description: Interface on which packets arrive.
        type: str
      interface_out:
        description: Interface on which packets leave.
        type: str
      log:
        description: Log no packet, those of new connections, or all.
        type: str
        choices: [none, new, all]
        default: none
      comment:
        description: Comment that C(ufw status) shows. O(tag) is put in front of it.
        type: str
      family:
        description: Address family. V(auto) is both, or that of the addresses in the rule.
        type: str
        choices: [auto, v4, v6]
        default: auto
  purge:
    description:
      - What happens to rules that are not declared.
      - V(all) removes them.
      - V(tagged) removes those that carry O(tag), and keeps all others.
      - V(none) keeps them.
      - What is kept comes after the declared rules. It stays in front of them if it stands there now and no packet
        matches both, so that the order does not matter.
      - V(tagged) and V(none) fail on lines in UFW's files that are no rule of it, since they could not be kept.
    type: str
    choices: [all, tagged, none]
    default: all
  purge_keep:
    description:
      - Shell patterns. A rule that is not declared and whose comment matches one of them stays under any O(purge).
      - If no declared rule stands before it, it stays in front of them. So the bans that another program puts first go
        on to be bans. A rule without a comment matches no pattern.
    type: list
    elements: str
    default: []
  tag:
    description:
      - A word that marks the declared rules. The comment of each is written as C(TAG), or C(TAG:) and its own comment.
      - With O(purge=tagged) several tasks can each own a part of the rules, if they use different tags. Where two parts
        have rules for the same packets, those of the task that ran last come first; declare such rules in one task.
    type: str
  allow_empty:
    description: Allow that O(rules) is empty with O(purge=all), which leaves the host with its default policies alone.
    type: bool
    default: false
  ssh_guard:
    description:
      - Refuse a policy that would not let the peer of the present SSH session connect again. The session is found by
        the connection that an ancestor of this process holds, whatever the SSH server is called and wherever it
        listens.
      - Where none is found, because the task was started by a timer for example, all sessions of C(sshd) and
        C(dropbear) count as the present one. Otherwise those of others are only warned of.
      - Warns if the connections of the present session's peer are limited, since Ansible often connects more than five
        times in 30 seconds.
    type: bool
    default: true
  rollback_timeout:
    description:
      - Seconds within which a new connection from the controller must confirm a changed firewall. Otherwise, and
        after a restart of the host within this time, the former one is put back, and the task fails.
      - V(0) confirms at once, without a new connection.
    type: int
    default: 60
  lock_timeout:
    description: Seconds to wait for another process that holds UFW's lock.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Only SSH and the web are reachable
  daffathan.platform.ufw_policy:
    rules:
      - {action: allow, port: "22", proto: tcp, comment: ssh}
      - {action: allow, port: "80,443", proto: tcp}
      - {action: allow, port: "443", proto: udp, comment: http3}

- name: A database for one network, and rules made by hand stay
  daffathan.platform.ufw_policy:
    rules:
      - {action: allow, port: "22", proto: tcp}
      - {action: allow, port: "5432", proto: tcp, from: 192.0.2.0/24, interface_in: eth1}
    purge: none

- name: Only what this task declared before is removed, and bans stay in front
  daffathan.platform.ufw_policy:
    rules:
      - {action: allow, port: "22", proto: tcp}
      - {action: allow, port: "25", proto: tcp, comment: mail}
    purge: tagged
    tag: platform
    purge_keep: ["by Fail2Ban*"]

- name: A host that has no IPv6
  daffathan.platform.ufw_policy:
    rules:
      - {action: allow, port: "22", proto: tcp}
    ipv6: false
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, in order.
  returned: success
  type: list
  elements: str
  sample: ["write /etc/ufw/user.rules", "load the rules into the kernel (IPv4, IPv6)"]
drift:
  description: Where the host differed from the policy that its own files described.
  returned: success
  type: dict
  contains:
    files:
      description: Files of UFW that were changed.
      type: list
      elements: str
    kernel:
      description: Differences between the packet filter and UFW's files; empty when only the policy changed.
      type: list
      elements: str
  sample: {"files": [], "kernel": ["IPv4: policy of INPUT is ACCEPT, not DROP"]}
rollback:
  description: How the change was secured. Empty when nothing was changed.
  returned: success
  type: dict
  contains:
    confirmed:
      description: Whether a new connection came through the changed firewall.
      type: bool
    timeout:
      description: Seconds that there were for it.
      type: int
  sample: {"confirmed": true, "timeout": 60}
ssh_peers:
  description: Addresses of SSH sessions that the policy was checked for.
  returned: success
  type: list
  elements: str
  sample: ["198.51.100.7"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.daffathan.platform.plugins.module_utils._common.command import CommandError, run
from ansible_collections.daffathan.platform.plugins.module_utils._common.files import (
    FileLock,
    LockTimeout,
    write_atomic,
)
from ansible_collections.daffathan.platform.plugins.module_utils._ufw import (
    contenders,
    drift,
    guard,
    host,
    kernel,
    options,
    plan,
    purge,
    restore,
    rollback,
    shadow,
)
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.arguments import argument_spec
from ansible_collections.daffathan.platform.plugins.module_utils._ufw.model import InputError, Policy, Rule

# For the change itself, where nobody waits for a new connection.
WHILE_CHANGING = 60
# How often the policy is written again because a `ufw` that began before wrote the rules of before.
ROUNDS = 5


def apply(operations: list[plan.Operation], transactions: dict[int, str]) -> None:
    for operation in operations:
        if operation.kind == "file":
            write_atomic(operation.path, operation.content, mode=plan.mode_of(operation.path), uid=0, gid=0)
        elif operation.kind == "load":
            kernel.load(transactions)
        elif operation.kind == "unit":
            run(["systemctl", "enable", "--now", "ufw.service"])
        elif operation.kind == "stop":
            kernel.stop(host.families())


class Run:
    """One call: read, plan, apply."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params

    def main(self) -> dict[str, Any]:
        purging = purge.parse(self.params)
        host.check(self.params)
        if self.module.check_mode and host.is_bare():
            return self.on_a_bare_host()
        files = host.read_files()
        present = plan.current_policy(files)
        rules, declared = self.declared()
        strange = plan.strange_lines(files, declared)
        purge.refuse_to_lose(purging, strange)
        desired = purge.with_undeclared(declared, present, purging)
        families = host.families()
        candidate = plan.transactions(desired, files, {family: restore.Table() for family in families})
        trial = kernel.Trial(candidate if desired.enabled else {})
        # What needs no answer from the trial is done while it runs.
        peers = self.examined(rules, desired)
        tables = kernel.read(families)
        unit_enabled = host.unit_enabled()
        wanted = trial.tables()
        operations = plan.plan(desired, files, tables, wanted, unit_enabled=unit_enabled)
        found = drift.of_kernel(present, files, tables, candidate, wanted)
        notes = [*(f"no rule of ufw: {line}" for line in strange), *(f"kernel: {line}" for line in found)]
        before = plan.describe(present) + "".join(f"# {line}\n" for line in notes)
        result = {
            "changed": bool(operations),
            "actions": [operation.why for operation in operations],
            "drift": {
                "files": [operation.path for operation in operations if operation.kind == "file"],
                "kernel": found,
            },
            "rollback": {},
            "ssh_peers": [peer.address for peer in peers],
            "diff": {"before": before, "after": plan.describe(desired)},
        }
        host.check_writable(operations)
        if self.module.check_mode:
            return result
        token = rollback.waiting()
        if operations:
            token = rollback.arm(
                files, tables, unit_enabled=unit_enabled, timeout=self.timeout(desired) or WHILE_CHANGING
            )
            self.change(desired, operations, plan.transactions(desired, files, tables), wanted)
        if token:
            result["rollback"] = self.secured(desired, token)
        return result

    def timeout(self, desired: Policy) -> int:
        """Seconds for a new connection to confirm the policy; 0 where none is waited for."""
        # A firewall that is off lets everybody in.
        return self.params["rollback_timeout"] if desired.enabled else 0

    def change(
        self,
        desired: Policy,
        operations: list[plan.Operation],
        transactions: dict[int, str],
        wanted: dict[int, restore.Table],
    ) -> None:
        try:
            apply(operations, transactions)
            drift.verify(wanted)
        except (CommandError, kernel.KernelError, OSError) as error:
            problems = rollback.undo_now()
            said = f"not all could be taken back: {'; '.join(problems)}" if problems else "the firewall is as it was"
            raise kernel.KernelError(f"{str(error).rstrip('.')}. The policy was not kept; {said}.") from error

    def secured(self, desired: Policy, token: str) -> dict[str, Any]:
        """What the controller has to do so that the change stays."""
        if not self.timeout(desired):
            rollback.confirm_now()
            return {"confirmed": False, "timeout": 0}
        return {"confirmed": False, "timeout": self.timeout(desired), "confirm": rollback.argv("--confirm", token)}

    def declared(self) -> tuple[dict[Rule, str], Policy]:
        """The rules, each with the entry that it comes from, and the policy that they make."""
        rules = options.parse_rules(self.params, host.read_profiles())
        return rules, options.parse_policy(self.params, rules)

    def examined(self, rules: dict[Rule, str], desired: Policy) -> list[guard.Peer]:
        """The SSH peers that the policy was checked for; warns of what it cannot do."""
        self.warn([*shadow.warnings(rules), host.legacy_rules()])
        if not self.params["ssh_guard"]:
            return []
        own, others = host.ssh_peers()
        self.warn(guard.check(desired, own, others))
        return own

    def warn(self, warnings: list[str]) -> None:
        for text in filter(None, warnings):
            self.module.warn(text)

    def on_a_bare_host(self) -> dict[str, Any]:
        """A dry run before UFW is installed: the whole policy is new."""
        rules, desired = self.declared()
        peers = self.examined(rules, desired)
        return {
            "changed": True,
            "actions": ["write the files of UFW", "load the rules into the kernel (IPv4, IPv6)"],
            "drift": {"files": [], "kernel": []},
            "rollback": {},
            "ssh_peers": [peer.address for peer in peers],
            "diff": {"before": "UFW is not installed\n", "after": plan.describe(desired)},
        }


def run_until_kept(module: AnsibleModule) -> dict[str, Any]:
    """One run, and another for as long as a `ufw` that had read the former rules waited for the lock meanwhile."""
    results: list[dict[str, Any]] = []
    waiting: list[int] = []
    while not results or (waiting and len(results) < ROUNDS):
        contenders.outlast(waiting, module.params["lock_timeout"])
        with FileLock(restore.LOCK, timeout=module.params["lock_timeout"], posix=True):
            results.append(Run(module).main())
            waiting = contenders.waiting(restore.LOCK) if results[-1]["changed"] and not module.check_mode else []
    first, last = results[0], results[-1]
    diff = {"before": first["diff"]["before"], "after": last["diff"]["after"]}
    return {
        **last,
        "changed": first["changed"],
        "actions": [action for result in results for action in result["actions"]],
        "drift": first["drift"],
        "rollback": last["rollback"] or first["rollback"],
        # Hundreds of rules, twice: they travel only where somebody looks.
        "diff": diff if module._diff else {},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    for name in ("lock_timeout", "rollback_timeout"):
        if module.params[name] < 0:
            module.fail_json(msg=f"{name}: {module.params[name]} is no time. Give 0 or more seconds.")
    try:
        result = run_until_kept(module)
    except LockTimeout as error:
        module.fail_json(msg=f"UFW is in use: {error}. Wait for the other program, or raise `lock_timeout`.")
    except PermissionError as error:
        module.fail_json(msg=host.explain_denial(error))
    except OSError as error:
        module.fail_json(msg=f"The host does not let UFW's files be read or written: {error}. See `dmesg` and `df`.")
    except CommandError as error:
        remedy = ". Install it (`apt-get install iptables iproute2`)." if error.completed.rc == 127 else ""
        module.fail_json(msg=f"{error}{remedy}", cmd=list(error.completed.argv), rc=error.completed.rc)
    except (InputError, kernel.KernelError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
