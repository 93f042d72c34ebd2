# Copyright (c) 2026, the daffathan.platform authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible.plugins.loader import init_plugin_loader
from hypothesis import HealthCheck, settings

# Templates of roles use filters of the collection: Ansible finds them only if nothing has imported it before.
init_plugin_loader([str(Path(__file__).resolve().parents[2] / ".collections")])

# How long an example takes says more of the machine, which has other work meanwhile, than of the code.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples in every run: what a change breaks is seen at that change. New ones are looked for by `make soak`.
settings.register_profile("platform", patient, derandomize=True)
settings.register_profile("soak", patient, max_examples=2000)
settings.load_profile(os.environ.get("DAFFATHAN_TEST_EXAMPLES", "platform"))

# What it asserts is told in full, as in a test itself.
pytest.register_assert_rewrite("tests.unit.plugins.module_utils.rollout.runs")
