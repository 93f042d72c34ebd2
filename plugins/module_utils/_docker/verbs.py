# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Private to this collection: it may change without notice.

"""What is done with the releases that are there: gone back to, judged, taken on, removed."""

from __future__ import annotations

from ansible_collections.daffathan.platform.plugins.module_utils._docker.call import Call
from ansible_collections.daffathan.platform.plugins.module_utils._rollout import plan, routing
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.ports import check_ports
from ansible_collections.daffathan.platform.plugins.module_utils._rollout.state import State


def roll_back(call: Call, wanted: str | None) -> None:
    current = call.look()
    operations, target = plan.plan_rollback(current, wanted)
    state = current.state
    call.outcome.note(state, operations, target or state.live, state.route, state.base_images or {})
    if target is None or state.route is None:
        return
    check_ports(routing.app_of(call.driver.app, state.route, target), call.states())
    if call.apply:
        call.check_gateway()
        if state.network is not None:
            call.driver.network.attach(call.driver.gateway.container(), state.network, routing.served(state.route))
        call.outcome.state = call.rollout.roll_back(target, state.route)


def judge(call: Call, verb: str, wanted: str | None) -> None:
    """A person has looked at the canary."""
    current = call.look()
    operations = plan.plan_canary(current, "promote" if verb == "promoted" else "abort", wanted)
    state = current.state
    kinds = {operation.kind for operation in operations}
    call.outcome.note_step(state, operations, ahead=bool(kinds & {"promote", "canary", "finalize"}))
    if not call.apply or not kinds & {"promote", "canary", "finalize", "abort", "contract"}:
        return
    if "contract" in kinds:
        call.outcome.state = call.rollout.jobs.contract(state)
        return
    call.check_gateway()
    if "finalize" in kinds:
        call.outcome.state = call.rollout.finalize()
        return
    call.outcome.state = call.rollout.abort() if "abort" in kinds else call.rollout.go_on(promote="promote" in kinds)


def go_on(call: Call, verb: str, wanted: str | None) -> None:
    """What was prepared goes on, as far as it is asked to."""
    before = call.driver.load() if call.apply else None
    current = call.look()
    operations = plan.plan_held(current, verb, wanted, before)
    state = current.state
    kinds = {operation.kind for operation in operations}
    call.outcome.note_step(state, operations, ahead=bool(kinds & {"switch", "canary", "finalize"}))
    if not call.apply or not kinds & {"switch", "canary", "finalize", "contract"}:
        return
    call.check_gateway()
    if "contract" in kinds:
        call.outcome.state = call.rollout.jobs.contract(state)
    else:
        call.outcome.state = call.rollout.finalize() if "finalize" in kinds else call.rollout.switch()


def remove(call: Call) -> None:
    # What an interrupted run left goes with the rest.
    current = call.current(call.driver.load())
    call.outcome.note(current.state, plan.plan_absent(current, remains=call.driver.remains()), None, None, {})
    if call.apply and call.outcome.operations:
        call.rollout.remove()
        call.outcome.state = State(call.driver.app)
    elif call.apply:
        # What it waited for may have been another removal.
        call.driver.erase()
