# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lamplighter.fleet.plugins.filter.inference_plan import FilterModule, inference_plan

from tests.unit.plan_hosts import tower


def test_the_filter_makes_the_plan():
    assert inference_plan(tower(), {"engine_version": "0.32.15"})["rungs"][0]["id"] == "vulkan"
    assert inference_plan(tower())["engine_version"] == "0.32.15"
    assert FilterModule().filters() == {"inference_plan": inference_plan}


def test_a_refusal_is_an_error_of_the_filter():
    with pytest.raises(AnsibleFilterError, match=r"dropped in 0\.31\.2.*Correct inference_backend"):
        inference_plan(tower(), {"backend": "rocm"})
